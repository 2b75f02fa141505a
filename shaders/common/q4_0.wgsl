// q4_0 — decodes GGML Q4_0 blocks of 32 weights, w = (nibble - 8) * scale, from the planar layout of quant.repack_q4_0:
// nibbles, 4 words a block: word i holds weights 4i … 4i + 3 in its low and 16 + 4i … 16 + 4i + 3 in its high nibbles;
// scales, two f16 a word by flat block index. unpack2x16float needs no shader-f16, but may flush subnormal scales
// (below 6.1e-5) to zero.
//
// No integer is converted, as GPUs convert at a quarter of their speed or less: a nibble masked into the mantissa of
// 2^23 is that number plus the nibble, exactly, and one subtraction leaves (nibble - 8). Nor is it shifted down: it stays
// 1, 16, 256 or 4096 times as large as it should be, and whoever multiplies it with x takes x * LOW_UNITS or HIGH_UNITS.
// Powers of two lose nothing.

const LOW_UNITS = vec4<f32>(1.0, 0.00390625, 1.0, 0.00390625);
const HIGH_UNITS = vec4<f32>(0.0625, 0.000244140625, 0.0625, 0.000244140625);

// Weights 4i … 4i + 3 of word i, each divided by its scale and by LOW_UNITS.
fn low_weights(word: u32) -> vec4<f32> {
    let nibbles = vec4<u32>(word, word, word >> 16u, word >> 16u) & vec4<u32>(0xFu, 0xF00u, 0xFu, 0xF00u);
    return bitcast<vec4<f32>>(nibbles | vec4<u32>(0x4B000000u)) - vec4<f32>(8388616.0, 8390656.0, 8388616.0, 8390656.0);
}

// Weights 16 + 4i … 16 + 4i + 3, each divided by its scale and by HIGH_UNITS.
fn high_weights(word: u32) -> vec4<f32> {
    let nibbles = vec4<u32>(word, word, word >> 16u, word >> 16u) & vec4<u32>(0xF0u, 0xF000u, 0xF0u, 0xF000u);
    return bitcast<vec4<f32>>(nibbles | vec4<u32>(0x4B000000u)) - vec4<f32>(8388736.0, 8421376.0, 8388736.0, 8421376.0);
}

fn pick_scale(pair: u32, block: u32) -> f32 {
    let both = unpack2x16float(pair);
    return select(both.x, both.y, (block & 1u) == 1u);
}
