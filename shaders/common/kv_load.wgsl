// kv_load — reads eight elements at a time from a ring of keys and values: f16 packed in u32 (KV_F16), or f32.
// The kernel declares `kv: array<vec4<u32>>`. i counts octets.

override KV_F16: bool = false;

struct Octet {
    low: vec4<f32>,
    high: vec4<f32>,
}

fn load_kv(i: u32) -> Octet {
    if (KV_F16) {
        let words = kv[i];
        return Octet(
            vec4<f32>(unpack2x16float(words.x), unpack2x16float(words.y)),
            vec4<f32>(unpack2x16float(words.z), unpack2x16float(words.w)),
        );
    }
    return Octet(bitcast<vec4<f32>>(kv[2u * i]), bitcast<vec4<f32>>(kv[2u * i + 1u]));
}
