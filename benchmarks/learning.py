"""How fast recipes learn: steps and seconds to the goal, over several seeds.

    python -m benchmarks.learning cartpole-ppo --seeds 0 1 2 3 4

Each seed is a process of its own, as a user would start it. Flags after `--` go to `train`.
With --save the figures are kept in benchmarks/results/.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
KEYS = ("env_steps", "episode_return_mean", "stop_reason", "solved_s", "startup_s", "wall_s")


def hardware() -> dict[str, Any]:
    """Say what the figures were measured on."""
    return {
        "date": time.strftime("%Y-%m-%d"),
        "machine": platform.platform(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
    }


def run_recipe(recipe: str, seed: int, flags: list[str]) -> dict[str, Any]:
    """Train once; return the run's result."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        command = ["launch.py", "train", "--config", recipe, "--seed", str(seed)]
        command += ["--run-dir", str(run), "--quiet", *flags]
        subprocess.run([sys.executable, *command], check=True)
        return json.loads((run / "result.json").read_text())


def main() -> None:
    """Measure and print a line for each seed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("recipe")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--save", action="store_true", help="keep the figures in results/")
    options, flags = parser.parse_known_args()
    rows: list[dict[str, Any]] = []
    for seed in options.seeds:
        result = run_recipe(options.recipe, seed, [flag for flag in flags if flag != "--"])
        rows.append({"seed": seed, **{key: result[key] for key in KEYS}})
        print(json.dumps(rows[-1]), flush=True)
    if options.save:
        RESULTS.mkdir(exist_ok=True)
        file = RESULTS / f"learning-{options.recipe}.json"
        command = "python -m benchmarks.learning " + " ".join(sys.argv[1:])
        content = {"command": command, **hardware(), "runs": rows}
        file.write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()
