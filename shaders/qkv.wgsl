// qkv — the whole way of one decoder row into attention: q, k, v = W * rms_norm(x); q and k turned; k, v stored
// x, norm_weight: f32 [K]; weights, scales: rows [(n_heads + 2 n_kv_heads) * head_dim, K] of q, k, v
// (common/weights_*.wgsl);
// rope: f32 [n_rope_rows, head_dim / 2] pairs (cos, sin), row p % n_rope_rows for position p = position[0];
// q: f32 [n_heads * head_dim]; kv: ring of `capacity` slots of keys, then values (common/kv_store.wgsl).
// One workgroup: two quads of rows, that is 4 pairs (common/row_products.wgsl).
// Overrides: WG (64), those of common/row_products.wgsl (HAS_NORM true) and of common/kv_store.wgsl.
// Oracle: reference.norm_qkv, budget norm_qkv.

struct Params {
    q_pairs: u32,
    kv_pairs: u32,
    head_pairs: u32,
    n_rope_rows: u32,
    capacity: u32,
}

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> norm_weight: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> weights: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read> scales: array<vec4<u32>>;
@group(0) @binding(4) var<storage, read> rope: array<vec2<f32>>;
@group(0) @binding(5) var<storage, read> position: array<u32>;
@group(0) @binding(6) var<storage, read_write> q: array<vec2<f32>>;
@group(0) @binding(7) var<storage, read_write> kv: array<u32>;
@group(0) @binding(8) var<uniform> params: Params;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) invocation: u32) {
    let n_pairs = params.q_pairs + 2u * params.kv_pairs;
    let group = workgroup_index(workgroup);
    let column = group * 4u + invocation;
    let is_mine = invocation < 4u && column < n_pairs;
    var turn = vec2<f32>(0.0);
    if (is_mine) {
        turn = turn_of(0u, column);
    }
    row_products(invocation, group * 2u + vec2<u32>(0u, 1u));
    if (is_mine) {
        let quad = invocation / 2u;
        let place = invocation % 2u * 2u;
        append_pair(0u, column, vec2<f32>(product(quad, place), product(quad, place + 1u)), turn);
    }
}
