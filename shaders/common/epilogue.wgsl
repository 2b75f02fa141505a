// epilogue — what happens to one finished dot product: y = or += gelu?(sum + bias?).
// Kernels that wait long for their weights ask for `addends` before they do, and so find them when the sum is there.
// The kernel declares `bias` (a dummy when HAS_BIAS is false) and `y`; needs common/gelu.wgsl.

override HAS_BIAS: bool = false;
override HAS_GELU: bool = false;
override ACCUMULATE: bool = false;

struct Addends {
    bias: f32,
    residual: f32,
}

fn addends(index: u32, column: u32) -> Addends {
    var result = Addends();
    if (HAS_BIAS) {
        result.bias = bias[column];
    }
    if (ACCUMULATE) {
        result.residual = y[index];
    }
    return result;
}

fn store_output(index: u32, sum: f32, added: Addends) {
    var value = sum + added.bias;
    if (HAS_GELU) {
        value = gelu(value);
    }
    y[index] = value + added.residual;
}
