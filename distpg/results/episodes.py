"""What the tables of a run hold: episodes of training, their running mean, the best evaluation.

A table that is being written may end in a torn row, which is left out.
"""

import bisect
import csv
import io
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

from distpg.errors import InputError
from distpg.progress import WINDOW

POINTS = 100
"""Points of a learning curve."""
TAIL = 2**16
"""Bytes at the end of a table that hold its last row."""


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


class BestEvaluation(NamedTuple):
    """The evaluation in the course of a run that had the highest mean return."""

    return_mean: float
    return_interval: float | None
    """Half the width of the 95% interval of the mean; None of a single episode."""
    env_steps: int
    """Those of its policy."""


def read_rows(path: Path) -> list[dict[str, str]]:
    """Read a CSV file of a run.

    Raises:
        InputError: it cannot be read.
    """
    return parse_rows(path, read_text(path))


def read_text(path: Path) -> str:
    """Return the whole lines of a file.

    Raises:
        InputError: it cannot be read.
    """
    try:
        text = path.read_text("utf-8")
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    return text[: text.rfind("\n") + 1]


def parse_rows(path: Path, text: str) -> list[dict[str, str]]:
    """Parse CSV; `path` is for messages.

    Raises:
        InputError: it is not CSV.
    """
    try:
        return list(csv.DictReader(io.StringIO(text, newline="")))
    except csv.Error as error:
        raise InputError(f"{path} cannot be read: {error}") from error


def last_row(path: Path) -> dict[str, str]:
    """Return the last row of a CSV file of numbers, of which it reads only the two ends.

    Empty if the file has no row, or is not there yet.

    Raises:
        InputError: it cannot be read, or the row has not as many cells as there are columns.
    """
    try:
        with path.open("rb") as file:
            head = file.readline()
            file.seek(max(len(head), file.seek(0, os.SEEK_END) - TAIL))
            *rows, _ = file.read().split(b"\n")
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    if not rows:
        return {}
    text = b"".join((head, rows[-1], b"\n")).decode(errors="replace")
    try:
        names, *cells = csv.reader(io.StringIO(text, newline=""))
    except csv.Error as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    if len(cells) != 1 or len(cells[0]) != len(names):
        raise InputError(f"{path} cannot be read: its last row does not fit its columns")
    return dict(zip(names, cells[0], strict=True))


def number(row: Mapping[str, str], column: str) -> float | None:
    """Return a finite number of a row, or None if the row has none there."""
    text = row.get(column)
    try:
        value = float(text) if text else math.nan
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def training_episodes(run_dir: Path) -> Episodes:
    """Return the episodes of a run; each is counted at the end of its iteration.

    Raises:
        InputError: episodes.csv or progress.csv cannot be read, or a row is missing.
    """
    # first, so that a run under way has added no episodes of an iteration that is not in it
    rows = read_rows(run_dir / "episodes.csv")
    progress = read_rows(run_dir / "progress.csv")
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


def best_evaluation(run_dir: Path) -> BestEvaluation | None:
    """Return the best evaluation in the course of a run, if it had any.

    Raises:
        InputError: evaluations.csv cannot be read.
    """
    path = run_dir / "evaluations.csv"
    rows = read_rows(path) if path.exists() else []
    try:
        found = [
            BestEvaluation(
                float(row["return_mean"]), number(row, "return_interval"), int(row["env_steps"])
            )
            for row in rows
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} does not hold evaluations: {error!r}") from error
    return max(found, key=lambda one: one.return_mean, default=None)


def running_means(returns: Sequence[float]) -> list[float]:
    """Return of each episode the mean return of the last 100 up to it, or of all if fewer."""
    sums = list(accumulate(returns, initial=0.0))
    return [
        (sums[count] - sums[max(0, count - WINDOW)]) / min(count, WINDOW)
        for count in range(1, len(sums))
    ]


def learning_curve(episodes: Episodes, total_steps: int) -> Curve:
    """Return the mean return of the last 100 episodes at 100 equal parts of the env steps."""
    means = running_means(episodes.returns)
    at = tuple(round(total_steps * part / POINTS) for part in range(1, POINTS + 1))
    ended = [bisect.bisect_right(episodes.env_steps, steps) for steps in at]
    return Curve(at, tuple(round(means[count - 1], 4) if count else None for count in ended))
