// rms_norm — y[m, :] = x[m, :] * inverseSqrt(mean(x[m, :]^2) + EPS) * weight
// x, y: f32 [n_rows, K] row-major; weight: f32 [K]; K is a multiple of 4 (n_quads vec4s a row).
// One workgroup per row, invocations stride over the row; a row beyond the last is computed as the last, not stored.
// Overrides: WG (64; power of two), EPS (1e-5).
// Oracle: reference.rms_norm, budget rms_norm.

override WG: u32 = 64u;
override EPS: f32 = 1e-5;

struct Params {
    n_rows: u32,
    n_quads: u32,
}

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> weight: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(3) var<uniform> params: Params;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) invocation: u32) {
    let row = workgroup_index(workgroup);
    let base = min(row, params.n_rows - 1u) * params.n_quads;
    var sum = 0.0;
    for (var i = invocation; i < params.n_quads; i += WG) {
        let value = x[base + i];
        sum += dot(value, value);
    }
    let mean = workgroup_sum(invocation, sum) / f32(4u * params.n_quads);
    let factor = inverseSqrt(mean + EPS);
    if (row < params.n_rows) {
        for (var i = invocation; i < params.n_quads; i += WG) {
            y[base + i] = x[base + i] * factor * weight[i];
        }
    }
}
