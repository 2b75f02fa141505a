// repack_q4_0 — 18-byte Q4_0 blocks as they lie in a file, to aligned nibbles and scales
// raw: u32 words of whole block pairs, 9 words (36 bytes) each: scale, 16 nibble bytes, scale, 16 nibble bytes.
// nibbles: vec4<u32> per block, word i holds bytes 4i … 4i + 3; scales: two f16 bit patterns per u32, low half first.
// Pair source + i of raw becomes pair target + i. One invocation per pair: odd blocks begin in mid-word, pairs never do.
// Overrides: WG (64).
// Oracle: reference.fill, by way of quant.repack_q4_0: exact.

override WG: u32 = 64u;

struct Params {
    n_pairs: u32,
    source_pair: u32,
    target_pair: u32,
}

@group(0) @binding(0) var<storage, read> raw: array<u32>;
@group(0) @binding(1) var<storage, read_write> nibbles: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read_write> scales: array<u32>;
@group(0) @binding(3) var<uniform> params: Params;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) invocation: u32) {
    let i = workgroup_index(workgroup) * WG + invocation;
    if (i >= params.n_pairs) {
        return;
    }
    let word = (params.source_pair + i) * 9u;
    let w0 = raw[word];
    let w1 = raw[word + 1u];
    let w2 = raw[word + 2u];
    let w3 = raw[word + 3u];
    let w4 = raw[word + 4u];
    let pair = params.target_pair + i;
    nibbles[2u * pair] = vec4<u32>(
        (w0 >> 16u) | (w1 << 16u),
        (w1 >> 16u) | (w2 << 16u),
        (w2 >> 16u) | (w3 << 16u),
        (w3 >> 16u) | (w4 << 16u),
    );
    nibbles[2u * pair + 1u] = vec4<u32>(raw[word + 5u], raw[word + 6u], raw[word + 7u], raw[word + 8u]);
    scales[pair] = (w0 & 0xffffu) | (w4 & 0xffff0000u);
}
