// argmax_advance — token = the best of argmax_part's candidates; then the decoder moves on
// parts: Best [n_parts] (common/best_four.wgsl); state: u32 [4] position, token, n_prompt, audio_row (ops/base.py,
// DecoderState); choices: u32 [n_rows, 8], a ring indexed by position: the ids of the four best, then their
// log-probabilities as bits, -1e30 where there is no fourth. Writes choices[position % n_rows] and state.token, then adds 1
// to position and audio_row.
// One workgroup; each invocation merges a strided share.
// Overrides: WG (64; power of two).
// Oracle: reference.argmax_advance, ids exact.

override WG: u32 = 64u;

struct Params {
    n_parts: u32,
    n_rows: u32,
}

struct Choice {
    ids: vec4<u32>,
    log_probabilities: vec4<u32>,
}

@group(0) @binding(0) var<storage, read> parts: array<Best>;
@group(0) @binding(1) var<storage, read_write> state: array<u32, 4>;
@group(0) @binding(2) var<storage, read_write> choices: array<Choice>;
@group(0) @binding(3) var<uniform> params: Params;

@compute @workgroup_size(WG)
fn main(@builtin(local_invocation_index) invocation: u32) {
    var best = nothing();
    for (var i = invocation; i < params.n_parts; i += WG) {
        best = merged(best, parts[i]);
    }
    best = best_of_all(invocation, best);
    if (invocation == 0u) {
        let log_probabilities = max(best.values - best.values.x - log(best.sum), vec4<f32>(-1e30));
        choices[state[0] % params.n_rows] = Choice(best.indices, bitcast<vec4<u32>>(log_probabilities));
        state[0] += 1u;
        state[1] = best.indices.x;
        state[3] += 1u;
    }
}
