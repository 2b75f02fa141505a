// weights_floats — what weights_f16, weights_bf16 and weights_f32 have in common: a matrix row-major as in the file, whose
// weights need no scale, so that all of these are 1 and the compiler drops them. See weights_q4_0.wgsl for the names.
// The file of the type declares Word, word_at, low_weights and high_weights.

const LOW_UNITS = vec4<f32>(1.0);
const HIGH_UNITS = vec4<f32>(1.0);
const ROWS_ADJOIN = false;

alias Scales = u32; // of no use

struct Words {
    x: Word,
    y: Word,
    z: Word,
    w: Word,
}

fn words_at(quad: u32, k: u32, n_words: u32) -> Words {
    let start = quad * 4u * n_words;
    return Words(
        word_at(start, 0u, k),
        word_at(start + n_words, 1u, k),
        word_at(start + 2u * n_words, 2u, k),
        word_at(start + 3u * n_words, 3u, k),
    );
}

fn scales_at(quad: u32, k: u32, n_words: u32) -> Scales {
    return 0u;
}

fn word_scales(none: Scales, k: u32) -> vec4<f32> {
    return vec4<f32>(1.0);
}

fn row_start(row: u32, n_words: u32) -> u32 {
    return row * n_words;
}

fn scale_start(row: u32, n_words: u32) -> u32 {
    return 0u;
}

fn word_scale(start: u32, row: u32, k: u32) -> f32 {
    return 1.0;
}
