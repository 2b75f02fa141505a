"""The architecture as a table: a module imports only lower ranks, and the outside world has one door each."""

import ast
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "voxtral"

BENCH = ("effort", "speech", "timer", "bandwidth", "kernels", "steps", "report", "rendering")
BROWSER = (
    *("values", "buffers", "http", "files", "refusals", "opfs", "cache_files", "disk", "locks"),
    *("device", "adapter", "bytecode", "host"),
)
RANKS = {
    0: ["errors", "config", "gpu.device", "protocol", "scripts"],
    1: ["mel", "padding", "tekken", "shards", "quant", "gguf", "weights", "wav", "sound", "resample", "model_files"],
    1.1: ["subtitles"],
    1.15: ["document", "alignment"],
    1.2: ["post_processing"],
    1.25: ["storage", "transport", "readings", "onsets"],
    1.3: ["answers", "sources", "records", "progress", "download", "native_network", "native_files"],
    1.4: ["store", "chosen", "offered", "plausibility"],
    1.5: ["audio_file", "random_model", "safetensors", "checkpoint", "convert"],
    2: ["ops.base", "gpu.tensor", "gpu.commands", "gpu.shader_library", "gpu.native", "gpu.recording"],
    2.5: ["browser", *(f"browser.{name}" for name in BROWSER)],
    3: ["ops.reference", "ops.products"],
    3.25: ["ops.self_check"],
    3.5: ["ops.webgpu"],
    4: ["model.layers", "model.loader", "model.memory", "model.stream", "model.voxtral"],
    5: ["decoding"],
    6: ["session", "watchdog", "second_pass", "transcription", "job"],
    6.5: [f"bench.{name}" for name in BENCH],
    6.75: ["library", "terminal", "transcript_output", "model_commands"],
    6.8: ["loading"],
    6.85: ["held_model"],
    6.9: ["recording"],
    7: ["worker", "cli", "__main__"],
}
RANK = {name: rank for rank, names in RANKS.items() for name in names}
NEVER = {"model": "gpu", "gpu": "model", "ops": "model", "mel": "gpu"}
DOORS = {"js": "browser", "pyodide": "browser", "pyodide_js": "browser", "wgpu": "gpu.native"}
NUMPY_HALF = [*RANKS[0], *RANKS[1], *RANKS[1.5]]


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def imports(path: Path) -> set[str]:
    """Every module a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def inner_imports(name: str) -> set[str]:
    """The package's own modules that a module imports."""
    return {found.removeprefix("voxtral.") for found in imports(MODULES[name])} & set(RANK)


def test_every_module_has_a_rank():
    packages = {"__init__", "bench", "gpu", "ops", "model"}
    assert set(MODULES) - packages == set(RANK)


@pytest.mark.parametrize("name", sorted(RANK))
def test_imports_point_downwards(name):
    upwards = {found for found in inner_imports(name) if RANK[found] > RANK[name]}
    assert not upwards


def test_no_import_cycles():
    visiting: list[str] = []
    done: set[str] = set()

    def visit(name: str) -> None:
        assert name not in visiting, f"cycle: {' → '.join([*visiting, name])}"
        if name not in done:
            visiting.append(name)
            for found in inner_imports(name):
                visit(found)
            visiting.pop()
            done.add(name)

    for name in RANK:
        visit(name)


@pytest.mark.parametrize("name", sorted(RANK))
def test_model_and_gpu_do_not_know_each_other(name):
    package = name.split(".")[0]
    if forbidden := NEVER.get(package):
        assert not {found for found in inner_imports(name) if found.split(".")[0] == forbidden}


@pytest.mark.parametrize("name", sorted(RANK))
def test_the_outside_world_has_one_door_each(name):
    tops = {found.split(".")[0] for found in imports(MODULES[name])}
    assert {top for top in tops if not is_inside(DOORS.get(top, name), name)} == set()


def is_inside(package: str, name: str) -> bool:
    """Whether a module is the package or one of its own."""
    return name == package or name.startswith(f"{package}.")


@pytest.mark.parametrize("name", sorted(RANK))
def test_nobody_in_the_package_knows_the_browser_but_its_own_modules(name):
    inside = {found for found in inner_imports(name) if is_inside("browser", found)}
    assert is_inside("browser", name) or not inside


@pytest.mark.parametrize("name", NUMPY_HALF)
def test_the_numpy_half_needs_numpy_alone(name):
    tops = {found.split(".")[0] for found in imports(MODULES[name])}
    optional = {"audio_file": {"av"}}.get(name, set())  # imported where they are used
    assert tops - set(sys.stdlib_module_names) - optional <= {"numpy", "voxtral"}
