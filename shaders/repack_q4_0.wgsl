// repack_q4_0 — 18-byte Q4_0 blocks as they lie in a file, to the layout of common/weights_q4_0.wgsl
// raw: u32 words of blocks: f16 scale, then 16 bytes with weights 0 … 15 in their low and 16 … 31 in their high nibbles.
// weights: u32 [n_quads, 4 n_blocks, 4 rows]; scales: u32 [n_quads, ceil(n_blocks / 2), 4 rows], zero to begin with, as two
// blocks set the halves of one word. The i-th block behind the first `source` halves of words of raw becomes block goal + i
// of a part with n_blocks in a row. One invocation per block, of nine halves of words: every other one begins in mid-word.
// Overrides: WG (64).
// Oracle: reference.fill, by way of quant.repack_q4_0: exact.

override WG: u32 = 64u;

const LOW = 0x0F0F0F0Fu;

struct Params {
    n: u32,
    source: u32,
    goal: u32,
    n_blocks: u32,
}

@group(0) @binding(0) var<storage, read> raw: array<u32>;
@group(0) @binding(1) var<storage, read_write> weights: array<u32>;
@group(0) @binding(2) var<storage, read_write> scales: array<atomic<u32>>;
@group(0) @binding(3) var<uniform> params: Params;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) invocation: u32) {
    let i = workgroup_index(workgroup) * WG + invocation;
    if (i >= params.n) {
        return;
    }
    let half = params.source + i * 9u;
    let first = half >> 1u;
    let head = raw[first];
    var bytes = vec4<u32>(raw[first + 1u], raw[first + 2u], raw[first + 3u], raw[first + 4u]);
    var scale = head >> 16u;
    if ((half & 1u) == 0u) {
        scale = head & 0xFFFFu;
        bytes = (vec4<u32>(head, bytes.xyz) >> vec4<u32>(16u)) | (bytes << vec4<u32>(16u));
    }
    let block = (params.goal + i) % params.n_blocks;
    let row = (params.goal + i) / params.n_blocks;
    let word = ((row >> 2u) * params.n_blocks + block) * 16u + (row & 3u);
    weights[word] = (bytes.x & LOW) | ((bytes.y & LOW) << 4u);
    weights[word + 4u] = (bytes.z & LOW) | ((bytes.w & LOW) << 4u);
    weights[word + 8u] = ((bytes.x >> 4u) & LOW) | (bytes.y & ~LOW);
    weights[word + 12u] = ((bytes.z >> 4u) & LOW) | (bytes.w & ~LOW);
    let pair = (row >> 2u) * ((params.n_blocks + 1u) >> 1u) + (block >> 1u);
    atomicOr(&scales[pair * 4u + (row & 3u)], scale << ((block & 1u) << 4u));
}
