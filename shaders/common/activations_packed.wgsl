// activations_packed — activations.wgsl with packed integer products, four a time where float32 takes three steps each.
// Eight activations become 16-bit integers with one scale, their largest value being 32 512: q = 256 upper + lower, upper
// signed and lower unsigned, so that both dot products are exact and only the rounding of x remains, 1.5e-5 of the
// largest. Weights stay nibbles 0 … 15; what the 8 they lack comes to is the same for all rows and is taken off at once.
// The integers come out of the mantissa of 1.5 * 2^23, as in weights_q4_0.wgsl, whose low 16 bits then are q in two's complement.

const LARGEST = 32512.0;
const MANTISSA = 12582912.0;
const NIBBLES = 0x0F0F0F0Fu;

struct Activations {
    upper: vec2<u32>, // those of low nibbles, of high nibbles
    lower: vec2<u32>,
    eights: i32,
    scale: f32,
}

fn activations(low: vec4<f32>, high: vec4<f32>) -> Activations {
    let sizes = max(abs(low), abs(high));
    let largest = max(max(max(sizes.x, sizes.y), max(sizes.z, sizes.w)), 1e-30);
    let units = vec4<f32>(LARGEST / largest);
    let a = bitcast<vec4<u32>>(fma(low, units, vec4<f32>(MANTISSA)));
    let b = bitcast<vec4<u32>>(fma(high, units, vec4<f32>(MANTISSA)));
    // Elements 0, 2 and 1, 3 share a word, 16 bits each; then bytes are taken from both in turn.
    let even = (vec2<u32>(a.x, b.x) & vec2<u32>(0xFFFFu)) | (vec2<u32>(a.z, b.z) << vec2<u32>(16u));
    let odd = (vec2<u32>(a.y, b.y) & vec2<u32>(0xFFFFu)) | (vec2<u32>(a.w, b.w) << vec2<u32>(16u));
    let lower = (even & vec2<u32>(0x00FF00FFu)) | ((odd & vec2<u32>(0x00FF00FFu)) << vec2<u32>(8u));
    let upper = ((even >> vec2<u32>(8u)) & vec2<u32>(0x00FF00FFu)) | (odd & vec2<u32>(0xFF00FF00u));
    var x = Activations(upper, lower, 0, largest / LARGEST);
    x.eights = word_product(0x88888888u, x);
    return x;
}

fn word_product(word: u32, x: Activations) -> i32 {
    let low = word & NIBBLES;
    let high = (word >> 4u) & NIBBLES;
    let upper = dot4I8Packed(low, x.upper.x) + dot4I8Packed(high, x.upper.y);
    let lower = dot4U8Packed(low, x.lower.x) + dot4U8Packed(high, x.lower.y);
    return upper * 256 + i32(lower) - x.eights;
}

fn quad_product(words: Words, x: Activations) -> vec4<f32> {
    let products = vec4<i32>(
        word_product(words.x, x),
        word_product(words.y, x),
        word_product(words.z, x),
        word_product(words.w, x),
    );
    return vec4<f32>(products) * x.scale;
}
