"""DiamondHill from a bad start: what reaches the optimum of 11, and what falls into 10 and stays.

    python -m benchmarks.diamond_hill

The start goes left with probability 0.7 at the start, 0.4 on the slope and 0.8 on the hilltop
without the diamond, so left at the start, the optimum, is worth -0.52 and right is worth 10. Played
in process, judged by the exact solver. Keeps results/diamond-hill.json and docs/diamond-hill.png.
"""

import argparse
import dataclasses
import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import matplotlib as mpl
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from benchmarks.results import hardware, save
from distpg.config.config import Config
from distpg.envs import diamond_hill
from distpg.envs.make import find_env
from distpg.gradient.natural_gradient import Product, conjugate_gradient, hessian_product
from distpg.learner.learner import Learner
from distpg.policy.distributions import Categorical
from distpg.proof.solver import Game, Solver
from distpg.rollout.in_process import InProcessWorkers

mpl.use("agg")

FIGURE = Path(__file__).parents[1] / "docs" / "diamond-hill.png"
SOLVER = Solver(Game(diamond_hill.START, 2, diamond_hill.transitions, diamond_hill.observe))
NUMBERS = [int(diamond_hill.number(node)) for node in SOLVER.nodes]
"""What is observed at the start, on the slope and on the hilltop without the diamond."""
LEFT = torch.tensor([0.7, 0.4, 0.8], dtype=torch.float64)
START = torch.stack([LEFT, 1 - LEFT], 1).log()
"""[3, 2] the logits that everything starts from."""

COMMON: dict[str, Any] = {
    "env_id": "distpg/DiamondHill-v0",
    "env_kwargs": {"tabular": True},
    "num_workers": 0,
    "hidden_sizes": (),
    "gamma": 1.0,
}
SEGMENTS = {"num_envs": 16, "num_steps": 32, "minibatch_size": 128, "learning_rate": 1e-2}
PRESETS: dict[str, tuple[int, dict[str, Any]]] = {
    "ppo": (150, {**SEGMENTS, "ent_coef": 0.02}),
    "ppo_kl": (150, {**SEGMENTS, "ent_coef": 0.02}),
    "a2c": (400, {"num_envs": 16, "learning_rate": 5e-2, "ent_coef": 0.02}),
    "trpo": (150, {**SEGMENTS, "ent_coef": 0.02}),
    "npg": (150, {**SEGMENTS, "ent_coef": 0.02}),
    "reinforce": (1000, {"num_envs": 64, "learning_rate": 2e-2, "ent_coef": 0.02}),
}
"""For each preset its updates, and what it changes; the same for all seeds."""
PLAIN: dict[str, Any] = {
    "algo": "reinforce",
    "baseline": "none",
    "normalize_advantages": False,
    "loss_average": "per_episode",
    "optimizer": "sgd",
    "momentum": 0.0,
    "max_grad_norm": 1e6,
    "learning_rate": 0.1,
    "num_envs": 64,
}
"""Whose expected step is that of the exact gradient with the same step size."""
ESCAPED = 10.5
"""Expected return that only a policy which goes left at the start can have."""

Curve = list[tuple[int, float, float]]
"""After some updates: how many, the exact expected return, P(left) at the start."""


@dataclasses.dataclass(frozen=True)
class Trained:
    """A run as the solver sees it."""

    curve: Curve
    policy: Tensor
    """[3, 2]"""
    env_steps: int


def marks(updates: int) -> set[int]:
    """Choose the updates to look at, 40 to a decade."""
    return {round(10 ** (k / 40)) for k in range(1 + int(40 * math.log10(updates)))} | {0, updates}


def point(update: int, policy: Tensor) -> tuple[int, float, float]:
    """Look at a policy [3, 2]."""
    return update, float(SOLVER.expected_return(policy)), float(policy[0, diamond_hill.LEFT])


