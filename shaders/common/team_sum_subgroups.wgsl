// team_sum_subgroups — team_sum.wgsl with subgroup operations: one barrier instead of a tree of them.
// Any subgroup size will do, as the team is the whole workgroup: each subgroup leaves one partial sum. It finds its place
// by invocation / size, which holds where subgroups are runs of consecutive invocations, as in one dimension they are.

override WG: u32 = 64u; // a power of two
override TEAM_SLOTS: u32 = 4u;
override TEAM_PARTIALS: u32 = WG * TEAM_SLOTS;

var<workgroup> team_partials: array<vec4<f32>, TEAM_PARTIALS>;
var<private> team_subgroup_size: u32;

fn team_put(invocation: u32, slot: u32, value: vec4<f32>) {
    let sum = subgroupAdd(value);
    team_subgroup_size = subgroupAdd(1u);
    if (subgroupBroadcastFirst(invocation) == invocation) {
        team_partials[slot * WG + invocation / team_subgroup_size] = sum;
    }
}

fn team_reduce(invocation: u32) {
    workgroupBarrier();
}

fn team_total(slot: u32, component: u32) -> f32 {
    var total = 0.0;
    for (var i = 0u; i < WG / team_subgroup_size; i++) {
        total += team_partials[slot * WG + i][component];
    }
    return total;
}
