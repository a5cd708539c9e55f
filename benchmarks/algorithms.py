"""PPO, PPO with a KL penalty, A2C and TRPO: the return after the same number of steps of a task.

    python -m benchmarks.algorithms --jobs 2
    python -m benchmarks.algorithms hopper-a2c

Keeps results/algorithms.json and the same as a table, results/algorithms.md; recipes that are not
named keep the figures that they have there.
"""

import argparse
import json
import statistics
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from benchmarks.results import FOLDER, hardware, run_recipe, save
from distpg.config.files import recipes

TASKS = {
    "pendulum": ("Pendulum-v1", 500_000),
    "lunarlander": ("LunarLander-v3", 500_000),
    "hopper": ("Hopper-v5", 500_000),
}
"""By the first word of their recipes: the environment and the steps of a run."""
ALGORITHMS = {"ppo": "PPO", "ppo-kl": "PPO-KL", "a2c": "A2C", "trpo": "TRPO"}
"""By the rest of their recipes' names."""
RECIPES = [
    recipe
    for recipe in (f"{task}-{algorithm}" for task in TASKS for algorithm in ALGORITHMS)
    if recipe in recipes()
]
FIGURES = ("env_steps", "episodes", "episode_return_mean", "env_steps_per_s", "train_s")


def flags_of(recipe: str) -> str:
    """Return the flags of a run, its seed left out."""
    _, steps = TASKS[recipe.partition("-")[0]]
    return f"--total-steps {steps} --stop-at-return none"


def run(recipe: str, seed: int, extra: list[str]) -> dict[str, Any]:
    """Train once; return the figures."""
    result = run_recipe(recipe, seed, [*flags_of(recipe).split(), *extra])
    row = {"seed": seed, **{figure: result[figure] for figure in FIGURES}}
    print(json.dumps({"recipe": recipe, **row}), flush=True)
    return row


def summary(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Return what is said of a recipe."""
    returns = [row["episode_return_mean"] for row in rows]
    return {
        "return_mean": statistics.mean(returns),
        "return_low": min(returns),
        "return_high": max(returns),
        "env_steps_per_s": statistics.mean(row["env_steps_per_s"] for row in rows),
    }


def markdown(cells: Mapping[str, Any]) -> str:
    """Write what was measured as a table, a row for each recipe."""
    lines = [
        "| task | algorithm | return: mean (range) | steps/s | command |",
        "|---|---|---|---|---|",
    ]
    for recipe in RECIPES:
        if recipe in cells:
            cell = cells[recipe]
            task, _, algorithm = recipe.partition("-")
            env_id, steps = TASKS[task]
            lines.append(
                f"| {env_id}, {steps // 1000}k steps | {ALGORITHMS[algorithm]} | "
                f"{cell['return_mean']:.0f} ({cell['return_low']:.0f} to {cell['return_high']:.0f})"
                f" | {cell['env_steps_per_s']:,.0f} | `{cell['train']}` |"
            )
    lines += [
        "",
        "Return: mean of the last 100 episodes of training, then over the seeds.",
        "Steps/s: on 2 cores, shared with other runs and other work; algorithms.json has each run.",
    ]
    return "\n".join([*lines, ""])


def main() -> None:
    """Train every recipe on every seed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipes", nargs="*", metavar="RECIPE", help=f"of {', '.join(RECIPES)}")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time, without Ray from 2 on")
    options = parser.parse_args()
    recipes: list[str] = options.recipes or RECIPES
    extra = [] if options.jobs == 1 else ["--num-workers", "0"]
    with ThreadPoolExecutor(options.jobs) as pool:
        runs = {
            recipe: [pool.submit(run, recipe, seed, extra) for seed in options.seeds]
            for recipe in recipes
        }
        for recipe, futures in runs.items():
            rows = [future.result() for future in futures]
            file = FOLDER / "algorithms.json"
            cells = json.loads(file.read_text()) if file.exists() else {}
            train = f"launch.py train --config {recipe} {flags_of(recipe)} --seed SEED"
            cells[recipe] = {**hardware(), "train": train, **summary(rows), "runs": rows}
            save("algorithms", {name: cells[name] for name in RECIPES if name in cells})
            (FOLDER / "algorithms.md").write_text(markdown(cells))


if __name__ == "__main__":
    main()
