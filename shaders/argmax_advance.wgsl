// argmax_advance — token = argmax(logits), the lowest index on ties as numpy.argmax; then the decoder moves on
// logits: f32 [n_logits]; state: u32 [4] position, token, n_prompt, audio_row (ops/base.py, DecoderState);
// tokens: u32 [n_tokens], a ring indexed by position. Writes tokens[position % n_tokens] and state.token,
// then adds 1 to position and audio_row.
// One workgroup; each invocation keeps the best of a strided share, then a tree compares them.
// Overrides: WG (256; power of two).
// Oracle: reference.argmax_advance, exact.

override WG: u32 = 256u;

struct Params {
    n_logits: u32,
    n_tokens: u32,
}

@group(0) @binding(0) var<storage, read> logits: array<f32>;
@group(0) @binding(1) var<storage, read_write> state: array<u32, 4>;
@group(0) @binding(2) var<storage, read_write> tokens: array<u32>;
@group(0) @binding(3) var<uniform> params: Params;

var<workgroup> best_value: array<f32, WG>;
var<workgroup> best_index: array<u32, WG>;

@compute @workgroup_size(WG)
fn main(@builtin(local_invocation_index) invocation: u32) {
    var value = -3.4e38;
    var index = invocation;
    for (var i = invocation; i < params.n_logits; i += WG) {
        if (logits[i] > value) {
            value = logits[i];
            index = i;
        }
    }
    best_value[invocation] = value;
    best_index[invocation] = index;
    for (var half = WG / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if (invocation < half) {
            let rival = best_value[invocation + half];
            let rival_index = best_index[invocation + half];
            if (rival > value || (rival == value && rival_index < index)) {
                value = rival;
                index = rival_index;
                best_value[invocation] = value;
                best_index[invocation] = index;
            }
        }
    }
    if (invocation == 0u) {
        tokens[state[0] % params.n_tokens] = index;
        state[0] += 1u;
        state[1] = index;
        state[3] += 1u;
    }
}
