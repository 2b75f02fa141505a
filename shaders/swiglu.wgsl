// swiglu — y[m, f] = silu(gate_up[m, f]) * gate_up[m, F + f]
// gate_up: f32 [M, 2 F], gate first; y: f32 [M, F]; n_quads = F / 4 vec4s a row of y, n_total = M * n_quads.
// One invocation per vec4 of y.
// Overrides: WG (64).
// Oracle: reference.norm_swiglu, budget norm_swiglu.

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
    y[i] = vec4<f32>(silu(gate.x), silu(gate.y), silu(gate.z), silu(gate.w)) * up;
}
