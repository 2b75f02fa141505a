// append_pair — where a pair of outputs of the q, k, v product goes: q and k are turned by their position's angle,
// adjacent elements together; k and v go into the slot position % capacity of the ring, all keys before all values.
// Cosines come from a table computed in float64: WGSL's own are good to 2^-11 only.
// The kernel declares rope, position, q, params; needs common/kv_store.wgsl.

fn append_pair(row: u32, column: u32, pair: vec2<f32>) {
    let at = position[0] + row;
    let turn = rope[(at % params.n_rope_rows) * params.head_pairs + column % params.head_pairs];
    let turned = vec2<f32>(pair.x * turn.x - pair.y * turn.y, pair.x * turn.y + pair.y * turn.x);
    let slot = (at % params.capacity) * 2u * params.kv_pairs;
    if (column < params.q_pairs) {
        q[row * params.q_pairs + column] = turned;
    } else {
        let within = column - params.q_pairs;
        store_kv(slot + within, select(pair, turned, within < params.kv_pairs));
    }
}
