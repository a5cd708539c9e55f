"""What a finished run reached, by each measure, and its learning curve."""

import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from distpg.doctor.facts import cores, cpu, version
from distpg.errors import InputError
from distpg.progress import WINDOW
from distpg.reproduce.table import Measure
from distpg.results.episodes import (
    Curve,
    best_evaluation,
    last_training_episodes,
    learning_curve,
    training_episodes,
)
from distpg.run.directory import RunDir

WORDS: Mapping[Measure, str] = {
    "last_100_training_episodes": f"last {WINDOW} training episodes",
    "final_greedy": "final policy, greedy",
    "best_evaluation": "best evaluation",
}
"""The measures as reports name them."""
GREEDY_EPISODES = 20
"""Episodes of the final policy without noise."""
PACKAGES = ("distpg", "torch", "numpy", "gymnasium", "mujoco", "box2d", "ale-py")
"""Those whose versions are kept."""


@dataclass(frozen=True)
class Measured:
    """One run, and what it reached."""

    seed: int
    measures: Mapping[Measure, float | None]
    greedy_returns: tuple[float, ...]
    """Of each episode of the final policy without noise."""
    curve: Curve
    env_steps: int
    stop_reason: str
    train_s: float
    """Seconds of training, without start-up."""
    date: str
    machine: Mapping[str, Any]
    versions: Mapping[str, str]


def measure(run: RunDir, greedy_returns: Sequence[float]) -> Measured:
    """Measure a finished run.

    Args:
        run: Its directory.
        greedy_returns: Of the episodes of its final policy without noise.

    Raises:
        InputError: a file of the run cannot be read, or it has no result.
    """
    config = run.read_config()
    result = run.read_result()
    if not result:
        raise InputError(f"{run.given} has no result.json: it is not finished")
    episodes = training_episodes(run.path)
    best = best_evaluation(run.path)
    return Measured(
        seed=config.seed,
        measures={
            "last_100_training_episodes": last_training_episodes(episodes),
            "final_greedy": sum(greedy_returns) / len(greedy_returns),
            "best_evaluation": None if best is None else best.return_mean,
        },
        greedy_returns=tuple(greedy_returns),
        curve=learning_curve(episodes, config.total_steps),
        env_steps=result["env_steps"],
        stop_reason=result["stop_reason"],
        train_s=round(result["train_s"], 1),
        date=time.strftime("%Y-%m-%d", time.localtime(run.result.stat().st_mtime)),
        machine=machine(),
        versions={name: known for name in PACKAGES if (known := version(name)) is not None},
    )


def machine() -> dict[str, Any]:
    """Return what the figures are measured on."""
    return {"cpu": cpu(), "cores": cores(), "system": platform.platform()}
