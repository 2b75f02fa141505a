// argmax_tree — the best candidate of a workgroup: the largest value, the lowest index on ties, as numpy.argmax.
// The kernel declares `override WG`, a power of two.

struct Candidate {
    value: f32,
    index: u32,
}

var<workgroup> candidates: array<Candidate, WG>;

fn better(a: Candidate, b: Candidate) -> Candidate {
    if (b.value > a.value || (b.value == a.value && b.index < a.index)) {
        return b;
    }
    return a;
}

// The result is that of invocation 0; call it in uniform control flow.
fn best_of_all(invocation: u32, candidate: Candidate) -> Candidate {
    var best = candidate;
    candidates[invocation] = best;
    for (var half = WG / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if (invocation < half) {
            best = better(best, candidates[invocation + half]);
            candidates[invocation] = best;
        }
    }
    return best;
}
