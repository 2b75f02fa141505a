"""Where the parts of the app lie: in a checkout, or inside the installed package.

    Places    the folders, and what the project says of itself
    HERE      those of this copy of the app

In an installed package app/ and static/ lie beside this file, and the fetched runtime in the user's cache, because the
package may be read-only.
"""

import hashlib
import importlib.metadata
import os
import sys
import tomllib
from pathlib import Path
from typing import NamedTuple

PACKAGE = Path(__file__).resolve().parents[1]
CHECKOUT = PACKAGE.parents[1]


class Places(NamedTuple):
    """Folders: the page's app and static, shaders, the package voxtral, the fetched runtime."""

    app: Path
    static: Path
    shaders: Path
    package: Path
    runtime: Path
    version: str
    dependencies: tuple[str, ...]  # of the package, as pyproject.toml has them

    @property
    def runtime_list(self) -> Path:
        """What the runtime consists of."""
        return self.static / "runtime.json"

    @property
    def demo_model(self) -> Path:
        """The folder of the model that ships with the app."""
        return self.static / "model"

    @property
    def accuracy_set(self) -> Path:
        """The folder of the recordings with transcripts that ship with the app."""
        return self.static / "accuracy"

    @classmethod
    def of_checkout(cls, root: Path) -> "Places":
        """Those of the sources in `root`."""
        project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        static, dependencies = root / "static", tuple(project["dependencies"])
        package, runtime = root / "py" / "voxtral", static / "runtime"
        return cls(root / "app", static, root / "shaders", package, runtime, project["version"], dependencies)

    @classmethod
    def installed(cls) -> "Places":
        """Those inside the installed package."""
        inside = PACKAGE / "web"
        about = importlib.metadata.distribution("voxtral")
        dependencies = tuple(line for line in about.requires or () if "extra ==" not in line)
        static = inside / "static"
        version = hashlib.sha256((static / "runtime.json").read_bytes()).hexdigest()[:12]
        runtime = _cache_folder() / "voxtral" / f"runtime-{version}"
        return cls(inside / "app", static, PACKAGE / "shaders", PACKAGE, runtime, about.version, dependencies)


def is_checkout() -> bool:
    """Whether this is a copy of the sources, with the tools beside it."""
    return (CHECKOUT / "pyproject.toml").is_file() and (CHECKOUT / "serve.py").is_file()


def _cache_folder() -> Path:
    """Where programs of this user keep what can be fetched again."""
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


HERE = Places.of_checkout(CHECKOUT) if is_checkout() else Places.installed()
