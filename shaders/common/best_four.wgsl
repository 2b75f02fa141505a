// best_four — the four best candidates of a workgroup: the largest values, the lowest index first on ties, and the sum of
// exp(value - best) over all that it has seen, for a softmax.
// The kernel declares `override WG`, a power of two.

struct Best {
    values: vec4<f32>,
    indices: vec4<u32>,
    sum: f32,
}

var<workgroup> shared_best: array<Best, WG>;

fn nothing() -> Best {
    return Best(vec4<f32>(-3.4e38), vec4<u32>(0xFFFFFFFFu), 0.0);
}

// The best of `best` and one more; the sum is left alone.
fn with_candidate(best: Best, value: f32, index: u32) -> Best {
    let values = vec4<f32>(value);
    let indices = vec4<u32>(index);
    let is_ahead = select(values > best.values, indices < best.indices, values == best.values);
    let is_shifted = vec4<bool>(false, is_ahead.xyz);
    return Best(
        select(select(best.values, values, is_ahead), vec4<f32>(value, best.values.xyz), is_shifted),
        select(select(best.indices, indices, is_ahead), vec4<u32>(index, best.indices.xyz), is_shifted),
        best.sum,
    );
}

fn merged(a: Best, b: Best) -> Best {
    let top = max(a.values.x, b.values.x);
    var best = a;
    // Most often nothing of b is among the best; ordered as it is, its first that is not ends it.
    if (b.values.x >= best.values.w) {
        best = with_candidate(best, b.values.x, b.indices.x);
        if (b.values.y >= best.values.w) {
            best = with_candidate(best, b.values.y, b.indices.y);
            if (b.values.z >= best.values.w) {
                best = with_candidate(best, b.values.z, b.indices.z);
                best = with_candidate(best, b.values.w, b.indices.w);
            }
        }
    }
    best.sum = a.sum * exp(a.values.x - top) + b.sum * exp(b.values.x - top);
    return best;
}

// The result is that of invocation 0; call it in uniform control flow.
fn best_of_all(invocation: u32, own: Best) -> Best {
    var best = own;
    shared_best[invocation] = best;
    for (var half = WG / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if (invocation < half) {
            best = merged(best, shared_best[invocation + half]);
            shared_best[invocation] = best;
        }
    }
    return best;
}
