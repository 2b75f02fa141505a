// few_rows_q4_0 — y[m, n] = or += gelu?(sum over k of norm?(x)[m, k] * W[n, k] + bias[n]?) for 2 to some 16 rows; or SwiGLU of two
// x: f32 [n_rows, K]; norm_weight: f32 [K], read with HAS_NORM: x is RMS-normalised on the way; nibbles, scales: Q4_0 rows
// [n_outputs, K] of one matrix part (common/q4_0.wgsl); bias: f32 [N]; y: f32 [>= n_rows, n_columns]; the part's outputs
// begin at column first_output. IS_GATED: the matrix is gate over up, and y[m, f] = silu(product f) * product F + f.
// One workgroup: 4 rows of x by 4 rows of the matrix (common/team_products.wgsl). Rows and outputs beyond the
// last are computed as the last and not stored.
// Overrides: IS_GATED (false), those of common/team_products.wgsl and of common/epilogue.wgsl.
// Oracle: reference.linear, norm_linear, norm_swiglu, linear_add; budgets of these.

override IS_GATED: bool = false;

struct Params {
    n_outputs: u32,
    first_output: u32,
    n_rows: u32,
    n_columns: u32,
}

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> norm_weight: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> nibbles: array<vec2<u32>>;
@group(0) @binding(3) var<storage, read> scales: array<u32>;
@group(0) @binding(4) var<storage, read> bias: array<f32>;
@group(0) @binding(5) var<storage, read_write> y: array<f32>;
@group(0) @binding(6) var<uniform> params: Params;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) invocation: u32) {
    let four = vec4<u32>(0u, 1u, 2u, 3u);
    let first = workgroup_index(workgroup) * 4u;
    let first_row = workgroup.z * 4u;
    let rows = min(first_row + four, vec4<u32>(params.n_rows - 1u));
    var outputs = min(first + four, vec4<u32>(params.n_outputs - 1u));
    if (IS_GATED) {
        outputs = min((first + four) >> vec4<u32>(1u), vec4<u32>(params.n_columns - 1u));
        outputs += vec4<u32>(0u, params.n_columns, 0u, params.n_columns);
    }
    team_products(invocation, rows, outputs);

    if (IS_GATED) {
        let row = invocation / 2u;
        let place = invocation % 2u;
        let column = first / 2u + place;
        if (row < 4u && first_row + row < params.n_rows && column < params.n_columns) {
            let factor = norm_factor(row);
            let gate = team_total(row, place * 2u) * factor;
            y[(first_row + row) * params.n_columns + column] = silu(gate) * team_total(row, place * 2u + 1u) * factor;
        }
    } else {
        let row = invocation / 4u;
        let place = invocation % 4u;
        if (row < 4u && first_row + row < params.n_rows && first + place < params.n_outputs) {
            let column = params.first_output + first + place;
            store_output((first_row + row) * params.n_columns + column, column, team_total(row, place) * norm_factor(row));
        }
    }
}
