// attention_span — which keys four queries see, and which of them one of n_splits workgroups takes.
// Query j of a kv head is row j / group, head kv_head * group + j % group; a workgroup takes queries 4 z … 4 z + 3.
// The kernel declares position and params (n_rows, group, window, n_splits).

const SMALLEST_SPLIT = 32u; // keys; fewer would not pay for a workgroup

struct Span {
    begin: u32,
    end: u32,
    per_split: u32, // keys
}

fn span_of(z: u32) -> Span {
    let n_queries = params.n_rows * params.group;
    let first_row = min(z * 4u, n_queries - 1u) / params.group;
    let last_row = min(z * 4u + 3u, n_queries - 1u) / params.group;
    let begin = max(position[0] + first_row + 1u, params.window) - params.window;
    let end = position[0] + last_row + 1u;
    return Span(begin, end, max((end - begin + params.n_splits - 1u) / params.n_splits, SMALLEST_SPLIT));
}
