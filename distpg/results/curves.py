"""Curves of groups: the interquartile mean over runs, and its bootstrap interval at each point."""

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from distpg.errors import InputError
from distpg.report.numbers import format_interval, format_return
from distpg.results.columns import columns
from distpg.results.groups import Group
from distpg.results.series import Series, X
from distpg.results.statistics import Band, band, middle_of_runs

POINTS = 200
"""Points of the curve of several runs."""
UNEQUAL = 0.95
"""Of the longest run of a group, the part that the shortest must have not to be named."""
AXES: dict[X, str] = {"steps": "env_steps", "time": "seconds"}
"""Columns of a CSV file."""


@dataclass(frozen=True)
class GroupCurve:
    """A metric of a group of runs over env steps or seconds."""

    group: Group
    num_runs: int
    x: np.ndarray
    """[K] float64, ascending."""
    y: Band
    """[K]; the points of the run itself, without an interval, if it is one run."""


def curve_of(group: Group, tag: str, x: X) -> tuple[GroupCurve | None, list[str]]:
    """Read a metric of the runs of a group.

    Of several runs the curve is where all of them have values, between which a run is interpolated.

    Returns:
        The curve, or None if no run has the metric; and notes on what was left out.

    Raises:
        InputError: there is no such point.
    """
    found: list[tuple[Path, Series]] = []
    notes: list[str] = []
    for source in group.sources:
        try:
            series = source.read(tag, x)
        except InputError as error:
            notes.append(f"left out: {error}")
            continue
        if len(series.x):
            found.append((source.path, series))
        else:
            notes.append(f"{source.path}: left out, it has no {tag} yet")
    if not found:
        return None, notes
    runs = [series for _, series in found]
    if len(runs) == 1:
        (only,) = runs
        return GroupCurve(group, 1, only.x, band(only.y[None], middle_of_runs)), notes
    ends = [float(series.x[-1]) for series in runs]
    start, end = max(float(series.x[0]) for series in runs), min(ends)
    shortest = found[int(np.argmin(ends))][0]
    if start > end:
        raise InputError(
            f"{group}: {shortest} ends before another run of its curve begins; leave it out"
        )
    if end < UNEQUAL * max(ends):
        notes.append(f"{group}: the curve ends where its shortest run ends, {shortest}")
    at = np.linspace(start, end, POINTS)
    values = np.stack([np.interp(at, series.x, series.y) for series in runs])
    return GroupCurve(group, len(runs), at, band(values, middle_of_runs)), notes


def to_csv(curves: Sequence[GroupCurve], x: X) -> str:
    """Return all points as CSV text; low and high are the 95% interval, empty of a single run."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(("env_id", "group", "runs", AXES[x], "value", "low", "high"))
    for curve in curves:
        own = (curve.group.env_id, curve.group.label, curve.num_runs)
        for at, *values in zip(curve.x, *curve.y, strict=True):
            numbers = ["" if np.isnan(value) else f"{value:.9g}" for value in values]
            writer.writerow((*own, f"{at:.9g}", *numbers))
    return text.getvalue()


def summary(curves: Sequence[GroupCurve], x: X) -> Iterator[str]:
    """Yield the lines of a table: of each curve the runs, and the value at its end."""
    unit = AXES[x].replace("_", " ")
    head = ("environment", "group", "runs", unit, "at the end", "95% interval")
    rows = [
        (
            curve.group.env_id or "not known",
            curve.group.label,
            str(curve.num_runs),
            f"{curve.x[-1]:,.0f}",
            *end_of(curve),
        )
        for curve in curves
    ]
    return columns(head, rows, right=("runs", unit, "at the end"))


def end_of(curve: GroupCurve) -> tuple[str, str]:
    """Write the value at the end of a curve, and its interval."""
    value, low, high = (float(part[-1]) for part in curve.y)
    if np.isnan(low):
        return format_return(value), ""
    return format_interval(value, low, high)
