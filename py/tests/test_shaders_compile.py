"""Every kernel, with every set of overrides the operations use, compiles on this machine; nothing lies about unused."""

import asyncio
from pathlib import Path

import pytest
from op_cases import CASES, Case
from recorded import record_case

from voxtral.errors import ShaderError
from voxtral.gpu.device import PACKED_DOT, AdapterInfo
from voxtral.gpu.native import NativeDevice
from voxtral.gpu.recording import RecordedPipeline
from voxtral.gpu.shader_library import ACTIVATIONS, KERNELS, TEAM_SUM, TRAITS, Kernel, kernel_source, traits_of
from voxtral.quant import GgmlType
from voxtral.weights import MATRIX_TYPES

SHADERS = Path(__file__).parents[2] / "shaders"
TRAIT_WORDS = {TEAM_SUM: "subgroupAdd", ACTIVATIONS: "dot4I8Packed"}  # what only the second form says


def used_pipelines() -> dict[str, RecordedPipeline]:
    """By label: what the operations ask for over all cases, in both forms of each."""
    pipelines = {}
    for case in CASES:
        for serial in (False, True):
            device = record_case(Case(case.scenario, case.arguments, serial, case.max_binding_bytes))
            pipelines |= {pipeline.label: pipeline for pipeline in device.pipelines}
    return pipelines


def test_every_used_variant_compiles(device: NativeDevice) -> None:
    pipelines = used_pipelines()
    assert {label.split("/")[0] for label in pipelines} == set(KERNELS)
    for pipeline in pipelines.values():
        asyncio.run(device.create_pipeline(pipeline.label, pipeline.wgsl, pipeline.bindings, pipeline.overrides))


@pytest.mark.parametrize(("trait", "name", "word"), [(TRAITS[n], n, w) for n, w in TRAIT_WORDS.items()])
def test_every_used_variant_compiles_with_every_trait(device: NativeDevice, trait: str, name: str, word: str) -> None:
    pipelines = [one for one in used_pipelines().values() if name in kernel_of(one).common]
    pipelines = [one for one in pipelines if trait in kernel_of(one).traits]
    assert pipelines
    for pipeline in pipelines:
        wgsl = kernel_source(pipeline.label.split("/")[0], frozenset({trait}))
        assert word in wgsl
        assert word not in pipeline.wgsl
        overrides = pipeline.overrides | ({"SUBGROUP": 32} if name == TEAM_SUM else {})
        asyncio.run(device.create_pipeline(pipeline.label, wgsl, pipeline.bindings, overrides))


def test_kernels_have_no_more_forms_than_they_say() -> None:
    assert [name for name, kernel in KERNELS.items() if not kernel.traits] != []
    for name, kernel in KERNELS.items():
        for trait in set(TRAITS.values()) - kernel.traits:
            assert kernel_source(name, frozenset({trait})) == kernel_source(name)
    with_packed = {name for name in KERNELS if kernel_source(name, frozenset({"packed"})) != kernel_source(name)}
    assert with_packed == {"matvec_q4_0", "qkv_q4_0"}


def test_every_type_of_weights_has_every_kernel_that_reads_them() -> None:
    files = {file for file in (file_of(name) for name in KERNELS) if file not in KERNELS}
    assert files == {"embed", "gemm", "matmul", "few_rows", "matvec", "qkv"}
    kinds = [GgmlType(kind).name.lower() for kind in MATRIX_TYPES]
    assert {f"{file}_{kind}" for file in files for kind in kinds} <= set(KERNELS)


def file_of(name: str) -> str:
    return KERNELS[name].file or name


@pytest.mark.parametrize(
    ("features", "subgroup_size", "name", "expected"),
    [
        ({"subgroups", PACKED_DOT}, 32, "nvidia", {"subgroups", "packed"}),
        ({"subgroups", PACKED_DOT}, 0, "amd", {"packed"}),
        ({"subgroups"}, 128, "qualcomm", set()),
        ({"subgroups", PACKED_DOT}, 32, "Apple metal-3", {"subgroups"}),
        (set(), 32, "nvidia", set()),
    ],
)
def test_devices_get_the_forms_they_are_good_at(features, subgroup_size, name, expected) -> None:
    assert traits_of(AdapterInfo(name, "WebGPU", False, frozenset(features), subgroup_size)) == expected


def kernel_of(pipeline: RecordedPipeline) -> Kernel:
    return KERNELS[pipeline.label.split("/")[0]]


def test_every_file_is_registered() -> None:
    assert {path.stem for path in SHADERS.glob("*.wgsl")} == {file_of(name) for name in KERNELS}
    included = {name for kernel in KERNELS.values() for name in kernel.common} | {
        f"{name}_{trait}" for name, trait in TRAITS.items()
    }
    assert {path.stem for path in (SHADERS / "common").iterdir()} == included
    documented = (SHADERS / "README.md").read_text(encoding="utf-8")
    assert [name for name in KERNELS if f"`{file_of(name)}`" not in documented] == []


def test_every_kernel_has_its_card() -> None:
    for name in map(file_of, KERNELS):
        card = (SHADERS / f"{name}.wgsl").read_text(encoding="utf-8").split("\n\n")[0]
        assert card.startswith(f"// {name} — "), name
        assert "\n// Oracle: reference." in card, name


def test_bindings_agree_with_the_text() -> None:
    access = {"read": "var<storage, read>", "read_write": "var<storage, read_write>", "uniform": "var<uniform>"}
    for name, kernel in KERNELS.items():
        declared = [line for line in kernel_source(name).splitlines() if line.startswith("@group(0)")]
        expected = [f"@group(0) @binding({i}) {access[kind]}" for i, kind in enumerate(kernel.bindings)]
        assert [line[: len(start)] for line, start in zip(declared, expected, strict=True)] == expected
        assert "uniform" not in kernel.bindings[:-1]
        assert sum(kind != "uniform" for kind in kernel.bindings) <= 8  # storage buffers every adapter grants


def test_a_faulty_kernel_names_itself_and_the_line(device: NativeDevice) -> None:
    with pytest.raises(
        ShaderError, match=r"^kernel broken/X=1 does not compile on .*: line 2:10 expected identifier, .*$"
    ):
        asyncio.run(device.create_pipeline("broken/X=1", "// a comment\nfn main( { }", ["read"], {}))
