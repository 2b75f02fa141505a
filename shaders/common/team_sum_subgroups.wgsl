// team_sum_subgroups — team_sum.wgsl with subgroup operations: one barrier instead of a tree of them.
// Every subgroup has SUBGROUP invocations, neighbours, and leaves one partial sum. Devices whose subgroups vary in size use
// the tree: finding out at run time costs more than it saves (SPEED.md).

override WG: u32 = 64u; // a multiple of SUBGROUP
override SUBGROUP: u32 = 32u;
override TEAM_SLOTS: u32 = 4u;
override TEAM_SUBGROUPS: u32 = WG / SUBGROUP;
override TEAM_PARTIALS: u32 = TEAM_SUBGROUPS * TEAM_SLOTS;

var<workgroup> team_partials: array<vec4<f32>, TEAM_PARTIALS>;

fn team_put(invocation: u32, slot: u32, value: vec4<f32>) {
    let sum = subgroupAdd(value);
    if (invocation % SUBGROUP == 0u) {
        team_partials[slot * TEAM_SUBGROUPS + invocation / SUBGROUP] = sum;
    }
}

fn team_reduce(invocation: u32) {
    workgroupBarrier();
}

fn team_total(slot: u32, component: u32) -> f32 {
    var total = 0.0;
    for (var i = 0u; i < TEAM_SUBGROUPS; i++) {
        total += team_partials[slot * TEAM_SUBGROUPS + i][component];
    }
    return total;
}
