// attention_span — which keys four queries see, and which of them one of N_SPLITS workgroups takes.
// Query j of a kv head is row j / GROUP, head kv_head * GROUP + j % GROUP; a workgroup takes queries 4 z … 4 z + 3.
// The kernel declares position.

override N_ROWS: u32 = 1u;
override GROUP: u32 = 1u;
override WINDOW: u32 = 1u;
override N_SPLITS: u32 = 1u;

const SMALLEST_SPLIT = 32u; // keys; fewer would not pay for a workgroup

struct Span {
    begin: u32,
    end: u32,
    per_split: u32, // keys
}

fn span_of(z: u32) -> Span {
    let n_queries = N_ROWS * GROUP;
    let first_row = min(z * 4u, n_queries - 1u) / GROUP;
    let last_row = min(z * 4u + 3u, n_queries - 1u) / GROUP;
    let begin = max(position[0] + first_row + 1u, WINDOW) - WINDOW;
    let end = position[0] + last_row + 1u;
    return Span(begin, end, max((end - begin + N_SPLITS - 1u) / N_SPLITS, SMALLEST_SPLIT));
}
