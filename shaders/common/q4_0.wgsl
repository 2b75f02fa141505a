// q4_0 — decodes Q4_0 weights, w = (nibble - 8) * scale, from the layout of quant.repack_q4_0: four rows of a matrix, a
// quad of rows, lie interleaved, so that one load gives an invocation the same place of all four.
// nibbles, vec4<u32> [n_quads, K / 8]: word k of the quad's rows: each byte j has weight 8k + j in its low and 8k + 4 + j
// in its high nibble; scales, vec4<u32> [n_quads, ceil(K / 64)]: two f16 for each row, of blocks 2i and 2i + 1.
// unpack2x16float needs no shader-f16, but may flush subnormal scales (below 6.1e-5) to zero.
//
// No integer is converted, as GPUs convert at a quarter of their speed or less: a nibble masked into the mantissa of
// 2^23 is that number plus the nibble, exactly, and one subtraction leaves (nibble - 8). Nor is it shifted down: it stays
// 1, 16, 256 or 4096 times as large as it should be, and whoever multiplies it with x takes x * LOW_UNITS or HIGH_UNITS.
// Powers of two lose nothing.

const LOW_UNITS = vec4<f32>(1.0, 0.00390625, 1.0, 0.00390625);
const HIGH_UNITS = vec4<f32>(0.0625, 0.000244140625, 0.0625, 0.000244140625);

// Weights 8k … 8k + 3 of word k, each divided by its scale and by LOW_UNITS.
fn low_weights(word: u32) -> vec4<f32> {
    let nibbles = vec4<u32>(word, word, word >> 16u, word >> 16u) & vec4<u32>(0xFu, 0xF00u, 0xFu, 0xF00u);
    return bitcast<vec4<f32>>(nibbles | vec4<u32>(0x4B000000u)) - vec4<f32>(8388616.0, 8390656.0, 8388616.0, 8390656.0);
}

// Weights 8k + 4 … 8k + 7, each divided by its scale and by HIGH_UNITS.
fn high_weights(word: u32) -> vec4<f32> {
    let nibbles = vec4<u32>(word, word, word >> 16u, word >> 16u) & vec4<u32>(0xF0u, 0xF000u, 0xF0u, 0xF000u);
    return bitcast<vec4<f32>>(nibbles | vec4<u32>(0x4B000000u)) - vec4<f32>(8388736.0, 8421376.0, 8388736.0, 8421376.0);
}

// The scale of word k, out of the pair of its row.
fn word_scale(pair: u32, k: u32) -> f32 {
    return unpack2x16float(pair >> ((k & 4u) << 2u)).x;
}

fn word_scales(pairs: vec4<u32>, k: u32) -> vec4<f32> {
    return vec4<f32>(word_scale(pairs.x, k), word_scale(pairs.y, k), word_scale(pairs.z, k), word_scale(pairs.w, k));
}
