// argmax_part — the best of each SHARE logits: parts[w] = (largest value, its index), the lowest index on ties
// logits: f32 [n_logits]; parts: u32 [n_parts, 2], the value as its bits.
// One workgroup per share; each invocation keeps the best of a strided part of it (common/argmax_tree.wgsl).
// Overrides: WG (256; power of two), SHARE (2048).
// Oracle: reference.argmax_advance, exact.

override WG: u32 = 256u;
override SHARE: u32 = 2048u;

struct Params {
    n_logits: u32,
}

@group(0) @binding(0) var<storage, read> logits: array<f32>;
@group(0) @binding(1) var<storage, read_write> parts: array<vec2<u32>>;
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) invocation: u32) {
    let share = workgroup_index(workgroup);
    let end = min((share + 1u) * SHARE, params.n_logits);
    var best = Candidate(-3.4e38, 0xFFFFFFFFu);
    for (var i = share * SHARE + invocation; i < end; i += WG) {
        best = better(best, Candidate(logits[i], i));
    }
    best = best_of_all(invocation, best);
    if (invocation == 0u && share * SHARE < params.n_logits) {
        parts[share] = vec2<u32>(bitcast<u32>(best.value), best.index);
    }
}
