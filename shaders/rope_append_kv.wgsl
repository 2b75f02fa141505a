// rope_append_kv — turns adjacent pairs of q and k by the angle of their position; k and v go into their ring slots
// qkv: f32 [n_rows, (n_heads + 2 n_kv_heads) * head_dim], row m at position[0] + m; position: u32 [1];
// rope: f32 [n_rope_rows, head_dim / 2] pairs (cos, sin), row p % n_rope_rows for position p;
// q: f32 [n_rows, n_heads * head_dim]; kv: ring of `capacity` slots of keys, then values (common/kv_store.wgsl).
// One invocation per pair of qkv.
// Overrides: WG (64) and those of common/kv_store.wgsl.
// Oracle: reference.norm_qkv, budget norm_qkv.

override WG: u32 = 64u;

struct Params {
    q_pairs: u32,
    kv_pairs: u32,
    head_pairs: u32,
    n_rope_rows: u32,
    capacity: u32,
    n_rows: u32,
}

@group(0) @binding(0) var<storage, read> qkv: array<vec2<f32>>;
@group(0) @binding(1) var<storage, read> rope: array<vec2<f32>>;
@group(0) @binding(2) var<storage, read> position: array<u32>;
@group(0) @binding(3) var<storage, read_write> q: array<vec2<f32>>;
@group(0) @binding(4) var<storage, read_write> kv: array<u32>;
@group(0) @binding(5) var<uniform> params: Params;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) invocation: u32) {
    let i = workgroup_index(workgroup) * WG + invocation;
    let width = params.q_pairs + 2u * params.kv_pairs;
    if (i < params.n_rows * width) {
        append_pair(i / width, i % width, qkv[i], turn_of(i / width, i % width));
    }
}
