"""The declarations of voxtral.js and voxtral_captions.js, read as a builder's editor does: by TypeScript's compiler."""

import re
import subprocess
from pathlib import Path

import playwright
import pytest

from voxtral.web import runtime

ROOT = Path(__file__).resolve().parents[1]
TYPES = ROOT / "e2e" / "types"
FOLDER = ROOT / ".venv"  # ignored by git, and where everything else that only tests need lies
NODE = Path(playwright.__file__).parent / "driver" / "node"  # Playwright's own, so that none need be installed
OPTIONS = ("--noEmit", "--strict", "--noUncheckedIndexedAccess", "--target", "es2015", "--lib", "es2015,dom")
MODULES = ("--module", "esnext", "--moduleResolution", "bundler")


@pytest.fixture(scope="module")
def compiler() -> Path:
    """The pinned compiler, fetched once."""
    runtime.ensure(list_path=TYPES / "typescript.json", folder=FOLDER)
    return next(FOLDER.glob("typescript-*/_tsc.js"))


def complaints(compiler: Path, source: Path) -> list[str]:
    command = [NODE, compiler, *OPTIONS, *MODULES, source]
    return subprocess.run(command, capture_output=True, text=True, timeout=120).stdout.splitlines()


def test_what_a_builder_writes_has_the_right_types(compiler: Path, tmp_path: Path) -> None:
    """With mistakes in it that must be noticed: `@ts-expect-error` in the source, and one more here."""
    text = (TYPES / "builder.ts").read_text()
    assert text.count("@ts-expect-error") >= 6
    good, bad = tmp_path / "good.ts", tmp_path / "bad.ts"
    good.write_text(text.replace("../../app", (ROOT / "app").as_posix()))
    bad.write_text(good.read_text().replace("stream.feed(samples)", "stream.feed([0.5])"))
    assert complaints(compiler, good) == []
    [mistake, *_] = complaints(compiler, bad)
    assert re.search(r"bad\.ts.*error TS2345.*Float32Array", mistake), mistake
