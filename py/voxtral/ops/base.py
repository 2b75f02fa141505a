"""The vocabulary of the model's mathematics, implemented twice.

`ops.reference` (numpy) is the executable specification and the CPU fallback; `ops.webgpu` records
WGSL dispatches. The model is written once against this protocol.

Everything a step depends on is a tensor, positions and token ids too, so that a program recorded once
can be replayed for ever. `program(fn)` turns a Python function that calls ops into something `submit`
can run: numpy calls `fn` each time, WebGPU records its dispatches once and replays them. Operations
return fresh tensors; on the GPU those are scratch, reusable as soon as the program no longer needs them.
Only what `build` returns (a tensor, or a tuple or dict of them) can be read after the run, see `outputs`.

Shapes: M rows, N outputs, K inputs; all tensors are float32 row-major unless said otherwise.
A KV cache is a ring [capacity, 2 * n_kv_heads * head_dim]: absolute position j has slot j % capacity, which
holds its keys, RoPE applied, then its values; as float32 or, in half the memory, float16. A rope table is
a ring too: row p % n_rows holds cos and sin of position p, interleaved [head_dim / 2, 2], computed on the
host in float64.

Decoder state, uint32[4] (`DecoderState`): position, token (the last one generated), n_prompt (tokens
forced at the start: `<s>`, then STREAMING_PAD), audio_row (row of `audio` that belongs to position).
Encoder state, uint32[1]: position of the next row.
"""

from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Protocol, TypeVar

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from voxtral.config import ModelConfig
    from voxtral.quant import GgmlType
    from voxtral.shards import Piece

FILL_BYTES = 16 << 20  # most that `fill` takes
N_CANDIDATES = 4  # tokens that a step tells about
NO_TOKEN = 0xFFFF_FFFF

T = TypeVar("T")  # tensor
W = TypeVar("W")  # matrix of weights
P = TypeVar("P")  # program


class DecoderState(IntEnum):
    """Indices into the decoder's uint32 state tensor."""

    POSITION = 0
    TOKEN = 1
    N_PROMPT = 2
    AUDIO_ROW = 3


class Fill(NamedTuple, Generic[W]):
    """GGML blocks that lie among other bytes, and where in a matrix of their type they belong.

    Of F32, F16 and BF16 each weight is a block. There the bytes of a fill, which are copied as they are, begin and end
    at multiples of 4, here and in the matrix.
    """

    matrix: W
    kind: "GgmlType"
    first_block: int
    n_blocks: int
    offset: int  # of the first one among those bytes; even


