"""A GPU that computes nonsense is found out before it is used, and every kernel that has another form gets it."""

import asyncio
from collections.abc import Callable, Sequence

import pytest

from voxtral.config import DecoderConfig, EncoderConfig, ModelConfig
from voxtral.errors import DeviceError
from voxtral.gpu import shader_library
from voxtral.gpu.native import NativeDevice
from voxtral.gpu.shader_library import KERNELS, kernel_source
from voxtral.ops.self_check import self_check
from voxtral.ops.webgpu import FORMS, WebGpuOps
from voxtral.quant import GgmlType

CONFIG = ModelConfig(
    EncoderConfig(n_layers=1, dim=64, n_heads=2, head_dim=32, ffn_dim=1024, window=40),
    DecoderConfig(n_layers=1, dim=96, n_heads=4, n_kv_heads=2, head_dim=32, ffn_dim=128, window=50, vocab_size=80),
)
KINDS = (GgmlType.Q4_0, GgmlType.F16, GgmlType.BF16, GgmlType.F32)
# Kernel → the form it belongs to; those of no form are the only ones for what they do.
FORM_OF = {
    "matvec_q4_0": "row",
    "matvec_f16": "row",
    "qkv_q4_0": "row",
    "qkv_bf16": "row",
    "few_rows_q4_0": "few_rows",
    "few_rows_f32": "few_rows",
    "gemm_q4_0": "many_rows",
    "gemm_bf16": "many_rows",
    "attention": "attention",
    "conv1d_gelu_team": "conv",
}
# A change of its text that makes each compute nonsense.
NONSENSE = {
    "matvec_q4_0": ("row_products(invocation, group", "row_products(invocation, 1u + group"),
    "matvec_f16": ("unpack2x16float(word.z)", "unpack2x16float(word.w)"),
    "qkv_q4_0": ("row_products(invocation, group", "row_products(invocation, 1u + group"),
    "qkv_bf16": ("<< vec2<u32>(16u)", "<< vec2<u32>(15u)"),
    "few_rows_q4_0": ("*= low_units", "*= high_units"),
    "few_rows_f32": ("weights[i + 1u]", "weights[i]"),
    "gemm_q4_0": ("LOW_UNITS * next_scale", "HIGH_UNITS * next_scale"),
    "gemm_bf16": ("row * n_words", "(row ^ 1u) * n_words"),
    "attention": ("* SCALE", "* -SCALE"),
    "conv1d_gelu_team": ("invocation, i, sums", "invocation, i, 2.0 * sums"),
    "embed_q4_0": ("+ low_weights", "- low_weights"),
    "embed_f16": ("+ high_weights", "- high_weights"),
    "rms_norm": ("+ EPS", "+ 3.0"),
    "argmax_advance": ("state[0] += 1u", "state[0] += 2u"),
    "argmax_part": ("exp(logits[i] - best.values.x)", "exp(logits[i])"),
    "repack_q4_0": ("(bytes.x & LOW)", "(bytes.y & LOW)"),
}


def check(ops: WebGpuOps, cache_dtype: str = "float16", kinds: Sequence[GgmlType] = (GgmlType.Q4_0,)) -> list[str]:
    return asyncio.run(self_check(ops, CONFIG, kinds, cache_dtype))


def kinds_for(kernel: str) -> Sequence[GgmlType]:
    """What a model has matrices of that needs it."""
    return [kind for kind in KINDS if kernel.endswith(f"_{kind.name.lower()}")] or [GgmlType.Q4_0]


@pytest.fixture
def spoil(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Make the device compile nonsense for one kernel: by NONSENSE, or where `old` becomes `new`."""

    def install(kernel: str, old: str = "", new: str = "") -> None:
        old, new = (old, new) if old else NONSENSE[kernel]

        def spoilt(name: str, traits: frozenset[str] = frozenset()) -> str:
            text = kernel_source(name, traits)
            return text.replace(old, new) if name == kernel else text

        assert old in kernel_source(kernel, frozenset({"packed"}))

        monkeypatch.setattr(shader_library, "kernel_source", spoilt)

    return install


@pytest.mark.parametrize("cache_dtype", ["float32", "float16"])
@pytest.mark.parametrize("serial", [False, True])
def test_nothing_is_wrong_here(device: NativeDevice, serial: bool, cache_dtype: str) -> None:
    ops = WebGpuOps(device, serial)
    before = device.memory.now
    assert check(ops, cache_dtype, KINDS) == []
    ops.end_of_filling()  # which is the loader's to say
    assert ops.plain == (set(FORMS) if serial else set())
    scratch = sum(n_bytes for n_bytes, _ in ops._pool.buffers())
    assert device.memory.now == before + scratch


@pytest.mark.parametrize("kernel", FORM_OF)
def test_a_kernel_that_computes_nonsense_is_replaced(
    device: NativeDevice, spoil: Callable[..., None], kernel: str
) -> None:
    spoil(kernel)
    ops = WebGpuOps(device, serial=False, traits=frozenset())
    kinds = kinds_for(kernel)
    replaced = check(ops, kinds=kinds)
    assert ops.plain == {FORM_OF[kernel]}
    assert len(replaced) == 1
    assert "computes" in replaced[0]
    assert "the plain kernel is used" in replaced[0]
    assert check(ops, kinds=kinds) == []  # and what is used now is right


def test_traits_are_given_up_before_the_kernel_is(device: NativeDevice, spoil: Callable[..., None]) -> None:
    spoil("matvec_q4_0", "upper * 256", "upper * 250")
    ops = WebGpuOps(device, serial=False, traits=frozenset({"packed"}))
    (sentence,) = check(ops)
    assert "do without packed" in sentence
    assert (ops.traits, ops.plain) == (frozenset(), set())
    assert check(ops) == []


@pytest.mark.parametrize("kernel", [kernel for kernel in NONSENSE if kernel not in FORM_OF])
def test_where_there_is_no_other_form_it_is_an_error(
    device: NativeDevice, spoil: Callable[..., None], kernel: str
) -> None:
    spoil(kernel)
    with pytest.raises(DeviceError, match=r"computes .* wrongly .*; update the browser or the graphics driver"):
        check(WebGpuOps(device, serial=False, traits=frozenset()), kinds=kinds_for(kernel))


def test_a_sentence_names_the_type_of_the_weights(device: NativeDevice, spoil: Callable[..., None]) -> None:
    spoil("gemm_bf16")
    ops = WebGpuOps(device, serial=False, traits=frozenset())
    assert check(ops) == []  # of another type
    (sentence,) = check(ops, kinds=[GgmlType.Q4_0, GgmlType.BF16])
    assert "computes the encoder's BF16 products with 70 rows wrongly" in sentence


def test_every_kernel_is_checked(device: NativeDevice) -> None:
    used = set()
    for serial in (False, True):
        ops = WebGpuOps(device, serial, traits=frozenset())
        check(ops, kinds=KINDS)
        used |= {variant.kernel for variant in ops._library.variants}
    assert used == set(KERNELS)
