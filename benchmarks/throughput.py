"""Env steps per second of whole training runs, and seconds to a solved CartPole; medians of runs.

    python -m benchmarks.throughput --runs 3 --save

Each run is a process of its own, as a user would start it; the rate is taken from the first
collection to the end of the last update.
"""

import argparse
import statistics
from typing import Any

from benchmarks.results import hardware, run_recipe, save

WORKLOADS: dict[str, tuple[str, list[str]]] = {
    "CartPole-v1 PPO, to 475": ("cartpole-ppo", []),
    "CartPole-v1 REINFORCE, to 475": ("cartpole-reinforce", []),
    "HalfCheetah-v5 PPO, 20k steps": ("halfcheetah-ppo", ["--total-steps", "20000"]),
}
FIGURES = ("env_steps", "env_steps_per_s", "startup_s", "train_s", "wall_s")


def main() -> None:
    """Measure every workload and print its medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--save", action="store_true", help="keep the figures in results/")
    options = parser.parse_args()
    table: dict[str, Any] = {}
    for name, (recipe, flags) in WORKLOADS.items():
        results = [run_recipe(recipe, seed, flags) for seed in range(options.runs)]
        row = {
            figure: round(statistics.median(result[figure] for result in results), 2)
            for figure in FIGURES
        }
        table[name] = row
        print(f"{name:32}", "  ".join(f"{key} {value:,}" for key, value in row.items()), flush=True)
    if options.save:
        save("throughput", {**hardware(), "runs": options.runs, "medians": table})


if __name__ == "__main__":
    main()
