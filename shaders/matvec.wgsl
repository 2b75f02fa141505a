// matvec — y[n] = or += gelu?(sum over k of norm?(x)[k] * W[n, k] + bias[n]?) for one row x; or SwiGLU of two
// x: f32 [K]; norm_weight: f32 [K], read with HAS_NORM: x is RMS-normalised on the way; weights, scales: rows
// [n_outputs, K] of one matrix part (common/weights_*.wgsl); bias, y: f32 [n_columns]; the part's outputs begin at column
// first_output. IS_GATED: the matrix is gate over up, and y[f] = silu(product f) * product n_columns + f.
// One workgroup: two quads of rows (common/row_products.wgsl), neighbours, or one of gate and one of up, which begin at
// quad UP_QUAD. No address of a weight depends on `params`, which come late; so rows beyond the last are read as whatever
// the device makes of them, and not stored.
// Overrides: WG (64), IS_GATED (false), UP_QUAD (0), those of common/row_products.wgsl and of common/epilogue.wgsl.
// Oracle: reference.linear, norm_linear, norm_swiglu, linear_add; budgets of these.

override IS_GATED: bool = false;
override UP_QUAD: u32 = 0u;

struct Params {
    n_outputs: u32,
    first_output: u32,
    n_columns: u32,
}

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> norm_weight: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> weights: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read> scales: array<vec4<u32>>;
@group(0) @binding(4) var<storage, read> bias: array<f32>;
@group(0) @binding(5) var<storage, read_write> y: array<f32>;
@group(0) @binding(6) var<uniform> params: Params;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) invocation: u32) {
    let group = workgroup_index(workgroup);
    if (IS_GATED) {
        row_products(invocation, group + vec2<u32>(0u, UP_QUAD));
        let column = group * 4u + invocation;
        if (invocation < 4u && column < params.n_columns) {
            y[column] = silu(product(0u, invocation)) * product(1u, invocation);
        }
    } else {
        let output = group * 8u + invocation;
        let column = params.first_output + output;
        let is_mine = invocation < 8u && output < params.n_outputs;
        var added = Addends();
        if (is_mine) {
            added = addends(column, column);
        }
        row_products(invocation, group * 2u + vec2<u32>(0u, 1u));
        if (is_mine) {
            store_output(column, product(invocation / 4u, invocation % 4u), added);
        }
    }
}
