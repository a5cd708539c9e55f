"""Training runs as measurements, and where their figures are kept."""

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

from distpg.doctor.facts import cores, cpu

FOLDER = Path(__file__).parent / "results"
ROOT = Path(__file__).parents[1]
PACKAGES = ("torch", "numpy", "ray", "gymnasium")


def hardware() -> dict[str, Any]:
    """Return how and on what the figures were measured."""
    return {
        "command": " ".join(["python -m benchmarks." + Path(sys.argv[0]).stem, *sys.argv[1:]]),
        "date": time.strftime("%Y-%m-%d"),
        "machine": platform.platform(),
        "cpu": cpu(),
        "cores": cores(),
        "python": platform.python_version(),
        "versions": dict(installed()),
    }


def installed() -> Generator[tuple[str, str]]:
    """List the versions of the installed packages."""
    for package in PACKAGES:
        try:
            yield package, metadata.version(package)
        except metadata.PackageNotFoundError:
            continue


def train_command(flags: list[str]) -> list[str]:
    """Return the command of a training run, to be run in `environment()`."""
    return [sys.executable, str(ROOT / "launch.py"), "train", "--quiet", *flags]


def environment() -> dict[str, str]:
    """Return an environment in which a run, and Ray's processes, can import this folder."""
    path = os.environ.get("PYTHONPATH")
    return os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), *([path] if path else [])])}


@contextmanager
def trained(flags: list[str]) -> Generator[Path]:
    """Context manager: train once, in a subprocess, and yield the run directory."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        command = train_command([*flags, "--run-dir", str(run)])
        subprocess.run(command, check=True, env=environment())
        yield run


def run_recipe(recipe: str, seed: int, flags: list[str]) -> dict[str, Any]:
    """Train once, in a subprocess; return its `result.json`."""
    with trained(["--config", recipe, "--seed", str(seed), *flags]) as run:
        return json.loads((run / "result.json").read_text())


def save(name: str, content: dict[str, Any]) -> None:
    """Save figures in benchmarks/results/NAME.json."""
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / f"{name}.json").write_text(json.dumps(content, indent=2) + "\n")
