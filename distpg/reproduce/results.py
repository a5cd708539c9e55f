"""The measured runs of a table, as values and as JSON.

A run is kept with its date, machine and versions, so that a file can grow in parts. The same file
holds what another library reached with the same settings.
"""

import dataclasses
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distpg.config.values import check_fields
from distpg.errors import InputError, prefix_errors
from distpg.reproduce.measures import Measured
from distpg.reproduce.table import Measure, Reference, Table
from distpg.results.episodes import Curve
from distpg.results.statistics import MeanEstimate, mean_and_interval
from distpg.run.directory import write_atomically
from distpg.run.lock import locked

MALFORMED = (AttributeError, KeyError, RecursionError, TypeError, ValueError)
"""What reading a file of another form raises."""
ADDING_S = 30.0
"""Seconds to wait for others that add to a file of the same folder; each takes less than one."""


@dataclass(frozen=True)
class TaskResults:
    """The runs of one task, with the settings that they were trained with."""

    settings: Mapping[str, Any]
    runs: Mapping[int, Measured]
    """By seed."""

    def mean(self, measure: Measure) -> MeanEstimate | None:
        """Return the mean over seeds by a measure, if any was measured."""
        values = list(self.values(measure).values())
        return mean_and_interval(values) if values else None

    def values(self, measure: Measure) -> dict[int, float]:
        """Return what each seed reached by a measure, if it was measured."""
        found = {seed: self.runs[seed].measures.get(measure) for seed in sorted(self.runs)}
        return {seed: value for seed, value in found.items() if value is not None}


@dataclass(frozen=True)
class Results:
    """What a library reached on the tasks of a table."""

    table: str
    name: str
    """Of the library, with its version."""
    command: str
    tasks: Mapping[str, TaskResults]

    def merged(self, newer: "Results") -> "Results":
        """Return these results with newer runs added, and put in the place of the same seeds.

        Raises:
            InputError: those of a task are of other settings.
        """
        tasks = dict(self.tasks)
        for name, task in newer.tasks.items():
            self.check_settings(name, task.settings)
            runs = {**self.tasks[name].runs, **task.runs} if name in self.tasks else task.runs
            tasks[name] = TaskResults(task.settings, {seed: runs[seed] for seed in sorted(runs)})
        return dataclasses.replace(newer, tasks=tasks)

    def check_settings(self, task: str, settings: Mapping[str, Any]) -> None:
        """Refuse settings of a task that its runs do not have.

        Raises:
            InputError: its runs have others.
        """
        if task in self.tasks and self.tasks[task].settings != settings:
            raise InputError(
                f"its runs of {task} have other settings than the table; choose another file"
            )

    def references(self, task: str, measure: Measure, source: str) -> list[Reference]:
        """Return what the library reached on a task, to compare with: none, or one result.

        It is judged by if there are at least two seeds, which have an interval.
        """
        found = self.tasks[task].mean(measure) if task in self.tasks else None
        if found is None:
            return []
        return [
            Reference(
                name=self.name,
                value=found.mean,
                measure=measure,
                source=source,
                interval=found.interval,
                n=len(self.tasks[task].values(measure)),
                judged=found.interval is not None,
            )
        ]


def to_json(results: Results) -> str:
    """Return results as JSON text, a list of numbers on one line."""
    tasks = {
        name: {
            "settings": dict(task.settings),
            "runs": [dataclasses.asdict(run) for run in task.runs.values()],
        }
        for name, task in results.tasks.items()
    }
    values = {"table": results.table, "name": results.name, "command": results.command}
    return on_few_lines({**values, "tasks": tasks}) + "\n"


def on_few_lines(values: Mapping[str, Any]) -> str:
    """Return values as JSON text, a list of numbers on one line."""
    number = r"(?:-?[\d.]+(?:e[+-]?\d+)?|null)"
    lists = re.compile(rf"\[\s+({number}(?:,\s+{number})*)\s+\]")
    text = json.dumps(values, indent=1)
    return lists.sub(lambda found: f"[{' '.join(found[1].split())}]", text)


def from_json(text: str) -> Results:
    """Read results.

    Raises:
        InputError: the text is not that of `to_json`.
    """
    try:
        values = json.loads(text)
        tasks = {name: task_from_json(name, task) for name, task in values["tasks"].items()}
        found = Results(values["table"], values["name"], values["command"], tasks)
        check_fields(Results, vars(found))
        return found
    except InputError as error:
        raise InputError(f"it does not hold the results of a table: {error}") from error
    except MALFORMED as error:
        raise InputError(f"it does not hold the results of a table: {error!r:.100}") from error


