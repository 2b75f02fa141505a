// staged_products — one row x times a Q4_0 matrix: a workgroup shares x, LANES invocations share 4 outputs.
// x is brought into workgroup memory once for all teams, in the order the lanes want it: as four planes, which are what
// low_weights and high_weights of the two words of an item meet; so a lane's reads lie side by side, where x itself lies
// strided. On the way it is multiplied by the units of q4_0.wgsl and, with HAS_NORM, by norm_weight, while its squares
// are summed. An item is half a block, two words, 16 weights. The next words are fetched while the last are multiplied.
// Afterwards team_total(team, n) is the product with output n of a team, norm included.
// The kernel declares x, norm_weight, nibbles, scales; needs common/q4_0.wgsl.

override WG: u32 = 256u; // a power of two, at most 256
override LANES: u32 = 32u; // a power of two that divides WG
override N_BLOCKS: u32 = 1u; // of 32 weights in a row of the matrix
override TILE_ITEMS: u32 = 2u; // staged at a time; divides 2 N_BLOCKS
override HAS_NORM: bool = false;
override EPS: f32 = 1e-5;

const MAX_TILE_ITEMS = 192u;

// Four planes, padded so that the eight quads of a block go to different banks; at the end, the lanes' sums.
var<workgroup> staged: array<vec4<f32>, 4u * (MAX_TILE_ITEMS + 2u)>;
var<workgroup> square_sums: array<f32, WG>;

fn stage(invocation: u32, first_quad: u32) -> f32 {
    var squares = 0.0;
    for (var quad = invocation; quad < TILE_ITEMS * 4u; quad += WG) {
        var value = x[first_quad + quad];
        if (HAS_NORM) {
            squares += dot(value, value);
            value *= norm_weight[first_quad + quad];
        }
        let is_high = (quad & 4u) != 0u;
        let plane = (quad & 1u) * 2u + select(0u, 1u, is_high);
        let item = (quad >> 3u) * 2u + ((quad >> 1u) & 1u);
        staged[plane * (TILE_ITEMS + 2u) + item] = value * select(LOW_UNITS, HIGH_UNITS, is_high);
    }
    return squares;
}

fn item_product(words: vec2<u32>, x_item: mat4x4<f32>) -> f32 {
    return dot(low_weights(words.x), x_item[0]) + dot(high_weights(words.x), x_item[1])
        + dot(low_weights(words.y), x_item[2]) + dot(high_weights(words.y), x_item[3]);
}

fn block_scale(output: u32, item: u32) -> f32 {
    let block = output * N_BLOCKS + (item >> 1u);
    return pick_scale(scales[block >> 1u], block);
}

// Four outputs' words of one item, and their scales.
struct Fetched {
    a: vec2<u32>,
    b: vec2<u32>,
    c: vec2<u32>,
    d: vec2<u32>,
    scale: vec4<f32>,
}

fn fetch(outputs: vec4<u32>, item: u32) -> Fetched {
    let at = outputs * (N_BLOCKS * 2u) + min(item, N_BLOCKS * 2u - 1u);
    let scale = vec4<f32>(
        block_scale(outputs.x, item),
        block_scale(outputs.y, item),
        block_scale(outputs.z, item),
        block_scale(outputs.w, item),
    );
    return Fetched(nibbles[at.x], nibbles[at.y], nibbles[at.z], nibbles[at.w], scale);
}

// outputs: the team's four rows of the matrix, clamped by the caller.
fn staged_products(invocation: u32, outputs: vec4<u32>) {
    let lane = invocation % LANES;
    var sums = vec4<f32>(0.0);
    var squares = 0.0;
    var next = fetch(outputs, lane);
    for (var tile = 0u; tile < N_BLOCKS * 2u / TILE_ITEMS; tile++) {
        let first_item = tile * TILE_ITEMS;
        workgroupBarrier();
        squares += stage(invocation, first_item * 4u);
        workgroupBarrier();
        for (var step = 0u; step < (TILE_ITEMS + LANES - 1u) / LANES; step++) {
            let item = step * LANES + lane;
            let now = next;
            let is_last = (step + 1u) * LANES >= TILE_ITEMS;
            next = fetch(outputs, select(first_item + item + LANES, first_item + TILE_ITEMS + lane, is_last));
            if (TILE_ITEMS % LANES == 0u || item < TILE_ITEMS) {
                let x_item = mat4x4<f32>(
                    staged[item],
                    staged[(TILE_ITEMS + 2u) + item],
                    staged[2u * (TILE_ITEMS + 2u) + item],
                    staged[3u * (TILE_ITEMS + 2u) + item],
                );
                sums += now.scale * vec4<f32>(
                    item_product(now.a, x_item),
                    item_product(now.b, x_item),
                    item_product(now.c, x_item),
                    item_product(now.d, x_item),
                );
            }
        }
    }
    workgroupBarrier();
    staged[invocation] = sums;
    square_sums[invocation] = squares;
    for (var half = WG / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if (HAS_NORM && invocation < half) {
            square_sums[invocation] += square_sums[invocation + half];
        }
        if (half < LANES && lane < half) {
            staged[invocation] += staged[invocation + half];
        }
    }
    workgroupBarrier();
}

fn team_total(team: u32, output: u32) -> f32 {
    let total = staged[team * LANES][output];
    if (HAS_NORM) {
        return total * inverseSqrt(square_sums[0] / f32(N_BLOCKS * 32u) + EPS);
    }
    return total;
}
