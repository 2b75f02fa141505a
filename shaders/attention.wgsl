// attention — y[m, h] = softmax(scale * q[m, h] . K) V over the keys of positions max(0, i - window + 1) … i, i = position[0] + m
// q, y: f32 [M, n_heads * head_dim]; keys, values: f32 [capacity, n_kv_heads * head_dim], position j in slot j % capacity;
// position: u32 [1], that of row 0. head_dim = 4 * n_quads, n_quads at most 32. Head h reads kv head h / group;
// row_quads = vec4s a row of keys.
// One workgroup per (head, row). It walks the keys in tiles of WG with an online softmax: first one invocation per key
// for the scores, then n_quads invocations per key for the mix, WG / n_quads keys at a time.
// Only keys inside the window are visited, so nothing is masked; -1e30 stands for "no maximum yet".
// Overrides: WG (64; at least 32).
// Oracle: reference.attention, budget attention.

override WG: u32 = 64u;

const MAX_QUADS = 32u;

struct Params {
    n_heads: u32,
    group: u32,
    n_quads: u32,
    capacity: u32,
    window: u32,
    row_quads: u32,
    scale: f32,
}

@group(0) @binding(0) var<storage, read> q: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> keys: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> values: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> position: array<u32>;
@group(0) @binding(4) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(5) var<uniform> params: Params;

var<workgroup> query: array<vec4<f32>, MAX_QUADS>;
var<workgroup> scores: array<f32, WG>;
var<workgroup> weights: array<f32, WG>;
var<workgroup> mixes: array<vec4<f32>, WG>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) invocation: u32) {
    let n_quads = params.n_quads;
    let head = workgroup.x;
    let out_base = (workgroup.y * params.n_heads + head) * n_quads;
    let kv_base = head / params.group * n_quads;
    let last = position[0] + workgroup.y;
    let n_keys = min(last + 1u, params.window);
    let first = last + 1u - n_keys;
    if (invocation < n_quads) {
        query[invocation] = q[out_base + invocation] * params.scale;
    }
    workgroupBarrier();

    let n_teams = WG / n_quads;
    let team = invocation / n_quads;
    let quad = invocation % n_quads;
    var maximum = -1e30;
    var total = 0.0;
    var mix = vec4<f32>(0.0);
    for (var base = 0u; base < n_keys; base += WG) {
        let n_tile = min(WG, n_keys - base);
        if (invocation < n_tile) {
            let slot = (first + base + invocation) % params.capacity * params.row_quads + kv_base;
            var score = 0.0;
            for (var i = 0u; i < n_quads; i++) {
                score += dot(query[i], keys[slot + i]);
            }
            scores[invocation] = score;
        }
        workgroupBarrier();
        var new_maximum = maximum;
        for (var j = 0u; j < n_tile; j++) {
            new_maximum = max(new_maximum, scores[j]);
        }
        if (invocation < n_tile) {
            weights[invocation] = exp(scores[invocation] - new_maximum);
        }
        workgroupBarrier();
        let shrink = exp(maximum - new_maximum);
        maximum = new_maximum;
        total *= shrink;
        mix *= shrink;
        if (team < n_teams) {
            for (var j = team; j < n_tile; j += n_teams) {
                let slot = (first + base + j) % params.capacity * params.row_quads + kv_base;
                total += weights[j];
                mix += weights[j] * values[slot + quad];
            }
        }
    }

    mixes[invocation] = mix;
    scores[invocation] = total;
    workgroupBarrier();
    if (invocation < n_quads) {
        for (var t = 1u; t < n_teams; t++) {
            mix += mixes[t * n_quads + invocation];
            total += scores[t * n_quads + invocation];
        }
        y[out_base + invocation] = mix / total;
    }
}
