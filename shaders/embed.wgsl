// embed — y = audio[state.audio_row, :] + table[token, :], the decoder's input
// token: BOS at position 0, PAD while position < n_prompt, then the last one generated (ops/base.py, DecoderState).
// table: weights, scales of rows first_row … first_row + n_rows - 1 (common/weights_*.wgsl); audio: f32 [rows, dim];
// state: u32 [4]; y: f32 [dim]; n_words = dim / 8. A split table is launched once per part; the one that has the row writes.
// One invocation per word, 8 values.
// Overrides: WG (64), BOS (1), PAD (32).
// Oracle: reference.embed, budget embed.

override WG: u32 = 64u;
override BOS: u32 = 1u;
override PAD: u32 = 32u;

struct Params {
    first_row: u32,
    n_rows: u32,
    n_words: u32,
}

@group(0) @binding(0) var<storage, read> weights: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read> scales: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> audio: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> state: array<u32, 4>;
@group(0) @binding(4) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(5) var<uniform> params: Params;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) invocation: u32) {
    let i = workgroup_index(workgroup) * WG + invocation;
    let position = state[0];
    let forced = select(PAD, BOS, position == 0u);
    let token = select(state[1], forced, position < state[2]);
    // A token before first_row wraps round to a large number, and is not ours either.
    let row = token - params.first_row;
    if (i >= params.n_words || row >= params.n_rows) {
        return;
    }
    let word = word_at(row_start(row, params.n_words), row, i);
    let scale = word_scale(scale_start(row, params.n_words), row, i);
    let audio_base = state[3] * params.n_words * 2u;
    y[2u * i] = audio[audio_base + 2u * i] + low_weights(word) * LOW_UNITS * scale;
    y[2u * i + 1u] = audio[audio_base + 2u * i + 1u] + high_weights(word) * HIGH_UNITS * scale;
}