def task_from_json(name: str, values: Mapping[str, Any]) -> TaskResults:
    """Read the runs of one task.

    Raises:
        InputError: there are none, one is there twice, or their curves are not at the same steps.
    """
    with prefix_errors(f"tasks.{name}"):
        runs = [measured_from_json(run) for run in values["runs"]]
        if not runs:
            raise InputError("it has no runs")
        if len({run.seed for run in runs}) < len(runs):
            raise InputError("a seed is there twice")
        if len({run.curve.env_steps for run in runs}) > 1:
            raise InputError("the curves of its seeds are not at the same env steps")
        return TaskResults(dict(values["settings"]), {run.seed: run for run in runs})


def measured_from_json(values: Mapping[str, Any]) -> Measured:
    """Read one run.

    Raises:
        InputError: a value is not of its kind, or not finite.
    """
    curve = Curve(*(tuple(values["curve"][name]) for name in ("env_steps", "returns")))
    greedy = tuple(values["greedy_returns"])
    fields: dict[str, Any] = {**values, "curve": curve, "greedy_returns": greedy}
    run = Measured(**fields)
    check_measured(run)
    return run


def check_measured(run: Measured) -> None:
    """Check what a run reached.

    Raises:
        InputError: a value is not of its kind, or not finite.
    """
    with prefix_errors(f"seed {run.seed}"):
        check_fields(Measured, vars(run))
        if len(run.curve.env_steps) != len(run.curve.returns) or not run.curve.returns:
            raise InputError("the curve has not a return for each number of env steps")
        lists = {
            "curve": run.curve.returns,
            "measures": run.measures.values(),
            "greedy_returns": run.greedy_returns,
        }
        for name, numbers in lists.items():
            for number in numbers:
                if number is not None and not is_finite(number):
                    raise InputError(f"{name}: {number!r:.60} is not a finite number")
        if missing := {"cpu", "cores", "system"} - run.machine.keys():
            raise InputError(f"machine: {', '.join(sorted(missing))} is missing")


def is_finite(value: object) -> bool:
    """Return whether a value is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def write_measured(path: Path, found: Measured) -> None:
    """Write what one run reached.

    Raises:
        InputError: a return is not finite.
    """
    check_measured(found)
    write_atomically(path, (on_few_lines(dataclasses.asdict(found)) + "\n").encode())


def read_measured(path: Path) -> Measured | None:
    """Read what one run reached, or None if that is not there, or not whole."""
    try:
        return measured_from_json(json.loads(path.read_text("utf-8")))
    except (OSError, *MALFORMED):
        return None


def read_results(path: Path) -> Results:
    """Read a file of results.

    Raises:
        InputError: it cannot be read, or is of another form.
    """
    try:
        text = path.read_text("utf-8")
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    try:
        return from_json(text)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def read_results_of(table: str, path: Path) -> Results:
    """Read a file of results of a table.

    Raises:
        InputError: it is of another table, cannot be read, or is of another form.
    """
    found = read_results(path)
    if found.table != table:
        raise InputError(f"{path} has the results of table {found.table}, not of {table}")
    return found


def read_results_with(table: Table, path: Path) -> Results:
    """Read a file of results of a table, with the settings that it has.

    Raises:
        InputError: it is of another table or of other settings, or cannot be read.
    """
    found = read_results_of(table.name, path)
    with prefix_errors(str(path)):
        for task in table.tasks:
            found.check_settings(task, table.written(task))
    return found


def check_can_grow(path: Path, table: Table) -> None:
    """Check that results of a table can be added to a file, which need not exist.

    Raises:
        InputError: the file is of another table or of other settings, or cannot be read.
    """
    if path.exists():
        read_results_with(table, path)


def add_to_file(path: Path, results: Results) -> Results:
    """Add results to those of a file, and return all of them.

    Raises:
        InputError: the file is of another table or of other settings, or cannot be read or written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with locked(path.parent, str(path), ADDING_S):
            if path.exists():
                known = read_results_of(results.table, path)
                with prefix_errors(str(path)):
                    results = known.merged(results)
            write_atomically(path, to_json(results).encode())
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}") from error
    return results
