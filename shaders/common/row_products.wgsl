// row_products — one row x times two quads of rows of a matrix, by one workgroup.
// An invocation takes every WG-th word of both quads, STEPS such places at a time, so that at least four wide loads are
// under way at once; neighbours read neighbouring memory. x comes from storage, where it stays in the cache. Afterwards
// product(quad, n) is the product with row n of the first or second quad; with HAS_NORM x is RMS-normalised on the way:
// weighted by norm_weight here, and divided by its root mean square, which every workgroup sums for itself, at the end.
// The kernel declares x, norm_weight, weights, scales; needs weights of a type, one of common/activations*.wgsl and one of
// common/team_sum*.wgsl, with TEAM_SLOTS = 2, or 3 with HAS_NORM.

override N_WORDS: u32 = 4u; // K / 8
override STEPS: u32 = 2u; // or 1
override HAS_NORM: bool = false;
override EPS: f32 = 1e-5;

// A word of each row of both quads, and the scales of these.
struct Fetched {
    a: Words,
    b: Words,
    a_scales: Scales,
    b_scales: Scales,
}

struct RowSums {
    a: vec4<f32>,
    b: vec4<f32>,
    squares: f32,
}

fn fetch(quads: vec2<u32>, k: u32) -> Fetched {
    let word = min(k, N_WORDS - 1u);
    return Fetched(
        words_at(quads.x, word, N_WORDS),
        words_at(quads.y, word, N_WORDS),
        scales_at(quads.x, word, N_WORDS),
        scales_at(quads.y, word, N_WORDS),
    );
}

fn with_words(sums: RowSums, words: Fetched, k: u32) -> RowSums {
    var low = x[2u * k];
    var high = x[2u * k + 1u];
    var squares = sums.squares;
    if (HAS_NORM) {
        squares += dot(low, low) + dot(high, high);
        low *= norm_weight[2u * k];
        high *= norm_weight[2u * k + 1u];
    }
    let eight = activations(low, high);
    return RowSums(
        sums.a + word_scales(words.a_scales, k) * quad_product(words.a, eight),
        sums.b + word_scales(words.b_scales, k) * quad_product(words.b, eight),
        squares,
    );
}

fn row_products(invocation: u32, quads: vec2<u32>) {
    var sums = RowSums();
    for (var first = 0u; first < N_WORDS; first += STEPS * WG) {
        let k = first + invocation;
        let words = fetch(quads, k);
        var next_words = Fetched();
        if (STEPS > 1u) {
            next_words = fetch(quads, k + WG);
        }
        if (k < N_WORDS) {
            sums = with_words(sums, words, k);
        }
        if (STEPS > 1u && k + WG < N_WORDS) {
            sums = with_words(sums, next_words, k + WG);
        }
    }
    team_put(invocation, 0u, sums.a);
    team_put(invocation, 1u, sums.b);
    if (HAS_NORM) {
        team_put(invocation, 2u, vec4<f32>(sums.squares));
    }
    team_reduce(invocation);
}

fn product(quad: u32, n: u32) -> f32 {
    let total = team_total(quad, n);
    if (HAS_NORM) {
        return total * inverseSqrt(team_total(2u, 0u) / f32(N_WORDS * 8u) + EPS);
    }
    return total;
}
