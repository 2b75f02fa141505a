// attention_serial — the same as attention.wgsl, for software adapters: one invocation per (head, row), no barriers
// Bindings, parameters and formula: attention.wgsl; n_rows is added. Keys are taken 4 at a time, so that a value of the
// query or of the sum, which lie in memory there, is touched once per 4 keys; past the last key it is taken again with
// score -1e30, that is weight 0.
// Overrides: WG (4).
// Oracle: reference.attention, budget attention.

override WG: u32 = 4u;

const MAX_QUADS = 32u;

struct Params {
    n_heads: u32,
    group: u32,
    n_quads: u32,
    capacity: u32,
    window: u32,
    row_quads: u32,
    scale: f32,
    n_rows: u32,
}

@group(0) @binding(0) var<storage, read> q: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> keys: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> values: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> position: array<u32>;
@group(0) @binding(4) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(5) var<uniform> params: Params;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) invocation: u32) {
    let i = workgroup_index(workgroup) * WG + invocation;
    let row = i / params.n_heads;
    if (row >= params.n_rows) {
        return;
    }
    let n_quads = params.n_quads;
    let kv_base = i % params.n_heads / params.group * n_quads;
    let last = position[0] + row;
    let n_keys = min(last + 1u, params.window);
    let first = last + 1u - n_keys;
    var query: array<vec4<f32>, MAX_QUADS>;
    var mix: array<vec4<f32>, MAX_QUADS>;
    for (var k = 0u; k < n_quads; k++) {
        query[k] = q[i * n_quads + k] * params.scale;
        mix[k] = vec4<f32>(0.0);
    }
    var maximum = -1e30;
    var total = 0.0;
    for (var base = 0u; base < n_keys; base += 4u) {
        let four = base + vec4<u32>(0u, 1u, 2u, 3u);
        let slots = (first + min(four, vec4<u32>(n_keys - 1u))) % params.capacity * params.row_quads + kv_base;
        var scores = vec4<f32>(0.0);
        for (var k = 0u; k < n_quads; k++) {
            let part = query[k];
            scores += vec4<f32>(
                dot(part, keys[slots.x + k]),
                dot(part, keys[slots.y + k]),
                dot(part, keys[slots.z + k]),
                dot(part, keys[slots.w + k]),
            );
        }
        scores = select(vec4<f32>(-1e30), scores, four < vec4<u32>(n_keys));
        let new_maximum = max(maximum, max(max(scores.x, scores.y), max(scores.z, scores.w)));
        let weights = exp(scores - new_maximum);
        let shrink = exp(maximum - new_maximum);
        maximum = new_maximum;
        total = total * shrink + dot(weights, vec4<f32>(1.0));
        for (var k = 0u; k < n_quads; k++) {
            mix[k] = mix[k] * shrink
                + weights.x * values[slots.x + k]
                + weights.y * values[slots.y + k]
                + weights.z * values[slots.z + k]
                + weights.w * values[slots.w + k];
        }
    }
    for (var k = 0u; k < n_quads; k++) {
        y[i * n_quads + k] = mix[k] / total;
    }
}
