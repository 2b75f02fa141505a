// silu — g / (1 + exp(-g)); the exponent is capped because an infinity is not guaranteed to survive a division.

fn silu(gate: f32) -> f32 {
    return gate / (1.0 + exp(-max(gate, -80.0)));
}