class Ops(Protocol, Generic[T, W, P]):
    """Tensors T, weight matrices W and programs P of one backend.

    chunk_tokens: numbers of tokens the encoder should take at a time here, largest first; the last is 1.
    """

    chunk_tokens: tuple[int, ...]

    # -- memory ---------------------------------------------------------------------------------
    def zeros(self, shape: tuple[int, ...], dtype: str = "float32", label: str = "") -> T:
        """A persistent zero-filled tensor; dtype is float32, uint32 or, for KV caches, float16."""

    def tensor(self, array: "NDArray[Any]", label: str = "") -> T:
        """A persistent tensor with these values (float32 or uint32)."""

    def matrix(self, n_rows: int, n_cols: int, kind: "GgmlType", label: str = "") -> W:
        """Room for a weight matrix [n_rows, n_cols] of Q4_0, F16, BF16 or F32; `fill` brings its blocks.

        n_cols is a multiple of 32.
        """

    async def fill(self, fills: "Sequence[Fill[W]]", pieces: "Sequence[Piece]") -> None:
        """Store blocks of any number of matrices, each block once.

        pieces: the bytes among which they lie, at most FILL_BYTES, in consecutive parts, each a multiple of 4 long.
        """

    def end_of_filling(self) -> None:
        """All matrices are filled: give back what filling needed."""

    def write(self, tensor: T, array: "NDArray[Any]", row: int = 0) -> None:
        """Overwrite rows of a persistent tensor, starting at `row`, before the next submit."""

    async def read(self, tensor: T) -> "NDArray[Any]":
        """The tensor's values after everything submitted so far."""

    def copy_rows(self, source: T, target: T, n_rows: int) -> None:
        """Copy the first n_rows rows of `source` over those of `target`, after what was submitted."""

    def view(self, tensor: T, shape: tuple[int, ...]) -> T:
        """The tensor's first elements in another shape, without copying."""

    async def settle(self) -> None:
        """Wait until all memory asked for is there. Raises MemoryRefusedError, naming what is not."""

    # -- programs -------------------------------------------------------------------------------
    async def program(self, build: Callable[[], Any], label: str) -> P:
        """A program that does what `build` does; `build` may be called now (recording) or at each run."""

    def outputs(self, program: P) -> Any:
        """What `build` returned, for the program's last run; these tensors are valid until the next submit."""

    def submit(self, programs: Sequence[P]) -> None:
        """Run programs in order; returns before the GPU is done."""

    def free(self, things: "Sequence[T | W | P]") -> None:
        """Give the memory of persistent tensors, of matrices, and of programs back; scratch stays for others."""

    async def self_check(self, config: "ModelConfig", kinds: "Sequence[GgmlType]", cache_dtype: str) -> list[str]:
        """Before anything is recorded: see that a model of this shape is computed rightly, and replace what is not.

        kinds: of its matrices; cache_dtype: of its rings. Returns a sentence for each replacement. Raises DeviceError
        where there is none.
        """

    # -- mathematics (inside a program) -----------------------------------------------------------
    def conv1d_gelu(self, x: T, weight: T, bias: T, stride: int, position: T | None = None) -> T:
        """Valid convolution, kernel 3, over time, then exact GELU.

        x [n, C_in]; weight [C_out, 3 * C_in] (time-major taps); bias [C_out];
        result [(n - 3) // stride + 1, C_out]. With `position` (encoder state), row 0 is all zeros
        when position is 0: the value before the stream's start.
        """

    def rms_norm(self, x: T, weight: T) -> T:
        """x [M, K] / sqrt(mean(x^2) + 1e-5) * weight [K]."""

    def linear(self, x: T, weight: W, bias: T | None = None, gelu: bool = False, out: T | None = None) -> T:
        """x [M, K] times weight [N, K] transposed, plus bias [N], then exact GELU if asked.

        Written to the first M rows of persistent `out` [>= M, N] when given.
        """

    def norm_linear(self, x: T, norm: T, weight: W, bias: T | None = None) -> T:
        """linear(rms_norm(x, norm), weight, bias)."""

    def norm_swiglu(self, x: T, norm: T, gate_up: W) -> T:
        """y = norm_linear(x) of width 2F, gate first: silu(gate) * up, [M, F]."""

    def linear_add(self, x: T, weight: W, residual: T, bias: T | None = None) -> T:
        """residual [M, N] += x times weight transposed + bias, in place; returns `residual`."""

    def ada_norm_weight(self, weight: T, ada: T, out: T) -> None:
        """out [K] = weight [K] * (1 + ada [1, K])."""

    def norm_qkv(
        self,
        x: T,
        norm: T,
        weight: W,
        bias: T | None,
        rope: T,
        kv: T,
        position: T,
        n_heads: int,
        n_kv_heads: int,
    ) -> T:
        """Into attention: y = norm_linear(x), of width (n_heads + 2 n_kv_heads) * head_dim, row m at position[0] + m.

        Adjacent pairs (2j, 2j+1) of q and k turn by the rope row; k and v go to their slot of the cache;
        returns the turned q [M, n_heads * head_dim].
        """

    def attention(self, q: T, kv: T, position: T, n_heads: int, n_kv_heads: int, window: int) -> T:
        """Causal sliding-window attention over the ring: row m, at i = position[0] + m, sees keys
        max(0, i - window + 1) … i. Query head h uses kv head h // (n_heads / n_kv_heads); scores are
        scaled by head_dim ** -0.5. Returns [M, n_heads * head_dim]."""

    def embed(self, table: W, audio: T, state: T) -> T:
        """Decoder input [1, dim]: audio[state.AUDIO_ROW] + table[token], where token is `<s>` at position
        0, STREAMING_PAD while position < n_prompt, and state.TOKEN afterwards."""

    def argmax_advance(self, logits: T, state: T, choices: T) -> None:
        """Greedy choice over logits [1, V]: store the N_CANDIDATES largest, the lowest index first on ties, in row
        position % len(choices) of the uint32 ring [n, 2 * N_CANDIDATES], ids, then bits of float32 log-probabilities
        among all V (NO_TOKEN and -1e30 where V is less); the first id in state.TOKEN; then POSITION += 1 and
        AUDIO_ROW += 1."""

    def advance_encoder(self, position: T, n_rows: int, state: T) -> None:
        """position[0] += n_rows, and the decoder's AUDIO_ROW = 0: a new chunk of audio lies ready."""
