// attention — y[m, h] = softmax(scale * q[m, h] . K) V over the keys of positions max(0, i - window + 1) … i, i = position[0] + m
// q, y: f32 [N_ROWS, N_HEADS * head_dim]; kv: ring of CAPACITY slots of keys, then values (common/kv_load.wgsl), position
// j in slot j % CAPACITY; position: u32 [1], that of row 0; head_dim = 8 N_LANES, at most 128.
// One workgroup (x, y, z): kv head x, four queries z (common/attention_span.wgsl), split y of their keys; keys and values
// are read once for the four. N_LANES invocations share a key, each with eight of its elements; a group of them takes
// KEYS keys at a time and has its own online softmax; the groups are joined at the end.
// IS_SPLIT: mixes and (maximum, total) are left for attention_reduce: y f32 [N_ROWS * N_HEADS, N_SPLITS, head_dim],
// stats f32 [N_ROWS * N_HEADS, N_SPLITS, 2]. Only keys some query sees are touched; -1e30 stands for "no maximum yet".
// All sizes are overrides: what a workgroup waits for before its first key decides how long the whole takes.
// Overrides: IS_SPLIT (false), N_HEADS, N_LANES, CAPACITY, KV_OCTETS, SCALE, those of common/kv_load.wgsl and of
// common/attention_span.wgsl. 128 invocations.
// Oracle: reference.attention, budget attention.

override IS_SPLIT: bool = false;

const WG = 128u;
const KEYS = 4u;
const NOTHING = -1e30;

override N_HEADS: u32 = 1u;
override N_LANES: u32 = 16u;
override CAPACITY: u32 = 1u;
override KV_OCTETS: u32 = 16u; // of all keys in a slot
override SCALE: f32 = 1.0;

@group(0) @binding(0) var<storage, read> q: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> kv: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> position: array<u32>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> stats: array<vec2<f32>>;

// Scores by [lane][key], one element per query, rows padded against bank conflicts; at the end, mixes of two queries.
var<workgroup> shared_parts: array<vec4<f32>, WG * KEYS + 32u>;
var<workgroup> shared_scores: array<vec4<f32>, WG>;
var<workgroup> group_maxima: array<vec4<f32>, 32>;
var<workgroup> group_totals: array<vec4<f32>, 32>;

fn query(j: u32, kv_head: u32) -> u32 {
    return (j / GROUP) * N_HEADS + kv_head * GROUP + j % GROUP;
}

fn four_dots(a: Octet, queries: array<Octet, 4>) -> vec4<f32> {
    return vec4<f32>(
        dot(a.low, queries[0].low) + dot(a.high, queries[0].high),
        dot(a.low, queries[1].low) + dot(a.high, queries[1].high),
        dot(a.low, queries[2].low) + dot(a.high, queries[2].high),
        dot(a.low, queries[3].low) + dot(a.high, queries[3].high),
    );
}

