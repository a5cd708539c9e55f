"""Check that four tasks are learned as before: eight new seeds of each against eight stored ones.

    python -m benchmarks.regress

Trains 32 runs of 200,000 env steps, up to 20 minutes on two cores. A task falls outside if the mean
of its curves is not where that of as many more runs of the stored kind would be, with a probability
of 99%. Prints that interval for each, which says what loss is not seen; exits with 1 if one falls
outside.

`distpg reproduce benchmarks/regress.toml --save benchmarks/results/regress.json` stores the curves:
after a change that is meant to move them, remove that file first.
"""

import argparse
import dataclasses
import math
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from benchmarks.results import FOLDER
from distpg.config.settings import Count
from distpg.config.values import check_value
from distpg.doctor.facts import cores
from distpg.errors import InputError, prefix_errors
from distpg.many_runs.side_by_side import SideBySide
from distpg.report.interval import t_quantile
from distpg.report.numbers import format_returns
from distpg.reproduce.results import Results, TaskResults, read_results_of
from distpg.reproduce.runs import collect, prepare, runs_of
from distpg.reproduce.table import Table, load_table

TABLE = Path(__file__).with_suffix(".toml")
STORED = FOLDER / "regress.json"
SEEDS = tuple(range(8, 16))
"""None of the stored ones: unchanged code would only train those again."""
LEVEL = 0.99
"""Probability that a task whose learning is unchanged falls inside."""


class Outcome(NamedTuple):
    """What a task's new runs are, seen from the stored ones."""

    text: str
    verdict: str
    """Of their mean: above, within or below the interval."""


def curve_means(task: TaskResults) -> list[float]:
    """Return the mean of each run's learning curve: one number for how fast and how far."""
    curves = [run.curve.returns for run in task.runs.values()]
    return [statistics.fmean(x for x in curve if x is not None) for curve in curves]


def prediction_interval(values: Sequence[float], count: int) -> tuple[float, float]:
    """Return where the mean of `count` more values of the same normal distribution is, at LEVEL.

    `values` are at least two.
    """
    spread = statistics.stdev(values) * math.sqrt(1 / len(values) + 1 / count)
    mean, half = statistics.fmean(values), t_quantile(LEVEL, len(values) - 1) * spread
    return mean - half, mean + half


def compare(stored: Results, found: Results) -> Iterator[Outcome]:
    """Yield for each task whether its new runs are as the stored ones."""
    for name, task in found.tasks.items():
        before, now = curve_means(stored.tasks[name]), curve_means(task)
        mean, (low, high) = statistics.fmean(now), prediction_interval(before, len(now))
        verdict = "below" if mean < low else "above" if mean > high else "within"
        texts = format_returns(mean, low, high)
        yield Outcome(
            f"{name}: mean of the curves {texts[0]}, {len(now)} seeds, {verdict} "
            f"{texts[1]} to {texts[2]} of {len(before)} stored ones",
            verdict,
        )


def check(stored: Results, table: Table) -> None:
    """Check that a table's tasks are stored, with the same settings.

    Raises:
        InputError: one is not.
    """
    with prefix_errors(str(STORED)):
        for name in table.tasks:
            if name not in stored.tasks or len(stored.tasks[name].runs) < 2:
                raise InputError(f"it has less than two runs of {name}")
            stored.check_settings(name, table.written(name))


def train(table: Table, parallel: int, folder: Path) -> tuple[Results, dict[str, str]]:
    """Train all runs of a table; return their results, and why some failed, by name."""
    prepare(table, folder)
    say = partial(print, flush=True)
    failures = SideBySide(runs_of(table, folder), parallel, say).complete()
    return collect(table, folder, "make regress"), failures


def main(arguments: Sequence[str] | None = None) -> int:
    """Train and compare; return 1 if a task falls outside, or a run fails."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parallel", type=int, default=cores(), help="runs at a time")
    options = parser.parse_args(arguments)
    try:
        check_value("parallel", options.parallel, Count)
        table = dataclasses.replace(load_table(str(TABLE)), seeds=SEEDS)
        stored = read_results_of(table.name, STORED)
        check(stored, table)
    except InputError as error:
        parser.error(str(error))
    with tempfile.TemporaryDirectory() as folder:
        found, failures = train(table, options.parallel, Path(folder))
    outcomes = [*compare(stored, found)]
    failed = [f"{name} failed: {why}" for name, why in failures.items()]
    print("\n".join([*(outcome.text for outcome in outcomes), *failed]))
    learned = {outcome.verdict for outcome in outcomes} == {"within"}
    return 0 if learned and not failed else 1


if __name__ == "__main__":
    sys.exit(main())
