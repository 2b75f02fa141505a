// matvec_q4_0 — y[n] = or += gelu?(sum over k of norm?(x)[k] * W[n, k] + bias[n]?) for one row x; or SwiGLU of two
// x: f32 [K]; norm_weight: f32 [K], read with HAS_NORM: x is RMS-normalised on the way; nibbles, scales: Q4_0 rows
// [n_outputs, K] of one matrix part (common/q4_0.wgsl); bias, y: f32 [n_columns]; the part's outputs begin at column
// first_output. IS_GATED: the matrix is gate over up, and y[f] = silu(product f) * product n_columns + f.
// One workgroup: WG / LANES teams of 4 outputs (common/staged_products.wgsl). Outputs beyond the last are computed as the
// last and not stored.
// Overrides: IS_GATED (false), those of common/staged_products.wgsl and of common/epilogue.wgsl.
// Oracle: reference.linear, norm_linear, norm_swiglu, linear_add; budgets of these.

override IS_GATED: bool = false;

struct Params {
    n_outputs: u32,
    first_output: u32,
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
    let n_teams = WG / LANES;
    let first_team = workgroup_index(workgroup) * n_teams;
    let mine = (first_team + invocation / LANES) * 4u + vec4<u32>(0u, 1u, 2u, 3u);
    if (IS_GATED) {
        let columns = min(mine >> vec4<u32>(1u), vec4<u32>(params.n_columns - 1u));
        staged_products(invocation, columns + vec4<u32>(0u, params.n_columns, 0u, params.n_columns));
        let team = invocation / 2u;
        let column = first_team * 2u + invocation;
        if (team < n_teams && column < params.n_columns) {
            let place = invocation % 2u * 2u;
            y[column] = silu(team_total(team, place)) * team_total(team, place + 1u);
        }
    } else {
        staged_products(invocation, min(mine, vec4<u32>(params.n_outputs - 1u)));
        let team = invocation / 4u;
        let output = first_team * 4u + invocation;
        if (team < n_teams && output < params.n_outputs) {
            let column = params.first_output + output;
            store_output(column, column, team_total(team, invocation % 4u));
        }
    }
}
