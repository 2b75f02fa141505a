// sum_splits — y[m, n] = or += gelu?(sum over s of sums[s, m, n] + bias[n]?), behind gemm with N_SPLITS > 1
// sums: f32 [n_splits, n_rows, n_columns]; bias: f32 [n_columns]; y: f32 [>= n_rows, n_columns]; of each row, n_outputs
// columns from first_output on; n: n_rows * n_outputs; size: of a split's sums. One invocation per output.
// Overrides: WG (64) and those of common/epilogue.wgsl.
// Oracle: reference.linear, linear_add; budgets of these.

override WG: u32 = 64u;

struct Params {
    n: u32,
    n_splits: u32,
    n_outputs: u32,
    first_output: u32,
    n_columns: u32,
    size: u32,
}

@group(0) @binding(0) var<storage, read> sums: array<f32>;
@group(0) @binding(1) var<storage, read> bias: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@group(0) @binding(3) var<uniform> params: Params;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) invocation: u32) {
    let i = workgroup_index(workgroup) * WG + invocation;
    if (i >= params.n) {
        return;
    }
    let column = params.first_output + i % params.n_outputs;
    let index = i / params.n_outputs * params.n_columns + column;
    var sum = 0.0;
    for (var split = 0u; split < params.n_splits; split++) {
        sum += sums[split * params.size + index];
    }
    store_output(index, sum, addends(index, column));
}
