// append_pair — where a pair of outputs of the q, k, v product goes: q and k are turned by their position's angle,
// adjacent elements together; k and v go into the slot position % capacity of the ring, all keys before all values.
// Cosines come from a table computed in float64: WGSL's own are good to 2^-11 only. A kernel that waits long for its
// weights asks for `turn_of` before it does.
// The kernel declares rope, position, q, params; needs common/kv_store.wgsl.

fn turn_of(row: u32, column: u32) -> vec2<f32> {
    return rope[((position[0] + row) % params.n_rope_rows) * params.head_pairs + column % params.head_pairs];
}

fn append_pair(row: u32, column: u32, pair: vec2<f32>, turn: vec2<f32>) {
    let turned = vec2<f32>(pair.x * turn.x - pair.y * turn.y, pair.x * turn.y + pair.y * turn.x);
    if (column < params.q_pairs) {
        q[row * params.q_pairs + column] = turned;
    } else {
        let slot = ((position[0] + row) % params.capacity) * 2u * params.kv_pairs;
        let within = column - params.q_pairs;
        store_kv(slot + within, select(pair, turned, within < params.kv_pairs));
    }
}
