// activations — what the eight weights of a word (common/weights_*.wgsl) are multiplied with, in float32.
// activations_packed.wgsl is the same, for Q4_0 only, on devices that multiply packed integers.

struct Activations {
    low: vec4<f32>,
    high: vec4<f32>,
}

fn activations(low: vec4<f32>, high: vec4<f32>) -> Activations {
    return Activations(low * LOW_UNITS, high * HIGH_UNITS);
}

// The product of four rows' words with eight activations, without the words' scales.
fn quad_product(words: Words, x: Activations) -> vec4<f32> {
    return vec4<f32>(
        dot(low_weights(words.x), x.low) + dot(high_weights(words.x), x.high),
        dot(low_weights(words.y), x.low) + dot(high_weights(words.y), x.high),
        dot(low_weights(words.z), x.low) + dot(high_weights(words.z), x.high),
        dot(low_weights(words.w), x.low) + dot(high_weights(words.w), x.high),
    );
}
