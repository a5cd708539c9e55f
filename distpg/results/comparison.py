"""Two runs side by side: the settings and the versions that differ, and what each reached."""

import datetime
from collections.abc import Iterator, Mapping
from statistics import fmean
from typing import Any

from distpg.progress import WINDOW
from distpg.report.interval import mean_interval
from distpg.report.numbers import format_interval, format_return
from distpg.results.columns import columns
from distpg.results.episodes import number, read_rows
from distpg.results.groups import differing, setting_text
from distpg.results.listing import state_text
from distpg.results.runs import RunFacts

Row = tuple[str, str, str]


def side_by_side(a: RunFacts, b: RunFacts) -> Iterator[str]:
    """Yield the lines of the comparison.

    Raises:
        InputError: a file of a run cannot be read.
    """
    rows = [*section("settings", differences(a.settings, b.settings)), *versions(a, b)]
    rows.append(("results", "", ""))
    for (name, of_a), (_, of_b) in zip(reached(a), reached(b), strict=True):
        if of_a or of_b:
            rows.append((f"  {name}", of_a, of_b))
    yield from columns(("", str(a.run.given), str(b.run.given)), rows)


def versions(a: RunFacts, b: RunFacts) -> Iterator[Row]:
    """Yield the versions that differ; those of a run are known once it has a result."""
    unknown = ["" if run.result else "not known: no result" for run in (a, b)]
    if any(unknown):
        of_a, of_b = unknown
        yield ("versions", of_a, of_b)
    else:
        found = [run.result.get("versions", {}) for run in (a, b)]
        yield from section("versions", differences(*found))


def section(title: str, rows: list[Row]) -> Iterator[Row]:
    """Yield what differs, below a title that says so."""
    if not rows:
        yield (f"{title}: the same", "", "")
        return
    yield (f"{title} that differ", "", "")
    for name, of_a, of_b in rows:
        yield (f"  {name}", of_a, of_b)


def differences(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[Row]:
    """Return the entries that are not the same in both."""
    return [(name, setting_text(a, name), setting_text(b, name)) for name in differing([a, b])]


def reached(run: RunFacts) -> Iterator[tuple[str, str]]:
    """Yield how far a run is, and what it reached, by name."""
    speed, seconds = run.steps_per_s, run.train_s
    time = "" if seconds is None else str(datetime.timedelta(seconds=round(seconds)))
    yield "state", state_text(run)
    yield "env steps", f"{run.env_steps:,}"
    yield "return", last_return(run)
    yield "best evaluation", best(run)
    yield "env steps/s", "" if speed is None else f"{speed:,.0f}"
    yield "training time", time


def last_return(run: RunFacts) -> str:
    """Return the mean of the last 100 episodes of training with its interval."""
    rows = read_rows(run.run.path / "episodes.csv") if run.progress else []
    known = [number(row, "r") for row in rows[-WINDOW:]]
    returns = [value for value in known if value is not None]
    return with_interval(fmean(returns), mean_interval(returns)) if returns else ""


def best(run: RunFacts) -> str:
    """Return the best evaluation with its interval, and when it was."""
    if run.best is None:
        return ""
    found = with_interval(run.best.return_mean, run.best.return_interval)
    return f"{found} after {run.best.env_steps:,}"


def with_interval(mean: float, half: float | None) -> str:
    """Write a mean and its 95% interval, given half the width of that."""
    if half is None:
        return format_return(mean)
    center, interval = format_interval(mean, mean - half, mean + half)
    return f"{center} ({interval})"
