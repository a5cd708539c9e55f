"""How many labels a student of a trained policy needs: cloning against DAgger.

    python -m benchmarks.imitation lunarlander
    python -m benchmarks.imitation halfcheetah

The expert is what the task's recipe of PPO ends with. In cloning it acts in all rounds, by its
most likely actions, which are its labels; or it draws its actions, and so shows some states off its
own way, which its most likely actions label. In DAgger that is the first round alone, and the
student acts in the others. All else is the same. A round is a number of labels or, with
--whole-episodes, an episode. Keeps results/imitation-TASK.json and docs/imitation-TASK.png; of
whole episodes, results/imitation-TASK-episodes.json alone. `python -m benchmarks.tables` writes
them into docs/results.md.
"""

import argparse
import json
import math
import multiprocessing
import tempfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

import matplotlib as mpl
import numpy as np
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from benchmarks.results import ROOT, hardware, save, trained
from distpg import evaluate, imitate, load_config, load_policy

mpl.use("agg")


@dataclass(frozen=True)
class Task:
    """An expert, and how its students learn."""

    env_id: str
    recipe: str
    settings: dict[str, Any] = field(default_factory=dict[str, Any])
    """Of the student, besides those of all tasks."""


TASKS = {
    "lunarlander": Task("LunarLander-v3", "lunarlander-ppo"),
    # an episode has 1,000 steps
    "halfcheetah": Task(
        "HalfCheetah-v5", "halfcheetah-ppo", {"num_steps": 64, "eval_episodes": 10}
    ),
}
STUDENT: dict[str, Any] = {
    "num_workers": 0,
    "num_slots": 1,
    "num_envs": 4,
    "num_steps": 16,
    "num_epochs": 20,
    "learning_rate": 1e-3,
    "lr_schedule": "constant",
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


def learn(
    recipe: str, method: str, expert: Path, rounds: int, seed: int, settings: dict[str, Any]
) -> Curve:
    """Imitate once, in a process of its own."""
    own = 1 if method == "DAgger" else rounds
    with tempfile.TemporaryDirectory() as folder:
        outcome = imitate(
            load_config(recipe, **settings, seed=seed),
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


def draw(task: str, curves: dict[str, list[Curve]], expert: float) -> None:
    """Draw each seed's curve, and the mean over the seeds, into docs/imitation-TASK.png."""
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
    axes.set_ylabel("mean return of an evaluation")
    axes.set_title(f"{TASKS[task].env_id}: students of a PPO policy", fontsize=10)
    axes.legend(frameon=False, loc="lower right")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(ROOT / "docs" / f"imitation-{task}.png", dpi=120)


def main() -> None:
    """Train the expert, measure, draw, keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(8)))
    parser.add_argument("--rounds", type=int, default=18)
    parser.add_argument("--whole-episodes", action="store_true")
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    seeds: list[int] = options.seeds
    task = TASKS[options.task]
    settings = STUDENT | task.settings | (EPISODES if options.whole_episodes else {})
    cases = list(product(METHODS, seeds))
    with trained(["--config", task.recipe, "--seed", "0", "--num-workers", "0"]) as expert:
        own = float(np.mean(evaluate(expert, episodes=100).returns))
        print(f"expert: {own:.1f}", flush=True)
        with ProcessPoolExecutor(options.processes, context) as pool:
            asked = [
                pool.submit(learn, task.recipe, method, expert, options.rounds, seed, settings)
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
        draw(options.task, curves, own)
    expert_figures = {"recipe": task.recipe, "seed": 0, "return_of_100_episodes": round(own, 1)}
    name = f"imitation-{options.task}{'-episodes' if options.whole_episodes else ''}"
    what = {"expert": expert_figures, "goal": GOAL, "student": settings}
    save(name, {**hardware(), **what, **figures})


if __name__ == "__main__":
    main()
