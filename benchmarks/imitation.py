"""How many labels a student of a trained LunarLander policy needs: cloning against DAgger.

    python -m benchmarks.imitation

The expert is what the recipe lunarlander-ppo ends with. In cloning it acts in all rounds, by its
most likely actions, which are its labels; or it draws its actions, and so shows some states off its
own way, which its most likely actions label. In DAgger that is the first round alone, and the
student acts in the others. All else is the same. A round is 64 labels or, with --whole-episodes, an
episode. Keeps results/imitation.json and docs/imitation.png; of whole episodes, the figures alone.
"""

import argparse
import json
import math
import multiprocessing
import tempfile
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

import matplotlib as mpl
import numpy as np
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from benchmarks.results import hardware, save, trained
from distpg import evaluate, imitate, load_config, load_policy

mpl.use("agg")

FIGURE = Path(__file__).parents[1] / "docs" / "imitation.png"
RECIPE = "lunarlander-ppo"
STUDENT: dict[str, Any] = {
    "num_workers": 0,
    "num_slots": 1,
    "num_envs": 4,
    "num_steps": 16,
    "num_epochs": 20,
    "learning_rate": 1e-3,
    "eval_every": 1,
    "eval_episodes": 20,
    "checkpoint_every": 0,
}
EPISODES: dict[str, Any] = {"num_envs": 1, "episodes_per_env": 1}
METHODS = {"cloning": "tab:red", "cloning, actions drawn": "tab:orange", "DAgger": "tab:blue"}
GOAL = 0.9
"""Share of the expert's return."""

Curve = list[tuple[int, float]]
"""After each round: labels, mean return of the evaluation."""


def learn(method: str, expert: Path, rounds: int, seed: int, settings: dict[str, Any]) -> Curve:
    """Imitate once, in a process of its own."""
    own = 1 if method == "DAgger" else rounds
    with tempfile.TemporaryDirectory() as folder:
        outcome = imitate(
            load_config(RECIPE, **settings, seed=seed),
            # as a function it does what it says
            load_policy(expert).act if method == "cloning" else expert,
            expert_rounds=own,
            dagger_rounds=rounds - own,
            run_dir=Path(folder) / "run",
            quiet=True,
        )
        events = EventAccumulator(str(outcome.run_dir)).Reload().Scalars("eval/mean_reward")
        return [(event.step, round(event.value, 1)) for event in events]


def reached(curve: Curve, goal: float) -> int | None:
    """Return after how many labels an evaluation first was at the goal."""
    return next((labels for labels, score in curve if score >= goal), None)


def draw(curves: dict[str, list[Curve]], expert: float) -> None:
    """Draw each seed's curve, and the mean over the seeds, into docs/imitation.png."""
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 3.8), layout="constrained")
    ends = [(curve[0][0], curve[-1][0]) for group in curves.values() for curve in group]
    common = np.linspace(max(first for first, _ in ends), min(last for _, last in ends), 200)
    for method, colour in METHODS.items():
        points = [np.array(curve).T for curve in curves[method]]
        for labels, scores in points:
            axes.plot(labels, scores, color=colour, lw=0.7, alpha=0.35)
        mean = np.mean([np.interp(common, *curve) for curve in points], 0)
        axes.plot(common, mean, color=colour, lw=2, label=method)
    for share, name, side in ((1, "the expert", "bottom"), (GOAL, f"{GOAL:.0%} of it", "top")):
        axes.axhline(share * expert, color="grey", lw=0.8, ls=":")
        axes.text(common[-1], share * expert, f" {name}", color="grey", fontsize=8, va=side)
    axes.set_xlim(0, common[-1])
    axes.set_xlabel("labels")
    axes.set_ylabel("mean return of 20 episodes")
    axes.set_title("LunarLander-v3: students of a PPO policy", fontsize=10)
    axes.legend(frameon=False, loc="lower right")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(FIGURE, dpi=120)


def main() -> None:
    """Train the expert, measure, draw, keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(8)))
    parser.add_argument("--rounds", type=int, default=18)
    parser.add_argument("--whole-episodes", action="store_true")
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    seeds: list[int] = options.seeds
    settings = STUDENT | (EPISODES if options.whole_episodes else {})
    cases = list(product(METHODS, seeds))
    with trained(["--config", RECIPE, "--seed", "0", "--num-workers", "0"]) as expert:
        own = float(np.mean(evaluate(expert, episodes=100).returns))
        print(f"expert: {own:.1f}", flush=True)
        with ProcessPoolExecutor(options.processes, context) as pool:
            asked = [
                pool.submit(learn, method, expert, options.rounds, seed, settings)
                for method, seed in cases
            ]
            results = [future.result() for future in asked]
    curves: dict[str, list[Curve]] = {method: [] for method in METHODS}
    figures: dict[str, Any] = {method: {"runs": []} for method in METHODS}
    for (method, seed), curve in zip(cases, results, strict=True):
        curves[method].append(curve)
        row = {"seed": seed, "labels_to_goal": reached(curve, GOAL * own), "curve": curve}
        figures[method]["runs"].append(row)
        print(json.dumps({"method": method, **row}), flush=True)
    for method, found in figures.items():
        needed = [row["labels_to_goal"] for row in found["runs"]]
        middle = median(math.inf if labels is None else labels for labels in needed)
        found["median_labels_to_goal"] = None if math.isinf(middle) else middle
        print(f"{method}: {needed}, median {found['median_labels_to_goal']}", flush=True)
    if not options.whole_episodes:
        draw(curves, own)
    expert_figures = {"recipe": RECIPE, "seed": 0, "return_of_100_episodes": round(own, 1)}
    name = "imitation-episodes" if options.whole_episodes else "imitation"
    what = {"expert": expert_figures, "goal": GOAL, "student": settings}
    save(name, {**hardware(), **what, **figures})


if __name__ == "__main__":
    main()
