// team_sum — sums over all invocations of a workgroup, for up to TEAM_SLOTS vec4s at once:
// team_put each value, team_reduce once (uniform control flow), then any invocation may ask for team_total.
// team_sum_subgroups.wgsl is the same for devices with subgroups.

override WG: u32 = 64u; // a power of two
override TEAM_SLOTS: u32 = 4u;
override TEAM_PARTIALS: u32 = WG * TEAM_SLOTS;

var<workgroup> team_partials: array<vec4<f32>, TEAM_PARTIALS>;

fn team_put(invocation: u32, slot: u32, value: vec4<f32>) {
    team_partials[slot * WG + invocation] = value;
}

fn team_reduce(invocation: u32) {
    for (var half = WG / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if (invocation < half) {
            for (var slot = 0u; slot < TEAM_SLOTS; slot++) {
                team_partials[slot * WG + invocation] += team_partials[slot * WG + invocation + half];
            }
        }
    }
    workgroupBarrier();
}

fn team_total(slot: u32, component: u32) -> f32 {
    return team_partials[slot * WG][component];
}
