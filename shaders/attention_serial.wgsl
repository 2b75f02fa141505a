// attention_serial — the same as attention.wgsl, for software adapters: one invocation per (head, row), no barriers
// q, y: f32 [n_rows, n_heads * head_dim]; kv: ring of `capacity` slots of keys, then values (common/kv_load.wgsl); position:
// u32 [1]; head_dim = 8 * n_lanes, n_lanes at most 16. Keys are taken 4 at a time, so that a value of the query or of the
// sum, which lie in memory there, is touched once per 4 keys; past the last key it is taken again with score -1e30, that
// is weight 0.
// Overrides: WG (4) and those of common/kv_load.wgsl.
// Oracle: reference.attention, budget attention.

override WG: u32 = 4u;

const MAX_LANES = 16u;

struct Params {
    n_rows: u32,
    group: u32,
    window: u32,
    n_heads: u32,
    n_lanes: u32,
    capacity: u32,
    kv_octets: u32, // of all keys in a slot
    scale: f32,
}

@group(0) @binding(0) var<storage, read> q: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> kv: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> position: array<u32>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(4) var<uniform> params: Params;

fn octet_dot(a: Octet, b: Octet) -> f32 {
    return dot(a.low, b.low) + dot(a.high, b.high);
}

fn mixed(weights: vec4<f32>, a: Octet, b: Octet, c: Octet, d: Octet, sum: Octet) -> Octet {
    return Octet(
        sum.low + weights.x * a.low + weights.y * b.low + weights.z * c.low + weights.w * d.low,
        sum.high + weights.x * a.high + weights.y * b.high + weights.z * c.high + weights.w * d.high,
    );
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) invocation: u32) {
    let i = workgroup_index(workgroup) * WG + invocation;
    let row = i / params.n_heads;
    if (row >= params.n_rows) {
        return;
    }
    let n_lanes = params.n_lanes;
    let kv_base = i % params.n_heads / params.group * n_lanes;
    let last = position[0] + row;
    let n_keys = min(last + 1u, params.window);
    let first = last + 1u - n_keys;
    var query: array<Octet, MAX_LANES>;
    var mix: array<Octet, MAX_LANES>;
    for (var k = 0u; k < n_lanes; k++) {
        let at = (i * n_lanes + k) * 2u;
        query[k] = Octet(q[at] * params.scale, q[at + 1u] * params.scale);
        mix[k] = Octet();
    }
    var maximum = -1e30;
    var total = 0.0;
    for (var base = 0u; base < n_keys; base += 4u) {
        let four = base + vec4<u32>(0u, 1u, 2u, 3u);
        let slots = (first + min(four, vec4<u32>(n_keys - 1u))) % params.capacity * 2u * params.kv_octets + kv_base;
        var scores = vec4<f32>(0.0);
        for (var k = 0u; k < n_lanes; k++) {
            let part = query[k];
            scores += vec4<f32>(
                octet_dot(part, load_kv(slots.x + k)),
                octet_dot(part, load_kv(slots.y + k)),
                octet_dot(part, load_kv(slots.z + k)),
                octet_dot(part, load_kv(slots.w + k)),
            );
        }
        scores = select(vec4<f32>(-1e30), scores, four < vec4<u32>(n_keys));
        let new_maximum = max(maximum, max(max(scores.x, scores.y), max(scores.z, scores.w)));
        let weights = exp(scores - new_maximum);
        let shrink = exp(maximum - new_maximum);
        maximum = new_maximum;
        total = total * shrink + dot(weights, vec4<f32>(1.0));
        let at = slots + params.kv_octets;
        for (var k = 0u; k < n_lanes; k++) {
            let old = Octet(mix[k].low * shrink, mix[k].high * shrink);
            mix[k] = mixed(weights, load_kv(at.x + k), load_kv(at.y + k), load_kv(at.z + k), load_kv(at.w + k), old);
        }
    }
    for (var k = 0u; k < n_lanes; k++) {
        let at = (i * n_lanes + k) * 2u;
        y[at] = mix[k].low / total;
        y[at + 1u] = mix[k].high / total;
    }
}
