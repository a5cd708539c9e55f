"""Training runs as measurements, and where their figures are kept."""

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "results"


def hardware() -> dict[str, Any]:
    """Say how and on what the figures were measured."""
    return {
        "command": " ".join(["python -m benchmarks." + Path(sys.argv[0]).stem, *sys.argv[1:]]),
        "date": time.strftime("%Y-%m-%d"),
        "machine": platform.platform(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
    }


def run_recipe(recipe: str, seed: int, flags: list[str]) -> dict[str, Any]:
    """Train once, in a process of its own; return the run's result."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        command = ["launch.py", "train", "--config", recipe, "--seed", str(seed), *flags]
        subprocess.run([sys.executable, *command, "--run-dir", str(run), "--quiet"], check=True)
        return json.loads((run / "result.json").read_text())


def save(name: str, content: dict[str, Any]) -> None:
    """Keep figures in benchmarks/results/NAME.json."""
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / f"{name}.json").write_text(json.dumps(content, indent=2) + "\n")
