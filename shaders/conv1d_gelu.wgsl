// conv1d_gelu — y[t, c] = gelu(bias[c] + sum over k of x[t * stride + k / C_in, k % C_in] * weight[c, k]), k < 3 * C_in
// x: f32 [n, C_in]; weight: f32 [C_out, 3 * C_in], taps in time order; bias: f32 [C_out]; y: f32 [n_steps, C_out].
// position: u32 [1], read only when ZERO_FIRST: row 0 of y is 0 while position is 0.
// Rows of x are contiguous, so the window of one output is one slice of x: n_quads vec4s from t * stride_quads.
// One invocation: one channel, 4 time steps (clamped at the end, not stored); so each weight is read once per 4 steps.
// Overrides: WG (64), ZERO_FIRST (false).
// Oracle: reference.conv1d_gelu, budget conv1d_gelu.

override WG: u32 = 64u;
override ZERO_FIRST: bool = false;

struct Params {
    n_steps: u32,
    n_channels: u32,
    n_quads: u32,
    stride_quads: u32,
}

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> weight: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> bias: array<f32>;
@group(0) @binding(3) var<storage, read> position: array<u32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;
@group(0) @binding(5) var<uniform> params: Params;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) invocation: u32) {
    let channel = workgroup_index(workgroup) * WG + invocation;
    if (channel >= params.n_channels) {
        return;
    }
    let first = workgroup.z * 4u;
    let start = min(vec4<u32>(first) + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(params.n_steps - 1u)) * params.stride_quads;
    var sums = vec4<f32>(bias[channel]);
    for (var k = 0u; k < params.n_quads; k++) {
        let w = weight[channel * params.n_quads + k];
        sums += vec4<f32>(dot(w, x[start.x + k]), dot(w, x[start.y + k]), dot(w, x[start.z + k]), dot(w, x[start.w + k]));
    }
    for (var i = 0u; i < min(4u, params.n_steps - first); i++) {
        let step = first + i;
        let hidden = ZERO_FIRST && step == 0u && position[0] == 0u;
        y[step * params.n_channels + channel] = select(gelu(sums[i]), 0.0, hidden);
    }
}
