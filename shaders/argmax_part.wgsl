// argmax_part — the four best of each SHARE logits and their part of the softmax's sum
// logits: f32 [n_logits]; parts: Best [n_parts] (common/best_four.wgsl), 12 words each.
// One workgroup per share; each invocation looks at a strided part of it.
// Overrides: WG (256; power of two), SHARE (2048).
// Oracle: reference.argmax_advance, ids exact.

override WG: u32 = 256u;
override SHARE: u32 = 2048u;

struct Params {
    n_logits: u32,
}

@group(0) @binding(0) var<storage, read> logits: array<f32>;
@group(0) @binding(1) var<storage, read_write> parts: array<Best>;
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) invocation: u32) {
    let share = workgroup_index(workgroup);
    let start = share * SHARE + invocation;
    let end = min((share + 1u) * SHARE, params.n_logits);
    var best = nothing();
    for (var i = start; i < end; i += WG) {
        best = with_candidate(best, logits[i], i);
    }
    for (var i = start; i < end; i += WG) {
        best.sum += exp(logits[i] - best.values.x);
    }
    best = best_of_all(invocation, best);
    if (invocation == 0u && share * SHARE < params.n_logits) {
        parts[share] = best;
    }
}
