// matmul — y[m, n] = or += gelu?(sum over k of x[m, k] * W[n, k] + bias[n]?), for software adapters
// x: f32 [n_rows, K]; weights, scales: rows [n_outputs, K] of one matrix part (common/weights_*.wgsl); bias: f32 [N];
// y: f32 [>= n_rows, N]; the part's outputs begin at column first_output.
// One invocation: ROWS rows of x by a quad of rows of the matrix, so that a weight is decoded once for all rows and x read
// once for four outputs; what lies beyond the edges is computed from the last row or output and not stored.
// No barriers and no workgroup memory: software adapters run this ten times faster than a shared reduction.
// The four words of a block, 32 columns, are written out because a loop over them is 15 % slower there.
// Overrides: WG (64), ROWS (4; 1 or 4), and those of common/epilogue.wgsl.
// Oracle: reference.linear, budget linear.

override WG: u32 = 64u;
override ROWS: u32 = 4u;

const TILE = vec4<u32>(0u, 1u, 2u, 3u);

struct Params {
    n_outputs: u32,
    first_output: u32,
    n_rows: u32,
    n_columns: u32,
    n_blocks: u32,
}

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> weights: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> scales: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;
@group(0) @binding(5) var<uniform> params: Params;

// One vec4 of 4 outputs for each row of the tile.
alias Sums = array<vec4<f32>, 4>;

// Row-major weights times x is a row vector times a matrix whose columns are the 4 outputs' weights.
// Adds what one word of each output gives: 8 weights from quads on.
fn add_words(sums: ptr<function, Sums>, words: Words, quads: vec4<u32>) {
    let low = mat4x4<f32>(low_weights(words.x), low_weights(words.y), low_weights(words.z), low_weights(words.w));
    let high = mat4x4<f32>(high_weights(words.x), high_weights(words.y), high_weights(words.z), high_weights(words.w));
    (*sums)[0] += (x[quads.x] * LOW_UNITS) * low + (x[quads.x + 1u] * HIGH_UNITS) * high;
    if (ROWS > 1u) {
        (*sums)[1] += (x[quads.y] * LOW_UNITS) * low + (x[quads.y + 1u] * HIGH_UNITS) * high;
        (*sums)[2] += (x[quads.z] * LOW_UNITS) * low + (x[quads.z + 1u] * HIGH_UNITS) * high;
        (*sums)[3] += (x[quads.w] * LOW_UNITS) * low + (x[quads.w + 1u] * HIGH_UNITS) * high;
    }
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) invocation: u32) {
    let first_row = workgroup.z * ROWS;
    let quad = workgroup_index(workgroup) * WG + invocation;
    let first = quad * 4u;
    if (first >= params.n_outputs) {
        return;
    }
    let rows = min(first_row + TILE, vec4<u32>(params.n_rows - 1u));
    let n_words = params.n_blocks * 4u;
    var sums = Sums();
    for (var block = 0u; block < params.n_blocks; block++) {
        let quads = (rows * params.n_blocks + block) * 8u;
        let word = block * 4u;
        let scale = word_scales(scales_at(quad, word, n_words), word);
        var block_sums = Sums();
        add_words(&block_sums, words_at(quad, word, n_words), quads);
        add_words(&block_sums, words_at(quad, word + 1u, n_words), quads + 2u);
        add_words(&block_sums, words_at(quad, word + 2u, n_words), quads + 4u);
        add_words(&block_sums, words_at(quad, word + 3u, n_words), quads + 6u);
        sums[0] += block_sums[0] * scale;
        if (ROWS > 1u) {
            sums[1] += block_sums[1] * scale;
            sums[2] += block_sums[2] * scale;
            sums[3] += block_sums[3] * scale;
        }
    }
    for (var i = 0u; i < min(ROWS, params.n_rows - first_row); i++) {
        for (var j = 0u; j < min(4u, params.n_outputs - first); j++) {
            let column = params.first_output + first + j;
            let index = (first_row + i) * params.n_columns + column;
            store_output(index, sums[i][j], addends(index, column));
        }
    }
}
