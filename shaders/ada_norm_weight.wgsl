// ada_norm_weight — y = weight * (1 + ada): the delay's share of a norm, folded into its weight once per session
// weight, ada, y: f32 [K]; n_quads = K / 4. One invocation per vec4.
// Overrides: WG (64).
// Oracle: reference.ada_norm_weight, budget ada_norm_weight.

override WG: u32 = 64u;

struct Params {
    n_quads: u32,
}

@group(0) @binding(0) var<storage, read> weight: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> ada: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(3) var<uniform> params: Params;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) invocation: u32) {
    let i = workgroup_index(workgroup) * WG + invocation;
    if (i < params.n_quads) {
        y[i] = weight[i] * (1.0 + ada[i]);
    }
}
