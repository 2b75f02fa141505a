// advance_encoder — position[0] += n_rows; state.audio_row = 0: a new chunk of audio embeddings lies ready
// position: u32 [1]; state: u32 [4] (ops/base.py, DecoderState). One workgroup of one invocation.
// Oracle: reference.advance_encoder, exact.

struct Params {
    n_rows: u32,
}

@group(0) @binding(0) var<storage, read_write> position: array<u32>;
@group(0) @binding(1) var<storage, read_write> state: array<u32, 4>;
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(1)
fn main() {
    position[0] += params.n_rows;
    state[3] = 0u;
}
