// weights_q4_0 — Q4_0 weights, w = (nibble - 8) * scale, from the layout of quant.repack_q4_0: four rows of a matrix, a
// quad of rows, lie interleaved, so that one load gives an invocation the same place of all four. As every
// weights_*.wgsl it tells a kernel what word k of a row is, eight weights 8k … 8k + 7: for a quad of rows at once, or one.
// weights, vec4<u32> [n_quads, n_words]: word k of the quad's rows: each byte j has weight 8k + j in its low and 8k + 4 + j
// in its high nibble; scales, vec4<u32> [n_quads, ceil(n_words / 8)]: two f16 for each row, of blocks 2i and 2i + 1.
// unpack2x16float needs no shader-f16, but may flush subnormal scales (below 6.1e-5) to zero.
//
// No integer is converted, as GPUs convert at a quarter of their speed or less: a nibble masked into the mantissa of
// 2^23 is that number plus the nibble, exactly, and one subtraction leaves (nibble - 8). Nor is it shifted down: it stays
// 1, 16, 256 or 4096 times as large as it should be, and whoever multiplies it with x takes x * LOW_UNITS or HIGH_UNITS.
// Powers of two lose nothing.
// The kernel declares weights, scales.

const LOW_UNITS = vec4<f32>(1.0, 0.00390625, 1.0, 0.00390625);
const HIGH_UNITS = vec4<f32>(0.0625, 0.000244140625, 0.0625, 0.000244140625);
const ROWS_ADJOIN = true; // in memory; else words of a row do

alias Word = u32; // of one row
alias Words = vec4<u32>; // the same of each row of a quad
alias Scales = vec4<u32>;

// Weights 8k … 8k + 3 of word k, each divided by its scale and by LOW_UNITS.
fn low_weights(word: Word) -> vec4<f32> {
    let nibbles = vec4<u32>(word, word, word >> 16u, word >> 16u) & vec4<u32>(0xFu, 0xF00u, 0xFu, 0xF00u);
    return bitcast<vec4<f32>>(nibbles | vec4<u32>(0x4B000000u)) - vec4<f32>(8388616.0, 8390656.0, 8388616.0, 8390656.0);
}

// Weights 8k + 4 … 8k + 7, each divided by its scale and by HIGH_UNITS.
fn high_weights(word: Word) -> vec4<f32> {
    let nibbles = vec4<u32>(word, word, word >> 16u, word >> 16u) & vec4<u32>(0xF0u, 0xF000u, 0xF0u, 0xF000u);
    return bitcast<vec4<f32>>(nibbles | vec4<u32>(0x4B000000u)) - vec4<f32>(8388736.0, 8421376.0, 8388736.0, 8421376.0);
}

fn words_at(quad: u32, k: u32, n_words: u32) -> Words {
    return weights[quad * n_words + k];
}

// Of word k's block and its neighbour.
fn scales_at(quad: u32, k: u32, n_words: u32) -> Scales {
    return scales[quad * ((n_words + 7u) / 8u) + (k >> 3u)];
}

// The scale of word k, out of the pair of its row.
fn pair_scale(pair: u32, k: u32) -> f32 {
    return unpack2x16float(pair >> ((k & 4u) << 2u)).x;
}

fn word_scales(pairs: Scales, k: u32) -> vec4<f32> {
    return vec4<f32>(pair_scale(pairs.x, k), pair_scale(pairs.y, k), pair_scale(pairs.z, k), pair_scale(pairs.w, k));
}

// Where a row's words begin, and its scales, for word_at and word_scale.
fn row_start(row: u32, n_words: u32) -> u32 {
    return (row >> 2u) * n_words;
}

fn scale_start(row: u32, n_words: u32) -> u32 {
    return (row >> 2u) * ((n_words + 7u) / 8u);
}

fn word_at(start: u32, row: u32, k: u32) -> Word {
    return weights[start + k][row & 3u];
}

fn word_scale(start: u32, row: u32, k: u32) -> f32 {
    return pair_scale(scales[start + (k >> 3u)][row & 3u], k);
}
