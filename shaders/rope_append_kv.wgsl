// rope_append_kv — turns adjacent pairs of q and k by the angle of their position; k and v go into their ring slots
// qkv: f32 [n_rows, (n_heads + 2 n_kv_heads) * head_dim], row m at position[0] + m; position: u32 [1];
// rope: f32 [n_rope_rows, head_dim / 2] pairs (cos, sin), row p % n_rope_rows for position p;
// q: f32 [n_rows, n_heads * head_dim]; keys, values: f32 [capacity, n_kv_heads * head_dim], slot p % capacity.
// All are read as pairs (vec2), n_half = head_dim / 2 pairs a head. One invocation per pair of qkv.
// Cosines come from a table computed in float64: WGSL's own are good to 2^-11 only.
// Overrides: WG (64).
// Oracle: reference.rope_append_kv, budget rope_append_kv.

override WG: u32 = 64u;

struct Params {
    n_rows: u32,
    n_heads: u32,
    n_kv_heads: u32,
    n_half: u32,
    n_rope_rows: u32,
    capacity: u32,
}

@group(0) @binding(0) var<storage, read> qkv: array<vec2<f32>>;
@group(0) @binding(1) var<storage, read> rope: array<vec2<f32>>;
@group(0) @binding(2) var<storage, read> position: array<u32>;
@group(0) @binding(3) var<storage, read_write> q: array<vec2<f32>>;
@group(0) @binding(4) var<storage, read_write> keys: array<vec2<f32>>;
@group(0) @binding(5) var<storage, read_write> values: array<vec2<f32>>;
@group(0) @binding(6) var<uniform> params: Params;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) invocation: u32) {
    let i = workgroup_index(workgroup) * WG + invocation;
    let width = (params.n_heads + 2u * params.n_kv_heads) * params.n_half;
    let row = i / width;
    if (row >= params.n_rows) {
        return;
    }
    let at = position[0] + row;
    let column = i % width;
    let pair = qkv[i];
    let turn = rope[(at % params.n_rope_rows) * params.n_half + column % params.n_half];
    let turned = vec2<f32>(pair.x * turn.x - pair.y * turn.y, pair.x * turn.y + pair.y * turn.x);

    let q_width = params.n_heads * params.n_half;
    let kv_width = params.n_kv_heads * params.n_half;
    let slot = (at % params.capacity) * kv_width;
    if (column < q_width) {
        q[row * q_width + column] = turned;
    } else if (column < q_width + kv_width) {
        keys[slot + column - q_width] = turned;
    } else {
        values[slot + column - q_width - kv_width] = pair;
    }
}
