// few_rows — y[m, n] = or += gelu?(sum over k of norm?(x)[m, k] * W[n, k] + bias[n]?), 2 to 16 rows; or SwiGLU
// x: f32 [n_rows, K]; norm_weight: f32 [K], read with HAS_NORM: x is RMS-normalised on the way; weights, scales: rows
// [n_outputs, K] of one matrix part (common/weights_*.wgsl); bias: f32 [N]; y: f32 [>= n_rows, n_columns]; the part's outputs
// begin at column first_output. IS_GATED: the matrix is gate over up, and y[m, f] = silu(product f) * product F + f.
// One workgroup: 4 rows of x by a quad of rows of the matrix, or by one of gate and one of up. An invocation takes every
// WG-th word of K. No address of a weight depends on `params`, which come late; so rows beyond the last are read as
// whatever the device makes of them, and not stored.
// Overrides: WG (64), IS_GATED (false), UP_QUAD (0; the first of up), N_WORDS (4), HAS_NORM (false), EPS (1e-5) and those
// of common/epilogue.wgsl; TEAM_SLOTS: 4, or 8 with IS_GATED, and one more with HAS_NORM.
// Oracle: reference.linear, norm_linear, norm_swiglu, linear_add; budgets of these.

override N_WORDS: u32 = 4u; // K / 8
override HAS_NORM: bool = false;
override EPS: f32 = 1e-5;
override IS_GATED: bool = false;
override UP_QUAD: u32 = 0u;

struct Params {
    n_outputs: u32,
    first_output: u32,
    n_rows: u32,
    n_columns: u32,
}

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> norm_weight: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> weights: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read> scales: array<vec4<u32>>;
@group(0) @binding(4) var<storage, read> bias: array<f32>;
@group(0) @binding(5) var<storage, read_write> y: array<f32>;
@group(0) @binding(6) var<uniform> params: Params;

// Eight activations of each of four rows, times the units of common/weights_*.wgsl.
struct Columns {
    low: array<vec4<f32>, 4>,
    high: array<vec4<f32>, 4>,
}

// For each of four rows of x, what a word of a quad's four rows gives.
fn quad_products(quad: u32, k: u32, columns: Columns) -> mat4x4<f32> {
    let words = words_at(quad, k, N_WORDS);
    let scale = word_scales(scales_at(quad, k, N_WORDS), k);
    // Four dot products are a row vector times a matrix whose columns are the rows' weights.
    let low = mat4x4<f32>(low_weights(words.x), low_weights(words.y), low_weights(words.z), low_weights(words.w));
    let high = mat4x4<f32>(high_weights(words.x), high_weights(words.y), high_weights(words.z), high_weights(words.w));
    return mat4x4<f32>(
        scale * (columns.low[0] * low + columns.high[0] * high),
        scale * (columns.low[1] * low + columns.high[1] * high),
        scale * (columns.low[2] * low + columns.high[2] * high),
        scale * (columns.low[3] * low + columns.high[3] * high),
    );
}

// TEAM_SLOTS - 1 is that of the mean squares.
fn norm_factor(row: u32) -> f32 {
    if (HAS_NORM) {
        return inverseSqrt(team_total(TEAM_SLOTS - 1u, row) / f32(N_WORDS * 8u) + EPS);
    }
    return 1.0;
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) invocation: u32) {
    let group = workgroup_index(workgroup);
    let first_row = workgroup.z * 4u;
    let rows = (first_row + vec4<u32>(0u, 1u, 2u, 3u)) * (N_WORDS * 2u);
    let row = first_row + (invocation / 4u) % 4u;
    let output = group * 4u + invocation % 4u;
    let column = params.first_output + output;
    let index = row * params.n_columns + column;
    let is_mine = invocation < 16u && row < params.n_rows && output < select(params.n_outputs, params.n_columns, IS_GATED);
    var added = Addends();
    if (is_mine) {
        added = addends(index, column);
    }

    var sums = mat4x4<f32>();
    var up_sums = mat4x4<f32>();
    var squares = vec4<f32>(0.0);
    for (var k = invocation; k < N_WORDS; k += WG) {
        let at = rows + 2u * k;
        var columns = Columns(
            array<vec4<f32>, 4>(x[at.x], x[at.y], x[at.z], x[at.w]),
            array<vec4<f32>, 4>(x[at.x + 1u], x[at.y + 1u], x[at.z + 1u], x[at.w + 1u]),
        );
        var low_units = LOW_UNITS;
        var high_units = HIGH_UNITS;
        if (HAS_NORM) {
            squares += vec4<f32>(
                dot(columns.low[0], columns.low[0]) + dot(columns.high[0], columns.high[0]),
                dot(columns.low[1], columns.low[1]) + dot(columns.high[1], columns.high[1]),
                dot(columns.low[2], columns.low[2]) + dot(columns.high[2], columns.high[2]),
                dot(columns.low[3], columns.low[3]) + dot(columns.high[3], columns.high[3]),
            );
            low_units *= norm_weight[2u * k];
            high_units *= norm_weight[2u * k + 1u];
        }
        for (var m = 0u; m < 4u; m++) {
            columns.low[m] *= low_units;
            columns.high[m] *= high_units;
        }
        sums += quad_products(group, k, columns);
        if (IS_GATED) {
            up_sums += quad_products(group + UP_QUAD, k, columns);
        }
    }
    for (var m = 0u; m < 4u; m++) {
        team_put(invocation, m, sums[m]);
        if (IS_GATED) {
            team_put(invocation, 4u + m, up_sums[m]);
        }
    }
    if (HAS_NORM) {
        team_put(invocation, TEAM_SLOTS - 1u, squares);
    }
    team_reduce(invocation);

    if (!is_mine) {
        return;
    }
    let m = invocation / 4u;
    let factor = norm_factor(m);
    let total = team_total(m, invocation % 4u) * factor;
    if (IS_GATED) {
        y[index] = silu(total) * team_total(4u + m, invocation % 4u) * factor;
    } else {
        store_output(index, total, added);
    }
}
