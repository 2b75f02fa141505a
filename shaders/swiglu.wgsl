// swiglu — y[m, f] = silu(gate_up[m, f]) * gate_up[m, F + f], silu(g) = g / (1 + exp(-g))
// gate_up: f32 [M, 2 F], gate first; y: f32 [M, F]; n_quads = F / 4 vec4s a row of y, n_total = M * n_quads.
// One invocation per vec4 of y. The exponent is capped because an infinity is not guaranteed to survive a division.
// Overrides: WG (64).
// Oracle: reference.swiglu, budget swiglu.

override WG: u32 = 64u;

struct Params {
    n_total: u32,
    n_quads: u32,
}

@group(0) @binding(0) var<storage, read> gate_up: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) invocation: u32) {
    let i = workgroup_index(workgroup) * WG + invocation;
    if (i >= params.n_total) {
        return;
    }
    let row = i / params.n_quads;
    let gate = gate_up[i + row * params.n_quads];
    let up = gate_up[i + (row + 1u) * params.n_quads];
    y[i] = gate / (1.0 + exp(-max(gate, vec4<f32>(-80.0)))) * up;
}
