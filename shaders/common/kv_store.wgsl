// kv_store — writes pairs of elements into a ring of keys and values: f16 packed in u32 (KV_F16), or f32.
// The kernel declares `kv: array<u32>`. i counts pairs.

override KV_F16: bool = false;

fn store_kv(i: u32, pair: vec2<f32>) {
    if (KV_F16) {
        kv[i] = pack2x16float(pair);
    } else {
        kv[2u * i] = bitcast<u32>(pair.x);
        kv[2u * i + 1u] = bitcast<u32>(pair.y);
    }
}
