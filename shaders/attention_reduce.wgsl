// attention_reduce — joins what the splits of attention.wgsl left: y = sum of exp(maximum_s - maximum) mix_s / total
// mixes: f32 [n_rows * n_heads, n_splits, head_dim]; stats: f32 [n_rows * n_heads, n_splits, 2], maximum and total;
// position: u32 [1]; y: f32 [n_rows, n_heads * head_dim]. Splits that had no keys left nothing and are not read.
// One workgroup per (head, row, 8 quads of the head); 8 invocations per split, 16 splits at a time, as a long loop here
// would take longer than the attention itself.
// Overrides: none. 128 invocations, n_splits at most 128.
// Oracle: reference.attention, budget attention.

const WG = 128u;
const QUADS = 8u;

struct Params {
    n_rows: u32,
    group: u32,
    window: u32,
    n_splits: u32,
    n_heads: u32,
    n_quads: u32,
}

@group(0) @binding(0) var<storage, read> mixes: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> stats: array<vec2<f32>>;
@group(0) @binding(2) var<storage, read> position: array<u32>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(4) var<uniform> params: Params;

var<workgroup> shared_stats: array<vec2<f32>, WG>;
var<workgroup> shared_mixes: array<vec4<f32>, WG>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) invocation: u32) {
    let head = workgroup.x;
    let row = workgroup.y;
    let n_quads = params.n_quads;
    let span = span_of((row * params.group + head % params.group) / 4u);
    let n_used = (span.end - span.begin + span.per_split - 1u) / span.per_split;
    let i = row * params.n_heads + head;
    if (invocation < n_used) {
        shared_stats[invocation] = stats[i * params.n_splits + invocation];
    }
    workgroupBarrier();
    var maximum = -1e30;
    for (var s = 0u; s < n_used; s++) {
        maximum = max(maximum, shared_stats[s].x);
    }
    var total = 0.0;
    for (var s = 0u; s < n_used; s++) {
        total += shared_stats[s].y * exp(shared_stats[s].x - maximum);
    }
    let quad = workgroup.z * QUADS + invocation % QUADS;
    var mix = vec4<f32>(0.0);
    for (var s = invocation / QUADS; s < n_used; s += WG / QUADS) {
        mix += mixes[(i * params.n_splits + s) * n_quads + quad] * exp(shared_stats[s].x - maximum);
    }
    shared_mixes[invocation] = mix;
    workgroupBarrier();
    if (invocation < QUADS) {
        for (var t = 1u; t < WG / QUADS; t++) {
            mix += shared_mixes[t * QUADS + invocation];
        }
        y[i * n_quads + quad] = mix / total;
    }
}
