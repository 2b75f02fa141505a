// weights_f16 — float16 weights, row-major: eight in a vec4<u32>, the even ones in the low halves.
// unpack2x16float needs no shader-f16, but may flush subnormal weights (below 6.1e-5) to zero.
// The kernel declares weights; common/weights_floats.wgsl follows.

alias Word = vec4<u32>;

fn low_weights(word: Word) -> vec4<f32> {
    return vec4<f32>(unpack2x16float(word.x), unpack2x16float(word.y));
}

fn high_weights(word: Word) -> vec4<f32> {
    return vec4<f32>(unpack2x16float(word.z), unpack2x16float(word.w));
}

fn word_at(start: u32, row: u32, k: u32) -> Word {
    return weights[start + k];
}
