"""A metric in the course of a run, from the tables of the run.

Evaluations are at the env steps of their policy, as in TensorBoard.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from distpg.errors import InputError
from distpg.results.episodes import number, read_rows
from distpg.results.runs import RunFacts, read_run

X = Literal["steps", "time"]
"""What a metric is drawn over: env steps, or seconds of training."""
Point = tuple[float | None, float | None]
OF_EVALUATIONS = {
    "eval/mean_reward": "return_mean",
    "eval/std_reward": "return_std",
    "eval/mean_ep_length": "length_mean",
}
"""Columns of evaluations.csv that are not named like the tag after eval/."""


@dataclass(frozen=True)
class Series:
    """A metric in the course of one run; both [K] float64, x ascends."""

    x: np.ndarray
    y: np.ndarray

    @classmethod
    def of(cls, points: Iterable[Point]) -> "Series":
        """Sort points by x, and leave out those without a finite x or y."""
        known = [(x, y) for x, y in points if x is not None and y is not None]
        pairs = np.array(known, float).reshape(-1, 2)
        pairs = pairs[np.isfinite(pairs).all(1)]
        pairs = pairs[np.argsort(pairs[:, 0], kind="stable")]
        return cls(pairs[:, 0], pairs[:, 1])


@dataclass(frozen=True)
class Source:
    """A run that curves can be drawn of, of distpg or of another library."""

    path: Path
    library: str
    env_id: str
    """Empty if its files do not name it."""
    algo: str
    seed: int | None
    settings: Mapping[str, Any]
    """What makes runs different from each other; without the seed."""
    read: Callable[[str, X], Series]
    """Reads a metric by its TensorBoard tag; it has no points if the run has none of it."""


def source_of(path: Path) -> Source:
    """Return a run of distpg.

    Raises:
        InputError: it is not a run directory, or a file of it cannot be read.
    """
    facts = read_run(path)
    settings = {name: value for name, value in facts.settings.items() if name != "seed"}
    return Source(
        path=path,
        library="distpg",
        env_id=facts.env_id,
        algo=facts.algo,
        seed=facts.settings.get("seed"),
        settings=settings,
        read=lambda tag, x: read_series(facts, tag, x),
    )


def read_series(facts: RunFacts, tag: str, x: X) -> Series:
    """Return a metric of a run of distpg.

    Raises:
        InputError: a file of it cannot be read.
    """
    folder = facts.run.path
    column = "env_steps" if x == "steps" else "time/time_elapsed"
    # a run that has just begun has no iteration, and perhaps no file yet
    rows = read_rows(folder / "progress.csv") if facts.progress else []
    if not tag.startswith("eval/"):
        return Series.of((number(row, column), number(row, tag)) for row in rows)
    found = read_rows(folder / "evaluations.csv") if facts.best else []
    name = OF_EVALUATIONS.get(tag, tag.removeprefix("eval/"))
    try:
        at = {row["iteration"]: number(row, column) for row in rows}
        return Series.of((at.get(row["iteration"]), number(row, name)) for row in found)
    except KeyError as error:
        raise InputError(f"{folder}: a table of it has no column {error}") from error
