// weights_bf16 — bfloat16 weights, row-major: eight in a vec4<u32>, the even ones in the low halves. Each is the upper
// half of a float32.
// The kernel declares weights; common/weights_floats.wgsl follows.

alias Word = vec4<u32>;

fn widened(pairs: vec2<u32>) -> vec4<f32> {
    let even = pairs << vec2<u32>(16u);
    let odd = pairs & vec2<u32>(0xFFFF0000u);
    return bitcast<vec4<f32>>(vec4<u32>(even.x, odd.x, even.y, odd.y));
}

fn low_weights(word: Word) -> vec4<f32> {
    return widened(word.xy);
}

fn high_weights(word: Word) -> vec4<f32> {
    return widened(word.zw);
}

fn word_at(start: u32, row: u32, k: u32) -> Word {
    return weights[start + k];
}
