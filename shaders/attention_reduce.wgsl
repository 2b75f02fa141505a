// attention_reduce — joins what the splits of attention.wgsl left: y = sum of exp(maximum_s - maximum) mix_s / total
// mixes: f32 [N_ROWS * N_HEADS, N_SPLITS, head_dim]; stats: f32 [N_ROWS * N_HEADS, N_SPLITS, 2], maximum and total;
// position: u32 [1]; y: f32 [N_ROWS, N_HEADS * head_dim]. Splits that had no keys left nothing and are not read.
// One workgroup per (head, row, 8 quads of the head); 8 invocations per split, 16 splits at a time, as a long loop here
// would take longer than the attention itself.
// Overrides: N_HEADS, N_QUADS and those of common/attention_span.wgsl. 128 invocations, N_SPLITS at most 128.
// Oracle: reference.attention, budget attention.

const WG = 128u;
const QUADS = 8u;

override N_HEADS: u32 = 1u;
override N_QUADS: u32 = 8u; // of a head

@group(0) @binding(0) var<storage, read> mixes: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> stats: array<vec2<f32>>;
@group(0) @binding(2) var<storage, read> position: array<u32>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4<f32>>;

var<workgroup> shared_stats: array<vec2<f32>, WG>;
var<workgroup> shared_mixes: array<vec4<f32>, WG>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) invocation: u32) {
    let head = workgroup.x;
    let row = workgroup.y;
    let span = span_of((row * GROUP + head % GROUP) / 4u);
    let n_used = (span.end - span.begin + span.per_split - 1u) / span.per_split;
    let i = row * N_HEADS + head;
    if (invocation < n_used) {
        shared_stats[invocation] = stats[i * N_SPLITS + invocation];
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
        mix += mixes[(i * N_SPLITS + s) * N_QUADS + quad] * exp(shared_stats[s].x - maximum);
    }
    shared_mixes[invocation] = mix;
    workgroupBarrier();
    if (invocation < QUADS) {
        for (var t = 1u; t < WG / QUADS; t++) {
            mix += shared_mixes[t * QUADS + invocation];
        }
        y[i * N_QUADS + quad] = mix / total;
    }
}
