// workgroup_sum — sum of one value per invocation, returned to all; call it in uniform control flow.
// The kernel declares `override WG`, a power of two.

var<workgroup> partial_sums: array<f32, WG>;

fn workgroup_sum(invocation: u32, value: f32) -> f32 {
    partial_sums[invocation] = value;
    for (var half = WG / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if (invocation < half) {
            partial_sums[invocation] += partial_sums[invocation + half];
        }
    }
    workgroupBarrier();
    return partial_sums[0];
}