fn load_query(i: u32, lane: u32) -> Octet {
    let at = (i * N_LANES + lane) * 2u;
    return Octet(q[at] * SCALE, q[at + 1u] * SCALE);
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) invocation: u32) {
    let span = span_of(workgroup.z);
    let begin = span.begin + workgroup.y * span.per_split;
    let end = min(begin + span.per_split, span.end);
    if (begin >= end) {
        return;
    }
    let kv_head = workgroup.x;
    let n_groups = WG / N_LANES;
    let lane = invocation % N_LANES;
    let group = invocation / N_LANES;
    let is_idle = group >= n_groups;
    let n_at_once = n_groups * KEYS;

    let last_query = N_ROWS * GROUP - 1u;
    let j = min(workgroup.z * 4u + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(last_query));
    let queries = array<Octet, 4>(
        load_query(query(j.x, kv_head), lane),
        load_query(query(j.y, kv_head), lane),
        load_query(query(j.z, kv_head), lane),
        load_query(query(j.w, kv_head), lane),
    );
    let ends = position[0] + j / GROUP + 1u; // of the keys each query sees
    let begins = max(ends, vec4<u32>(WINDOW)) - WINDOW;

    var maxima = vec4<f32>(NOTHING);
    var totals = vec4<f32>(0.0);
    var mix_0 = Octet();
    var mix_1 = Octet();
    var mix_2 = Octet();
    var mix_3 = Octet();
    for (var base = begin; base < end; base += n_at_once) {
        var values: array<Octet, KEYS>;
        for (var k = 0u; k < KEYS; k++) {
            let place = k * n_groups + group;
            if (!is_idle) {
                let slot = min(base + place, end - 1u) % CAPACITY;
                let at = slot * 2u * KV_OCTETS + kv_head * N_LANES + lane;
                values[k] = load_kv(at + KV_OCTETS);
                shared_parts[lane * (n_at_once + 1u) + place] = four_dots(load_kv(at), queries);
            }
        }
        workgroupBarrier();
        if (invocation < n_at_once) {
            var score = vec4<f32>(0.0);
            for (var i = 0u; i < N_LANES; i++) {
                score += shared_parts[i * (n_at_once + 1u) + invocation];
            }
            let key = vec4<u32>(base + invocation);
            shared_scores[invocation] = select(vec4<f32>(NOTHING), score, (key >= begins) & (key < min(ends, vec4<u32>(end))));
        }
        workgroupBarrier();
        if (!is_idle) {
            let scores = array<vec4<f32>, KEYS>(
                shared_scores[group],
                shared_scores[n_groups + group],
                shared_scores[2u * n_groups + group],
                shared_scores[3u * n_groups + group],
            );
            let new_maxima = max(maxima, max(max(scores[0], scores[1]), max(scores[2], scores[3])));
            let shrink = exp(maxima - new_maxima);
            maxima = new_maxima;
            totals *= shrink;
            mix_0 = Octet(mix_0.low * shrink.x, mix_0.high * shrink.x);
            mix_1 = Octet(mix_1.low * shrink.y, mix_1.high * shrink.y);
            mix_2 = Octet(mix_2.low * shrink.z, mix_2.high * shrink.z);
            mix_3 = Octet(mix_3.low * shrink.w, mix_3.high * shrink.w);
            for (var k = 0u; k < KEYS; k++) {
                // A hidden key has no weight even when nothing else was seen yet.
                let weights = select(vec4<f32>(0.0), exp(scores[k] - maxima), scores[k] > vec4<f32>(0.5 * NOTHING));
                totals += weights;
                mix_0 = Octet(mix_0.low + weights.x * values[k].low, mix_0.high + weights.x * values[k].high);
                mix_1 = Octet(mix_1.low + weights.y * values[k].low, mix_1.high + weights.y * values[k].high);
                mix_2 = Octet(mix_2.low + weights.z * values[k].low, mix_2.high + weights.z * values[k].high);
                mix_3 = Octet(mix_3.low + weights.w * values[k].low, mix_3.high + weights.w * values[k].high);
            }
        }
    }

    if (!is_idle && lane == 0u) {
        group_maxima[group] = maxima;
        group_totals[group] = totals;
    }
    workgroupBarrier();
    var all_maxima = vec4<f32>(NOTHING);
    for (var i = 0u; i < n_groups; i++) {
        all_maxima = max(all_maxima, group_maxima[i]);
    }
    var all_totals = vec4<f32>(0.0);
    for (var i = 0u; i < n_groups; i++) {
        all_totals += group_totals[i] * exp(group_maxima[i] - all_maxima);
    }
    let share = exp(maxima - all_maxima);
    join(invocation, 0u, Octet(mix_0.low * share.x, mix_0.high * share.x), Octet(mix_1.low * share.y, mix_1.high * share.y),
        workgroup, all_maxima.xy, all_totals.xy);
    workgroupBarrier();
    join(invocation, 2u, Octet(mix_2.low * share.z, mix_2.high * share.z), Octet(mix_3.low * share.w, mix_3.high * share.w),
        workgroup, all_maxima.zw, all_totals.zw);
}

// Adds the groups' shares of queries 4 z + first and the next, and stores them.
fn join(
    invocation: u32, first: u32, a: Octet, b: Octet, workgroup: vec3<u32>, maxima: vec2<f32>, totals: vec2<f32>
) {
    let n_groups = WG / N_LANES;
    let width = N_LANES * 4u; // vec4s of two queries
    if (invocation < n_groups * N_LANES) {
        let at = invocation / N_LANES * width + (invocation % N_LANES) * 2u;
        shared_parts[at] = a.low;
        shared_parts[at + 1u] = a.high;
        shared_parts[at + N_LANES * 2u] = b.low;
        shared_parts[at + N_LANES * 2u + 1u] = b.high;
    }
    workgroupBarrier();
    let second = invocation / (N_LANES * 2u);
    let j = workgroup.z * 4u + first + second;
    if (second < 2u && j < N_ROWS * GROUP) {
        var sum = vec4<f32>(0.0);
        for (var i = 0u; i < n_groups; i++) {
            sum += shared_parts[i * width + invocation];
        }
        let quad = invocation % (N_LANES * 2u);
        let total = select(totals.x, totals.y, second == 1u);
        let i = query(j, workgroup.x);
        if (IS_SPLIT) {
            let part = i * N_SPLITS + workgroup.y;
            y[part * N_LANES * 2u + quad] = sum;
            if (quad == 0u) {
                stats[part] = vec2<f32>(select(maxima.x, maxima.y, second == 1u), total);
            }
        } else {
            y[i * N_LANES * 2u + quad] = sum / total;
        }
    }
}