def ascend(optimizer: type[torch.optim.Optimizer], updates: int) -> Curve:
    """Climb the exact gradient of the expected return in the logits, with PLAIN's step size."""
    logits = START.clone().requires_grad_()
    steps = optimizer([logits], lr=PLAIN["learning_rate"], maximize=True)  # pyright: ignore[reportCallIssue]
    looks, curve = marks(updates), [point(0, START.softmax(1))]
    for update in range(1, updates + 1):
        logits.grad = SOLVER.gradient(logits)
        steps.step()
        if update in looks:
            curve.append(point(update, logits.detach().softmax(1)))
    return curve


def ascend_naturally(updates: int) -> Curve:
    """Climb the exact natural gradient, undamped, with the same step size as the plain one."""
    logits, curve = START.clone(), [point(0, START.softmax(1))]
    for update in range(1, updates + 1):
        gradient = SOLVER.gradient(logits).flatten()
        step = conjugate_gradient(
            fisher_product(logits), gradient, iterations=len(gradient), tolerance=1e-9
        )
        logits = logits + PLAIN["learning_rate"] * step.view_as(logits)
        curve.append(point(update, logits.softmax(1)))
    return curve


def fisher_product(logits: Tensor) -> Product:
    """Return what multiplies by the exact Fisher matrix of logits [3, 2], over an episode."""
    visits = torch.zeros(len(logits), dtype=logits.dtype)
    for episode in SOLVER.episodes(logits.softmax(1)):
        visits[episode.nodes] += episode.probability

    def product(vector: Tensor) -> Tensor:
        leaf = logits.clone().requires_grad_()
        return hessian_product(Categorical(logits).kl(Categorical(leaf)) @ visits, [leaf], vector)

    return product


def train(seed: int, updates: int, settings: dict[str, Any]) -> Trained:
    """Train a table from the start, by the learner and its own samples."""
    config = Config(**COMMON, **settings, seed=seed)
    workers = InProcessWorkers(config, find_env(config.env_id, config.env_kwargs))
    envs = workers.slots[0].envs
    learner = Learner(config, envs.obs_spec, envs.action_spec)
    table = learner.policy.head.weight
    with torch.no_grad():
        table[:, NUMBERS] = START.T.float()
    learner.published = learner.snapshot()

    def policy() -> Tensor:
        return table.detach()[:, NUMBERS].T.double().softmax(1)

    looks, curve = marks(updates), [point(0, policy())]
    weights, env_steps = learner.weights(), 0
    for update in range(1, updates + 1):
        collection = workers.collect(weights, update - 1).result()
        weights, _ = learner.update(collection.rollouts)
        env_steps += sum(slot.env_steps for slot in collection.stats)
        if update in looks:
            curve.append(point(update, policy()))
    return Trained(curve, policy(), env_steps)


def measure_presets(seeds: Iterable[int]) -> tuple[dict[str, Any], dict[str, list[Curve]]]:
    """Train every preset on every seed; return figures and curves."""
    figures: dict[str, Any] = {}
    curves: dict[str, list[Curve]] = {}
    for preset, (updates, settings) in PRESETS.items():
        rows: list[dict[str, Any]] = []
        curves[preset] = []
        for seed in seeds:
            run = train(seed, updates, {"algo": preset, **settings})
            greedy = one_hot(run.policy.argmax(1), 2).double()
            _, expected, left = run.curve[-1]
            rows.append(
                {
                    "seed": seed,
                    "greedy_return": round(float(SOLVER.expected_return(greedy)), 6),
                    "expected_return": round(expected, 3),
                    "left_at_start": round(left, 3),
                    "lowest_left_at_start": round(min(point[2] for point in run.curve), 4),
                    "env_steps": run.env_steps,
                }
            )
            curves[preset].append(run.curve)
            print(json.dumps({"preset": preset, **rows[-1]}), flush=True)
        reached = sum(row["greedy_return"] == 11.0 for row in rows)
        print(f"{preset}: 11 in {reached} of {len(rows)} seeds", flush=True)
        changes = {"gamma": COMMON["gamma"], **settings}
        figures[preset] = {"reached_11": reached, "updates": updates, "settings": changes}
        figures[preset]["runs"] = rows
    return figures, curves


