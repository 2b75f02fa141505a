// q4_0 — decodes GGML Q4_0 blocks of 32 weights, w = (nibble - 8) * scale, from the planar layout of quant.repack_q4_0:
// nibbles, 4 words a block: word i holds weights 4i … 4i + 3 in its low and 16 + 4i … 16 + 4i + 3 in its high nibbles;
// scales, two f16 a word by flat block index. unpack2x16float needs no shader-f16, but may flush subnormal scales
// (below 6.1e-5) to zero.
//
// A nibble is not shifted down but left in its byte, so that byte b is worth PLACES[b] times as much; whoever multiplies
// it with x takes x * UNPLACED. Powers of two lose nothing, and one mask and one signed conversion is all a weight costs.

const PLACES = vec4<f32>(1.0, 256.0, 65536.0, 16777216.0);
const UNPLACED = vec4<f32>(1.0, 0.00390625, 0.0000152587890625, 0.000000059604644775390625);
const EIGHTS = vec4<f32>(8.0, 2048.0, 524288.0, 134217728.0);

// The low nibbles of a word, each times its place; the high ones are placed_nibbles(word >> 4).
fn placed_nibbles(word: u32) -> vec4<f32> {
    return vec4<f32>(vec4<i32>(i32(word)) & vec4<i32>(0xF, 0xF00, 0xF0000, 0xF000000));
}

fn pick_scale(pair: u32, block: u32) -> f32 {
    let both = unpack2x16float(pair);
    return select(both.x, both.y, (block & 1u) == 1u);
}
