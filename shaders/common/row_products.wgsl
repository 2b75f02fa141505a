// row_products — one row x times two quads of rows of a Q4_0 matrix, by one workgroup.
// An invocation takes every WG-th word of both quads, two such places at a time, so that four wide loads are under way
// at once; neighbours read neighbouring memory. x comes from storage, where it stays in the cache. Afterwards
// product(quad, n) is the product with row n of the first or second quad; with HAS_NORM x is RMS-normalised on the way:
// weighted by norm_weight here, and divided by its root mean square, which every workgroup sums for itself, at the end.
// The kernel declares x, norm_weight, nibbles, scales; needs common/q4_0.wgsl, one of common/activations*.wgsl and one of
// common/team_sum*.wgsl, with TEAM_SLOTS = 2, or 3 with HAS_NORM.

override N_WORDS: u32 = 4u; // K / 8
override N_PAIRS: u32 = (N_WORDS + 7u) / 8u;
override HAS_NORM: bool = false;
override EPS: f32 = 1e-5;

// A word of each row of both quads, and the scales of these.
struct Words {
    a: vec4<u32>,
    b: vec4<u32>,
    a_scales: vec4<u32>,
    b_scales: vec4<u32>,
}

struct RowSums {
    a: vec4<f32>,
    b: vec4<f32>,
    squares: f32,
}

fn fetch(quads: vec2<u32>, k: u32) -> Words {
    let word = min(k, N_WORDS - 1u);
    let words = quads * N_WORDS + word;
    let pairs = quads * N_PAIRS + (word >> 3u);
    return Words(nibbles[words.x], nibbles[words.y], scales[pairs.x], scales[pairs.y]);
}

fn with_words(sums: RowSums, words: Words, k: u32) -> RowSums {
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
    for (var first = 0u; first < N_WORDS; first += 2u * WG) {
        let k = first + invocation;
        let words = fetch(quads, k);
        let next_words = fetch(quads, k + WG);
        if (k < N_WORDS) {
            sums = with_words(sums, words, k);
        }
        if (k + WG < N_WORDS) {
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
