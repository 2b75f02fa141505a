// team_products — 4 rows of x times 4 rows of a Q4_0 matrix, by one workgroup.
// Lanes take half a block (two words, 16 weights) of every output at a time, so that neighbours read neighbouring memory;
// the loop's length is a constant, so that it can be unrolled and all loads be in flight. Afterwards team_total(m, n) is
// the product of row m with output n, to be multiplied by norm_factor(m): with HAS_NORM, x is weighted by norm_weight and
// its mean square is summed on the way, which saves a launch and a pass over x.
// The kernel declares x, norm_weight, nibbles, scales; needs common/q4_0.wgsl and one of common/team_sum*.wgsl, with
// TEAM_SLOTS = 4, or 5 with HAS_NORM.

override N_BLOCKS: u32 = 1u; // of 32 weights in a row of the matrix
override HAS_NORM: bool = false;
override EPS: f32 = 1e-5;

// What 16 weights meet: the columns belong to low_weights and high_weights of one word, then of the next.
fn x_item(quad: u32) -> mat4x4<f32> {
    return mat4x4<f32>(x[quad], x[quad + 4u], x[quad + 1u], x[quad + 5u]);
}

fn weighted_item(item: mat4x4<f32>, quad: u32) -> mat4x4<f32> {
    var units = mat4x4<f32>(LOW_UNITS, HIGH_UNITS, LOW_UNITS, HIGH_UNITS);
    if (HAS_NORM) {
        units[0] *= norm_weight[quad];
        units[1] *= norm_weight[quad + 4u];
        units[2] *= norm_weight[quad + 1u];
        units[3] *= norm_weight[quad + 5u];
    }
    return mat4x4<f32>(item[0] * units[0], item[1] * units[1], item[2] * units[2], item[3] * units[3]);
}

fn item_product(a: mat4x4<f32>, b: mat4x4<f32>) -> f32 {
    return dot(a[0], b[0]) + dot(a[1], b[1]) + dot(a[2], b[2]) + dot(a[3], b[3]);
}

fn item_weights(output: u32, item: u32) -> mat4x4<f32> {
    let words = nibbles[output * (N_BLOCKS * 2u) + item];
    return mat4x4<f32>(low_weights(words.x), high_weights(words.x), low_weights(words.y), high_weights(words.y));
}

fn item_scale(output: u32, item: u32) -> f32 {
    let block = output * N_BLOCKS + (item >> 1u);
    return pick_scale(scales[block >> 1u], block);
}

// rows, outputs: indices into x and the matrix, clamped by the caller.
fn team_products(invocation: u32, rows: vec4<u32>, outputs: vec4<u32>) {
    var sums_0 = vec4<f32>(0.0);
    var sums_1 = vec4<f32>(0.0);
    var sums_2 = vec4<f32>(0.0);
    var sums_3 = vec4<f32>(0.0);
    var squares = vec4<f32>(0.0);
    let n_items = N_BLOCKS * 2u;
    for (var step = 0u; step < (n_items + WG - 1u) / WG; step++) {
        let item = step * WG + invocation;
        if (n_items % WG == 0u || item < n_items) {
            let within = (item >> 1u) * 8u + (item & 1u) * 2u;
            let quads = rows * (N_BLOCKS * 8u) + within;
            var x_0 = x_item(quads.x);
            var x_1 = x_item(quads.y);
            var x_2 = x_item(quads.z);
            var x_3 = x_item(quads.w);
            if (HAS_NORM) {
                squares += vec4<f32>(
                    item_product(x_0, x_0),
                    item_product(x_1, x_1),
                    item_product(x_2, x_2),
                    item_product(x_3, x_3),
                );
            }
            x_0 = weighted_item(x_0, within);
            x_1 = weighted_item(x_1, within);
            x_2 = weighted_item(x_2, within);
            x_3 = weighted_item(x_3, within);
            let weights_x = item_weights(outputs.x, item);
            let scale_x = item_scale(outputs.x, item);
            sums_0.x += item_product(weights_x, x_0) * scale_x;
            sums_1.x += item_product(weights_x, x_1) * scale_x;
            sums_2.x += item_product(weights_x, x_2) * scale_x;
            sums_3.x += item_product(weights_x, x_3) * scale_x;
            let weights_y = item_weights(outputs.y, item);
            let scale_y = item_scale(outputs.y, item);
            sums_0.y += item_product(weights_y, x_0) * scale_y;
            sums_1.y += item_product(weights_y, x_1) * scale_y;
            sums_2.y += item_product(weights_y, x_2) * scale_y;
            sums_3.y += item_product(weights_y, x_3) * scale_y;
            let weights_z = item_weights(outputs.z, item);
            let scale_z = item_scale(outputs.z, item);
            sums_0.z += item_product(weights_z, x_0) * scale_z;
            sums_1.z += item_product(weights_z, x_1) * scale_z;
            sums_2.z += item_product(weights_z, x_2) * scale_z;
            sums_3.z += item_product(weights_z, x_3) * scale_z;
            let weights_w = item_weights(outputs.w, item);
            let scale_w = item_scale(outputs.w, item);
            sums_0.w += item_product(weights_w, x_0) * scale_w;
            sums_1.w += item_product(weights_w, x_1) * scale_w;
            sums_2.w += item_product(weights_w, x_2) * scale_w;
            sums_3.w += item_product(weights_w, x_3) * scale_w;
        }
    }
    team_put(invocation, 0u, sums_0);
    team_put(invocation, 1u, sums_1);
    team_put(invocation, 2u, sums_2);
    team_put(invocation, 3u, sums_3);
    if (HAS_NORM) {
        team_put(invocation, 4u, squares);
    }
    team_reduce(invocation);
}

fn norm_factor(row: u32) -> f32 {
    if (HAS_NORM) {
        return inverseSqrt(team_total(4u, row) / f32(N_BLOCKS * 32u) + EPS);
    }
    return 1.0;
}
