// weights_f32 — float32 weights, row-major: a word takes two vec4<u32>.
// The kernel declares weights; common/weights_floats.wgsl follows.

struct Word {
    low: vec4<u32>,
    high: vec4<u32>,
}

fn low_weights(word: Word) -> vec4<f32> {
    return bitcast<vec4<f32>>(word.low);
}

fn high_weights(word: Word) -> vec4<f32> {
    return bitcast<vec4<f32>>(word.high);
}

fn word_at(start: u32, row: u32, k: u32) -> Word {
    let i = 2u * (start + k);
    return Word(weights[i], weights[i + 1u]);
}
