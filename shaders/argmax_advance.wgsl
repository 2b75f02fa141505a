// argmax_advance — token = the best of argmax_part's candidates; then the decoder moves on
// parts: u32 [n_parts, 2], value as its bits and index; state: u32 [4] position, token, n_prompt, audio_row (ops/base.py,
// DecoderState); tokens: u32 [n_tokens], a ring indexed by position. Writes tokens[position % n_tokens] and state.token,
// then adds 1 to position and audio_row.
// One workgroup; each invocation keeps the best of a strided share (common/argmax_tree.wgsl).
// Overrides: WG (64; power of two).
// Oracle: reference.argmax_advance, exact.

override WG: u32 = 64u;

struct Params {
    n_parts: u32,
    n_tokens: u32,
}

@group(0) @binding(0) var<storage, read> parts: array<vec2<u32>>;
@group(0) @binding(1) var<storage, read_write> state: array<u32, 4>;
@group(0) @binding(2) var<storage, read_write> tokens: array<u32>;
@group(0) @binding(3) var<uniform> params: Params;

@compute @workgroup_size(WG)
fn main(@builtin(local_invocation_index) invocation: u32) {
    var best = Candidate(-3.4e38, 0xFFFFFFFFu);
    for (var i = invocation; i < params.n_parts; i += WG) {
        best = better(best, Candidate(bitcast<f32>(parts[i].x), parts[i].y));
    }
    best = best_of_all(invocation, best);
    if (invocation == 0u) {
        tokens[state[0] % params.n_tokens] = best.index;
        state[0] += 1u;
        state[1] = best.index;
        state[3] += 1u;
    }
}
