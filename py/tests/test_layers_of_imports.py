"""The architecture as a table: a module imports only lower ranks, and the outside world has one door each."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "voxtral"

BENCH = ("effort", "speech", "timer", "bandwidth", "kernels", "steps", "report", "rendering")
BROWSER = (
    *("values", "buffers", "http", "files", "refusals", "opfs", "cache_files", "disk", "locks"),
    *("device", "adapter", "bytecode", "host"),
)
# Each knows those before it.
WEB = ("addresses", "places", "headers", "runtime", "wheel", "hosting", "precache", "site", "responses", "export")
ACCURACY = (
    *("fields", "tables", "sets", "conditions", "results", "summary", "normalization", "scoring", "latency"),
    *("recordings", "report", "rendering", "run", "modules", "measurement", "desk"),
    *("factors", "ablation", "effects", "ablation_rendering"),
)
SERVER = (
    *("errors", "draining", "security", "transcription_options", "transcription_formats", "seats", "scheduler"),
    *("engine", "dialects", "endings", "realtime", "gate", "uploads", "transcriptions", "openapi", "serving"),
    *("app", "command"),
)
RANKS = {
    **{-1 + i / 20: [f"web.{name}"] for i, name in enumerate(WEB)},
    0: ["errors", "config", "gpu.device", "protocol", "scripts"],
    1: [
        "mel",
        "padding",
        "tekken",
        "shards",
        "quant",
        "gguf",
        "weights",
        "wav",
        "sound",
        "sample_queue",
        "resample",
        "model_files",
        "mapped_file",
    ],
    1.1: ["subtitles"],
    1.15: ["document", "alignment"],
    1.2: ["post_processing"],
    1.25: ["storage", "transport", "readings", "onsets"],
    1.3: ["answers", "sources", "records", "progress", "download", "native_network", "native_files", "placement"],
    1.35: ["exit_codes", "typed_files", "interruption", "native_resampler", "microphone"],
    1.4: ["sound_blocks", "store", "chosen", "offered", "plausibility"],
    1.5: ["audio_file", "random_model", "safetensors", "checkpoint", "checkpoint_source", "convert", "model_path"],
    2: ["ops.base", "gpu.tensor", "gpu.commands", "gpu.shader_library", "gpu.native", "gpu.recording"],
    2.5: ["browser", *(f"browser.{name}" for name in BROWSER)],
    3: ["ops.reference", "ops.products"],
    3.25: ["ops.matrices", "ops.self_check"],
    3.5: ["ops.webgpu"],
    4: [
        "model.allocation",
        "model.layers",
        "model.loader",
        "model.memory",
        "model.prefix",
        "model.stream",
        "model.voxtral",
    ],
    5: ["decoding"],
    5.5: ["running_text"],
    6: ["session", "watchdog", "second_pass", "transcription", "job"],
    6.5: [f"bench.{name}" for name in BENCH],
    6.75: ["library", "terminal", "transcript_output", "model_commands"],
    6.8: ["loading"],
    6.82: ["native_loading", "host"],
    6.85: ["held_model"],
    **{6.86 + i / 1000: [f"accuracy.{name}"] for i, name in enumerate(ACCURACY)},
    6.9: ["recording"],
    6.94: ["commands.in_browser", "commands.report_files", "commands.set_options"],
    6.95: [f"commands.{name}" for name in ("ablation", "adapters", "bench", "listen", "tokens", "transcribe", "wer")],
    **{6.96 + i / 1000: [f"server.{name}"] for i, name in enumerate(SERVER)},
    7: ["worker", "cli", "__main__"],
}
RANK = {name: rank for rank, names in RANKS.items() for name in names}
NEVER = {"model": "gpu", "gpu": "model", "ops": "model", "mel": "gpu"}
DOORS = {"js": "browser", "pyodide": "browser", "pyodide_js": "browser", "wgpu": "gpu.native"}
OPTIONAL = {"sound_blocks": {"av"}, "native_resampler": {"soxr"}, "microphone": {"sounddevice"}}  # where they are used
NUMPY_HALF = [*RANKS[0], *RANKS[1], *RANKS[1.5], *OPTIONAL]


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
    packages = {"__init__", "accuracy", "bench", "gpu", "ops", "model", "web", "commands", "server"}
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


@pytest.mark.parametrize("name", WEB)
def test_what_serves_the_page_needs_the_standard_library_alone(name):
    found = imports(MODULES[f"web.{name}"])
    assert {top for top in (name.split(".")[0] for name in found) if top not in sys.stdlib_module_names} <= {"voxtral"}
    assert all(name.startswith("voxtral.web") for name in found if name.startswith("voxtral"))


@pytest.mark.parametrize("name", NUMPY_HALF)
def test_the_numpy_half_needs_numpy_alone(name):
    tops = {found.split(".")[0] for found in imports(MODULES[name])}
    optional = OPTIONAL.get(name, set())
    assert tops - set(sys.stdlib_module_names) - optional <= {"numpy", "voxtral"}


NOT_IN_PYODIDE = (
    *("av", "soxr", "sounddevice", "starlette", "tqdm", "uvicorn", "websockets", "wgpu", "python_multipart"),
    *("mmap", "resource", "ssl", "lzma", "sqlite3", "multiprocessing.shared_memory"),
)
IMPORT_WITHOUT = """
import importlib, sys
sys.modules |= dict.fromkeys(sys.argv[2:])  # importing them fails
importlib.import_module(sys.argv[1])
print("imported")
"""


@pytest.mark.parametrize("name", ["voxtral.worker", "voxtral.document", "voxtral.post_processing"])
def test_what_a_browser_runs_imports_nothing_that_pyodide_lacks(name):
    command = [sys.executable, "-W", "error", "-c", IMPORT_WITHOUT, name, *NOT_IN_PYODIDE]
    environment = {"PYTHONPATH": str(PACKAGE.parent), "OPENBLAS_NUM_THREADS": "1"}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert (ended.stdout, ended.stderr) == ("imported\n", "")
