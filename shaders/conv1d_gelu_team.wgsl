// conv1d_gelu_team — the same as conv1d_gelu.wgsl, for GPUs: a workgroup shares 4 channels by 4 time steps
// Bindings, parameters and formula: conv1d_gelu.wgsl. Lanes stride over the window, so that neighbours read neighbouring
// weights; channels and steps beyond the last are computed as the last and not stored.
// Overrides: WG (64), ZERO_FIRST (false).
// Oracle: reference.conv1d_gelu, budget conv1d_gelu.

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
    let four = vec4<u32>(0u, 1u, 2u, 3u);
    let first_step = workgroup.z * 4u;
    let first_channel = workgroup_index(workgroup) * 4u;
    let starts = min(first_step + four, vec4<u32>(params.n_steps - 1u)) * params.stride_quads;
    let channels = min(first_channel + four, vec4<u32>(params.n_channels - 1u)) * params.n_quads;
    var sums = mat4x4<f32>(); // a column per step
    for (var k = invocation; k < params.n_quads; k += WG) {
        let weights = mat4x4<f32>(
            weight[channels.x + k],
            weight[channels.y + k],
            weight[channels.z + k],
            weight[channels.w + k],
        );
        sums += mat4x4<f32>(
            x[starts.x + k] * weights,
            x[starts.y + k] * weights,
            x[starts.z + k] * weights,
            x[starts.w + k] * weights,
        );
    }
    for (var i = 0u; i < 4u; i++) {
        team_put(invocation, i, sums[i]);
    }
    team_reduce(invocation);
    let step = first_step + invocation / 4u;
    let channel = first_channel + invocation % 4u;
    if (invocation < 16u && step < params.n_steps && channel < params.n_channels) {
        let value = gelu(team_total(invocation / 4u, invocation % 4u) + bias[channel]);
        let hidden = ZERO_FIRST && step == 0u && position[0] == 0u;
        y[step * params.n_channels + channel] = select(value, 0.0, hidden);
    }
}
