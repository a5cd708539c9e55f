"""What a finished run reached, by each measure, and its learning curve."""

import bisect
import csv
import json
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distpg.doctor.facts import cores, cpu, version
from distpg.errors import InputError
from distpg.reproduce.table import Measure
from distpg.run.directory import RunDir

WINDOW = 100
"""Episodes of training that a return is the mean of."""
GREEDY_EPISODES = 20
"""Episodes of the final policy without noise."""
POINTS = 100
"""Points of a curve."""
PACKAGES = ("distpg", "torch", "numpy", "gymnasium", "mujoco", "box2d", "ale-py")
"""Those whose versions are kept."""


@dataclass(frozen=True)
class Episodes:
    """Episodes of training, in the order in which they ended."""

    env_steps: Sequence[int]
    """Those of the run, in all envs, when each was counted."""
    returns: Sequence[float]


@dataclass(frozen=True)
class Curve:
    """Mean return of the last 100 episodes at equal parts of the env steps of a run."""

    env_steps: tuple[int, ...]
    returns: tuple[float | None, ...]
    """None before the first episode has ended; after the end of a run, as at its end."""


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
        InputError: a file of the run cannot be read.
    """
    config = run.read_config()
    result = json.loads(run.result.read_text("utf-8"))
    episodes = training_episodes(run.path)
    return Measured(
        seed=config.seed,
        measures={
            "last_100_training_episodes": last_training_episodes(episodes),
            "final_greedy": sum(greedy_returns) / len(greedy_returns),
            "best_evaluation": best_evaluation(run.path),
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


def read_rows(path: Path) -> list[dict[str, str]]:
    """Read a CSV file of a run.

    Raises:
        InputError: it cannot be read.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(f"{path} cannot be read: {error}") from error


def training_episodes(run_dir: Path) -> Episodes:
    """Return the episodes of a run; each is counted at the end of its iteration.

    Raises:
        InputError: episodes.csv or progress.csv cannot be read, or a row is missing.
    """
    progress = read_rows(run_dir / "progress.csv")
    rows = read_rows(run_dir / "episodes.csv")
    try:
        steps = {row["iteration"]: int(row["env_steps"]) for row in progress}
        returns = [float(row["r"]) for row in rows]
        return Episodes([steps[row["iteration"]] for row in rows], returns)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{run_dir}: progress.csv and episodes.csv do not fit: {error}") from error


def last_training_episodes(episodes: Episodes) -> float | None:
    """Return the mean return of the last 100 episodes, or of all if there are fewer."""
    last = episodes.returns[-WINDOW:]
    return sum(last) / len(last) if last else None


def best_evaluation(run_dir: Path) -> float | None:
    """Return the mean return of the best evaluation in the course of a run, if it had any."""
    rows = read_rows(run_dir / "evaluations.csv")
    return max((float(row["return_mean"]) for row in rows), default=None)


def learning_curve(episodes: Episodes, total_steps: int) -> Curve:
    """Return the mean return of the last 100 episodes at 100 equal parts of the env steps."""
    sums = [0.0]
    for value in episodes.returns:
        sums.append(sums[-1] + value)
    at = tuple(round(total_steps * part / POINTS) for part in range(1, POINTS + 1))
    ended = [bisect.bisect_right(episodes.env_steps, steps) for steps in at]
    means = [
        (sums[count] - sums[max(0, count - WINDOW)]) / min(count, WINDOW) if count else None
        for count in ended
    ]
    return Curve(at, tuple(None if mean is None else round(mean, 4) for mean in means))
