"""The runs of a table as they are on disk, and what is to be done next with each.

FOLDER/TASK/settings.toml   all settings of the task's runs, a file for `distpg train --config`
FOLDER/TASK/seed-N/         the run directory of a seed
FOLDER/TASK/seed-N.json     what it reached
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from distpg.errors import InputError
from distpg.many_runs.run_files import (
    check_settings,
    is_finished,
    training_words,
    write_settings,
)
from distpg.report.numbers import format_return
from distpg.reproduce.measures import GREEDY_EPISODES, WORDS, Measured, measure
from distpg.reproduce.results import Results, TaskResults, read_measured, write_measured
from distpg.reproduce.table import MEASURES, Table
from distpg.run.directory import RunDir


@dataclass(frozen=True)
class Run:
    """A seed of a task."""

    table: Table
    task: str
    seed: int
    folder: Path
    """The folder of the task."""

    def __str__(self) -> str:
        return f"{self.task}, seed {self.seed}"

    @property
    def directory(self) -> RunDir:
        """The run directory."""
        return RunDir(self.folder / f"seed-{self.seed}")

    @property
    def record(self) -> Path:
        """What it reached, once it is measured."""
        return self.folder / f"seed-{self.seed}.json"

    @property
    def settings(self) -> Path:
        """All settings of the task's runs."""
        return self.folder / "settings.toml"

    def measured(self) -> Measured | None:
        """Return what it reached, or None if it has not been measured."""
        return read_measured(self.record)

    def next_words(self) -> list[str] | None:
        """Return the command that brings it further, or None if it is measured."""
        if self.measured() is not None:
            return None
        if is_finished(self.directory):
            episodes = ["--episodes", str(GREEDY_EPISODES), "--seed", str(self.seed), "--json"]
            return ["evaluate", str(self.directory.given), *episodes]
        words = training_words(self.directory, self.settings, self.seed)
        return [*words, "--quiet"]

    def take(self, command: str, output: str) -> None:
        """Measure it once its final policy was evaluated, which printed JSON.

        Raises:
            InputError: what was printed is not that, a file of the run cannot be read, or a return
                is not finite.
        """
        if command != "evaluate":
            return
        try:
            returns = json.loads(output)["returns"]
        except ValueError as error:
            raise InputError(f"its evaluation printed {output!r:.60}, not JSON") from error
        write_measured(self.record, measure(self.directory, returns))

    def summary(self) -> str:
        """Describe what it reached, once it is measured."""
        found = self.measured()
        assert found is not None, f"{self} is not measured"
        values = {WORDS[name]: found.measures[name] for name in MEASURES}
        parts = [f"{x} {format_return(value)}" for x, value in values.items() if value is not None]
        return ", ".join([*parts, f"{found.env_steps:,} env steps, {found.train_s:.0f} s"])


def runs_of(table: Table, folder: Path) -> list[Run]:
    """List the runs of a table, the first seed of all tasks before the second."""
    return [Run(table, task, seed, folder / task) for task, seed in table.in_turn()]


def prepare(table: Table, folder: Path) -> None:
    """Write the settings of each task, or check that its runs so far have the same.

    Raises:
        InputError: they have others, or the folder cannot be written.
    """
    for task, file, runs in files_of(table, folder):
        write_settings(table.config(task), file, runs, ("--folder", folder), "the table")


def check_runs(table: Table, folder: Path) -> None:
    """Check that the runs in a folder have the table's settings.

    Raises:
        InputError: some have others.
    """
    for task, file, runs in files_of(table, folder):
        check_settings(table.config(task), file, runs, ("--folder", folder), "the table")


def files_of(table: Table, folder: Path) -> Iterator[tuple[str, Path, list[RunDir]]]:
    """Yield each task with the file of its settings and its runs."""
    for task in table.tasks:
        file = folder / task / "settings.toml"
        runs = [RunDir(file.with_name(f"seed-{seed}")) for seed in table.seeds_of(task)]
        yield task, file, runs


def collect(table: Table, folder: Path, command: str) -> Results:
    """Return what the runs in a folder reached that are finished."""
    tasks: dict[str, TaskResults] = {}
    for name in table.tasks:
        runs = [Run(table, name, seed, folder / name) for seed in table.seeds_of(name)]
        measured = {run.seed: run.measured() for run in runs}
        found = {seed: run for seed, run in measured.items() if run is not None}
        if found:
            tasks[name] = TaskResults(table.written(name), found)
    return Results(table.name, f"distpg {metadata.version('distpg')}", command, tasks)