def summary(curve: Curve) -> dict[str, Any]:
    """Say how long a curve stayed where right at the start had won."""
    fallen = next((update for update, expected, _ in curve if expected > 9.9), None)
    escaped = next((update for update, expected, _ in curve if expected > ESCAPED), None)
    update, expected, left = curve[-1]
    return {
        "updates": update,
        "updates_to_9.9": fallen,
        f"updates_to_{ESCAPED}": escaped,
        "lowest_left_at_start": float(f"{min(point[2] for point in curve):.2e}"),
        "expected_return": round(expected, 4),
        "left_at_start": float(f"{left:.2e}"),
    }


def draw(groups: list[tuple[str, str, list[Curve]]]) -> None:
    """Draw groups of curves, (label, colour, curves), into docs/diamond-hill.png."""
    from matplotlib import pyplot as plt

    figure, (above, below) = plt.subplots(2, 1, figsize=(7, 6), sharex=True, layout="constrained")
    for label, colour, curves in groups:
        alone = len(curves) == 1
        for number, curve in enumerate(curves):
            updates, expected, left = zip(*curve[1:], strict=True)
            style = {"color": colour, "lw": 2 if alone else 0.9, "alpha": 1 if alone else 0.7}
            above.plot(updates, expected, label=label if number == 0 else None, **style)
            below.plot(updates, left, **style)
    for level, name in ((11, "optimum: left, right, right"), (10, "right at once")):
        above.axhline(level, color="grey", lw=0.8, ls=":")
        above.text(1, level + 0.08, name, color="grey", fontsize=8)
    above.set_ylim(2.5, 11.8)
    above.set_ylabel("exact expected return")
    above.legend(frameon=False, loc="lower right", fontsize=9)
    below.set_xscale("log")
    below.set_yscale("log")
    below.set_ylabel("P(left) at the start")
    below.set_xlabel("updates")
    for axes in (above, below):
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(FIGURE, dpi=120)


def main() -> None:
    """Measure, draw, keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=10, help="runs of each preset")
    parser.add_argument("--plain-seeds", type=int, default=5, help="runs of sampled REINFORCE")
    parser.add_argument("--plain-updates", type=int, default=30_000)
    options = parser.parse_args()
    presets, curves = measure_presets(range(options.seeds))
    updates = options.plain_updates
    exact = ascend(torch.optim.SGD, updates)
    adam = ascend(torch.optim.Adam, 1000)
    natural = ascend_naturally(100)
    sampled = [train(seed, updates, PLAIN).curve for seed in range(options.plain_seeds)]
    rate = PLAIN["learning_rate"]
    plateau = {
        "exact_gradient": {"learning_rate": rate, **summary(exact)},
        "exact_gradient_adam": {"learning_rate": rate, **summary(adam)},
        "exact_natural_gradient": {"learning_rate": rate, **summary(natural)},
        "sampled_reinforce": [
            {"seed": seed, **summary(curve)} for seed, curve in enumerate(sampled)
        ],
        "settings": {"gamma": COMMON["gamma"], **PLAIN},
    }
    print(json.dumps(plateau, indent=2))
    draw(
        [
            ("exact gradient, plain steps", "tab:red", [exact]),
            ("REINFORCE without baseline, plain steps", "tab:orange", sampled),
            ("exact gradient, Adam", "tab:green", [adam]),
            ("exact natural gradient, plain steps", "tab:purple", [natural]),
            ("preset reinforce (baseline, Adam)", "tab:blue", curves["reinforce"]),
        ]
    )
    save("diamond-hill", {**hardware(), "presets": presets, "plateau": plateau})


if __name__ == "__main__":
    main()
