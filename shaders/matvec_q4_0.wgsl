// matvec_q4_0 — y[n] = or += gelu?(sum over k of x[k] * W[n, k] + bias[n]?) for one row x (M = 1)
// x: f32 [K]; nibbles, scales: Q4_0 rows [n_outputs, K] of one matrix part (common/q4_0.wgsl); bias, y: f32 [N];
// the part's outputs begin at column first_output.
// LANES invocations share 4 rows: each takes one word (8 weights) of every row at a time, so that neighbours read
// neighbouring words, then a tree adds their sums. One workgroup: WG / LANES such teams.
// Rows beyond the last are computed as the last and not stored; no return stands before a barrier.
// Overrides: WG (128), LANES (32; a power of two from 4 that divides WG), and those of common/epilogue.wgsl.
// Oracle: reference.linear, budget linear.

override WG: u32 = 128u;
override LANES: u32 = 32u;

struct Params {
    n_outputs: u32,
    n_blocks: u32,
    first_output: u32,
}

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> nibbles: array<u32>;
@group(0) @binding(2) var<storage, read> scales: array<u32>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;
@group(0) @binding(5) var<uniform> params: Params;

var<workgroup> team_sums: array<vec4<f32>, WG>;

fn weighted_word(row: u32, block: u32, quarter: u32, x_low: vec4<f32>, x_high: vec4<f32>, eights: f32) -> f32 {
    let flat = row * params.n_blocks + block;
    let word = nibbles[flat * 4u + quarter];
    let sum = dot(placed_nibbles(word), x_low) + dot(placed_nibbles(word >> 4u), x_high) - eights;
    return sum * pick_scale(scales[flat >> 1u], flat);
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) invocation: u32) {
    let lane = invocation % LANES;
    let first = (workgroup_index(workgroup) * (WG / LANES) + invocation / LANES) * 4u;
    let rows = min(vec4<u32>(first) + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(params.n_outputs - 1u));
    var sums = vec4<f32>(0.0);
    for (var i = lane; i < params.n_blocks * 4u; i += LANES) {
        let block = i >> 2u;
        let quarter = i & 3u;
        let x_low = x[block * 8u + quarter] * UNPLACED;
        let x_high = x[block * 8u + 4u + quarter] * UNPLACED;
        let eights = dot(x_low + x_high, EIGHTS);
        sums += vec4<f32>(
            weighted_word(rows.x, block, quarter, x_low, x_high, eights),
            weighted_word(rows.y, block, quarter, x_low, x_high, eights),
            weighted_word(rows.z, block, quarter, x_low, x_high, eights),
            weighted_word(rows.w, block, quarter, x_low, x_high, eights),
        );
    }
    team_sums[invocation] = sums;
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if (lane < half) {
            team_sums[invocation] += team_sums[invocation + half];
        }
    }
    workgroupBarrier();
    if (lane < 4u && first + lane < params.n_outputs) {
        let column = params.first_output + first + lane;
        store_output(column, column, team_sums[invocation - lane][lane]);
    }
}
