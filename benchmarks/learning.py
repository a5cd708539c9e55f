"""How fast a recipe learns: steps and seconds to its goal, over several seeds.

    python -m benchmarks.learning cartpole-ppo --seeds 0 1 2 3 4 --save learning-cartpole-ppo

Flags that are not listed go to `train`.
"""

import argparse
import json
from typing import Any

from benchmarks.results import hardware, run_recipe, save

FIGURES = (
    "env_steps",
    "episode_return_mean",
    "stop_reason",
    "solved_s",
    "startup_s",
    "wall_s",
    "env_steps_per_s",
)


def main() -> None:
    """Measure and print a line for each seed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--save", metavar="NAME", help="keep the figures in results/NAME.json")
    options, flags = parser.parse_known_args()
    rows: list[dict[str, Any]] = []
    for seed in options.seeds:
        result = run_recipe(options.recipe, seed, flags)
        rows.append({"seed": seed, **{figure: result[figure] for figure in FIGURES}})
        print(json.dumps(rows[-1]), flush=True)
    if options.save:
        save(options.save, {**hardware(), "runs": rows})


if __name__ == "__main__":
    main()
