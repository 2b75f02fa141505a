// epilogue — what happens to one finished dot product: y = or += gelu?(sum + bias?).
// The kernel declares `bias` (a dummy when HAS_BIAS is false) and `y`; needs common/gelu.wgsl.

override HAS_BIAS: bool = false;
override HAS_GELU: bool = false;
override ACCUMULATE: bool = false;

fn store_output(index: u32, column: u32, sum: f32) {
    var value = sum;
    if (HAS_BIAS) {
        value += bias[column];
    }
    if (HAS_GELU) {
        value = gelu(value);
    }
    if (ACCUMULATE) {
        value += y[index];
    }
    y[index] = value;
}
