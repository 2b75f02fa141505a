// gemm — y[m, n] = or += gelu?(sum over k of x[m, k] * W[n, k] + bias[n]?) for many rows; or SwiGLU of two
// x: f32 [n_rows, K]; weights, scales: rows [n_outputs, K] of one matrix part (common/weights_*.wgsl); bias: f32 [N];
// y: f32 [>= n_rows, n_columns]; the part's outputs begin at column first_output. IS_GATED: as in matvec.wgsl.
// One workgroup: TILE_ROWS rows by 64 outputs, 32 columns of K at a time: both tiles lie in workgroup memory as [row][quad],
// a row's 8 quads permuted by its number so that neighbours meet different banks. Weights are decoded when they are
// stored there, and the next block is fetched while this one is multiplied. One invocation: 4 rows by 4 outputs.
// Rows and outputs beyond the last are computed as the last and not stored. With N_SPLITS > 1 a workgroup takes one part of
// K only, and y is [N_SPLITS, n_rows, n_columns] for sum_splits to add up.
// Overrides: TILE_ROWS (64; 32 or 64), IS_GATED (false), N_SPLITS (1) and those of common/epilogue.wgsl.
// Oracle: reference.linear, norm_linear, norm_swiglu, linear_add; budgets of these.

override TILE_ROWS: u32 = 64u;
override IS_GATED: bool = false;
override N_SPLITS: u32 = 1u;
override WG: u32 = TILE_ROWS * 4u;
override TEAMS: u32 = TILE_ROWS / 4u;
override WORDS_AT_ONCE: u32 = TILE_ROWS / 16u; // of each output: WG for 64

const TILE_OUTPUTS = 64u;
const QUADS = 8u; // of a block of K
const WORDS = 4u;

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

var<workgroup> tile_x: array<vec4<f32>, TILE_ROWS * QUADS>;
var<workgroup> tile_w: array<vec4<f32>, TILE_OUTPUTS * QUADS>;

// The matrix row that output n of this workgroup's tile is.
fn output_row(tile: u32, n: u32) -> u32 {
    if (IS_GATED) {
        let column = min(tile * 32u + (n & 31u), params.n_columns - 1u);
        return select(column, column + params.n_columns, n >= 32u);
    }
    return min(tile * TILE_OUTPUTS + n, params.n_outputs - 1u);
}

fn x_place(row: u32, quad: u32) -> u32 {
    return row * QUADS + (quad ^ (row & 7u));
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) invocation: u32) {
    let tile = workgroup_index(workgroup);
    let first_row = workgroup.z / N_SPLITS * TILE_ROWS;
    let split = workgroup.z % N_SPLITS;
    let split_blocks = (params.n_blocks + N_SPLITS - 1u) / N_SPLITS;
    let first_block = min(split * split_blocks, params.n_blocks);
    let end_block = min(first_block + split_blocks, params.n_blocks);
    // What this invocation fetches of every block: 2 quads of x, and 1 word (TILE_ROWS 64) or 2 of the weights.
    let quad = invocation & 7u;
    let row_a = invocation >> 3u;
    let row_b = row_a + TILE_ROWS / 2u;
    let x_a = min(first_row + row_a, params.n_rows - 1u) * params.n_blocks * QUADS + quad;
    let x_b = min(first_row + row_b, params.n_rows - 1u) * params.n_blocks * QUADS + quad;
    // Neighbours fetch what adjoins in memory.
    let n = select(invocation / WORDS_AT_ONCE, invocation & 63u, ROWS_ADJOIN);
    let word = select(invocation % WORDS_AT_ONCE, invocation >> 6u, ROWS_ADJOIN);
    let w_row = output_row(tile, n);
    let words = row_start(w_row, params.n_blocks * WORDS) + word;
    let pairs = scale_start(w_row, params.n_blocks * WORDS);
    var next_x_a = x[x_a + first_block * QUADS];
    var next_x_b = x[x_b + first_block * QUADS];
    var next_word_a = word_at(words, w_row, first_block * WORDS);
    var next_word_b = Word();
    if (TILE_ROWS < 64u) {
        next_word_b = word_at(words, w_row, first_block * WORDS + 2u);
    }
    var next_scale = word_scale(pairs, w_row, first_block * WORDS);

    let team = invocation >> 4u;
    let lane = invocation & 15u;
    var sums_0 = vec4<f32>(0.0);
    var sums_1 = vec4<f32>(0.0);
    var sums_2 = vec4<f32>(0.0);
    var sums_3 = vec4<f32>(0.0);
    for (var block = first_block; block < end_block; block++) {
        workgroupBarrier();
        tile_x[x_place(row_a, quad)] = next_x_a;
        tile_x[x_place(row_b, quad)] = next_x_b;
        tile_w[x_place(n, 2u * word)] = low_weights(next_word_a) * (LOW_UNITS * next_scale);
        tile_w[x_place(n, 2u * word + 1u)] = high_weights(next_word_a) * (HIGH_UNITS * next_scale);
        if (TILE_ROWS < 64u) {
            tile_w[x_place(n, 2u * word + 4u)] = low_weights(next_word_b) * (LOW_UNITS * next_scale);
            tile_w[x_place(n, 2u * word + 5u)] = high_weights(next_word_b) * (HIGH_UNITS * next_scale);
        }
        workgroupBarrier();
        let next = min(block + 1u, params.n_blocks - 1u);
        next_x_a = x[x_a + next * QUADS];
        next_x_b = x[x_b + next * QUADS];
        next_word_a = word_at(words, w_row, next * WORDS);
        if (TILE_ROWS < 64u) {
            next_word_b = word_at(words, w_row, next * WORDS + 2u);
        }
        next_scale = word_scale(pairs, w_row, next * WORDS);
        for (var k = 0u; k < QUADS; k++) {
            let weights = mat4x4<f32>(
                tile_w[x_place(lane, k)],
                tile_w[x_place(lane + 16u, k)],
                tile_w[x_place(lane + 32u, k)],
                tile_w[x_place(lane + 48u, k)],
            );
            sums_0 += tile_x[x_place(team, k)] * weights;
            sums_1 += tile_x[x_place(team + TEAMS, k)] * weights;
            sums_2 += tile_x[x_place(team + 2u * TEAMS, k)] * weights;
            sums_3 += tile_x[x_place(team + 3u * TEAMS, k)] * weights;
        }
    }
    store_sums(tile, first_row + team, split, lane, sums_0);
    store_sums(tile, first_row + team + TEAMS, split, lane, sums_1);
    store_sums(tile, first_row + team + 2u * TEAMS, split, lane, sums_2);
    store_sums(tile, first_row + team + 3u * TEAMS, split, lane, sums_3);
}

// sums: outputs lane, lane + 16, lane + 32, lane + 48 of the tile.
fn store_sums(tile: u32, row: u32, split: u32, lane: u32, sums: vec4<f32>) {
    if (row >= params.n_rows) {
        return;
    }
    if (IS_GATED) {
        let column = tile * 32u + lane;
        if (column < params.n_columns) {
            y[row * params.n_columns + column] = silu(sums.x) * sums.z;
        }
        if (column + 16u < params.n_columns) {
            y[row * params.n_columns + column + 16u] = silu(sums.y) * sums.w;
        }
        return;
    }
    for (var i = 0u; i < 4u; i++) {
        let n = tile * TILE_OUTPUTS + lane + 16u * i;
        if (n < params.n_outputs) {
            let column = params.first_output + n;
            let index = (split * params.n_rows + row) * params.n_columns + column;
            store_output(index, sums[i], addends(index, column));
        }
    }
}
