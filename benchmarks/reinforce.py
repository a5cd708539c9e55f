"""What total returns without a baseline cost: REINFORCE on CartPole-v1.

    python -m benchmarks.reinforce

The recipe cartpole-reinforce, reward-to-go against the mean of the other episodes, and the total
return without a baseline, each to 475. Both once with the recipe's normalized advantages and once
without: to centre the batch's advantages is to subtract a baseline from them. Keeps
results/cartpole-reinforce-lecture.json. Flags that are not listed go to `train`.
"""

import argparse
import json
import statistics
from typing import Any

from benchmarks.results import hardware, run_recipe, save

RECIPE = "cartpole-reinforce"
CREDIT = {
    "reward-to-go, baseline": [],
    "total return, no baseline": ["--advantage", "total_return", "--baseline", "none"],
}
SCALE = {"normalized": [], "as they are": ["--no-normalize-advantages"]}
FIGURES = ("episodes", "env_steps", "train_s", "solved_s")


def measure(flags: list[str], seeds: list[int]) -> dict[str, Any]:
    """Train to the goal on each seed; a run that missed it counts as its whole length."""
    rows: list[dict[str, Any]] = []
    for seed in seeds:
        result = run_recipe(RECIPE, seed, flags)
        kept = ("stop_reason", "episode_return_mean", *FIGURES)
        rows.append({"seed": seed, **{name: result[name] for name in kept}})
        print(json.dumps(rows[-1]), flush=True)
    medians = {name: statistics.median(row[name] for row in rows) for name in FIGURES[:3]}
    solved = sum(row["stop_reason"] == "solved" for row in rows)
    return {"flags": " ".join(flags), "solved": solved, "median": medians, "runs": rows}


def main() -> None:
    """Measure both ways of credit, with both scales, and compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--total-steps", type=int, default=1_500_000, help="where a run gives up")
    options, extra = parser.parse_known_args()
    arms: dict[str, Any] = {}
    ratios: dict[str, Any] = {}
    for scale, scale_flags in SCALE.items():
        medians: list[dict[str, float]] = []
        for credit, credit_flags in CREDIT.items():
            print(f"{credit}, advantages {scale}", flush=True)
            flags = [*credit_flags, *scale_flags, "--total-steps", str(options.total_steps), *extra]
            arm = measure(flags, options.seeds)
            arms[f"{credit}, advantages {scale}"] = arm
            medians.append(arm["median"])
        better, worse = medians
        ratios[scale] = {name: round(worse[name] / better[name], 2) for name in better}
    print(json.dumps(ratios, indent=2))
    kept = {"recipe": RECIPE, "goal": 475, "ratio_of_medians": ratios, "arms": arms}
    save("cartpole-reinforce-lecture", {**hardware(), **kept})


if __name__ == "__main__":
    main()
