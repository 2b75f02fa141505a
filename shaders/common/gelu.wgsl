// gelu — x * Phi(x) with the error function, not the tanh approximation (which moves logits by 5e-3).
// erf after Abramowitz and Stegun 7.1.26: absolute error at most 1.5e-7, about one ulp of f32 near 1.

fn erf(x: f32) -> f32 {
    let a = abs(x);
    let t = 1.0 / (1.0 + 0.3275911 * a);
    let poly = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))));
    return sign(x) * (1.0 - poly * exp(-min(a * a, 80.0)));
}

fn gelu(x: f32) -> f32 {
    return 0.5 * x * (1.0 + erf(x * 0.70710678));
}
