"""Learning with and without overlap: env steps and seconds to the return that a recipe stops at.

    python -m benchmarks.overlap --runs 3

Each recipe is run as it is, with --overlap, and with --overlap and V-trace (the preset appo's
estimator), the same seeds for each, in turn. Keeps results/overlap.json.
"""

import argparse
import statistics
from typing import Any

from benchmarks.results import hardware, run_recipe, save

RECIPES = ("cartpole-ppo", "pendulum-ppo")
VARIANTS = {
    "synchronous": [],
    "overlap": ["--overlap"],
    "overlap, V-trace": ["--overlap", "--advantage", "vtrace"],
}
FIGURES = ("stop_reason", "env_steps", "dropped_steps", "episode_return_mean", "train_s")


def main() -> None:
    """Run everything and print the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    table: dict[str, Any] = {}
    for recipe in RECIPES:
        runs: dict[str, list[dict[str, Any]]] = {name: [] for name in VARIANTS}
        for seed in range(options.runs):
            for name, flags in VARIANTS.items():
                result = run_recipe(recipe, seed, flags)
                runs[name].append({figure: result[figure] for figure in FIGURES})
        for name, results in runs.items():
            steps, train_s = (
                statistics.median(result[figure] for result in results)
                for figure in ("env_steps", "train_s")
            )
            solved = sum(result["stop_reason"] == "solved" for result in results)
            print(
                f"{recipe:14} {name:18} solved {solved} of {len(results)}  median "
                f"{steps:>9,.0f} steps  {train_s:6.1f} s",
                flush=True,
            )
        table[recipe] = runs
    save("overlap", {**hardware(), "runs": table})


if __name__ == "__main__":
    main()
