"""The runs of a table as they are on disk, and what is to be done next with each.

FOLDER/TASK/settings.toml   all settings of the task's runs, a file for `distpg train --config`
FOLDER/TASK/seed-N/         the run directory of a seed
FOLDER/TASK/seed-N.json     what it reached
"""

import dataclasses
import json
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from distpg.config.config import Config
from distpg.config.files import read_settings, spell, to_toml
from distpg.errors import InputError
from distpg.reproduce.measures import GREEDY_EPISODES, Measured
from distpg.reproduce.results import Results, TaskResults, read_measured
from distpg.reproduce.table import Table
from distpg.run.checkpoint import list_checkpoints
from distpg.run.directory import RunDir, write_atomically

UNFINISHED = ("error", "interrupted")
"""Stop reasons of a run that is to go on."""


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

    def finished(self) -> bool:
        """Return whether it was trained to its end."""
        try:
            reason = json.loads(self.directory.result.read_text("utf-8"))["stop_reason"]
        except (OSError, KeyError, TypeError, ValueError):
            return False
        return reason not in UNFINISHED and self.directory.policy.is_file()

    def being_written(self) -> bool:
        """Return whether another process writes it: one of before, which is about to end."""
        return self.directory.being_written()


def runs_of(table: Table, folder: Path) -> list[Run]:
    """List the runs of a table, the first seed of all tasks before the second."""
    return [Run(table, task, seed, folder / task) for seed in table.seeds for task in table.tasks]


def prepare(table: Table, folder: Path) -> None:
    """Write the settings of each task, or check that its runs so far have the same.

    Raises:
        InputError: they have others, or the folder cannot be written.
    """
    for task in table.tasks:
        config, file = table.config(task), folder / task / "settings.toml"
        if file.is_file():
            check_same(Config(**read_settings(str(file))), config, file.parent)
            continue
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(file, to_toml(config).encode())
        except OSError as error:
            raise InputError(f"--folder: {folder} cannot be written: {error.strerror}") from error


def check_same(before: Config, now: Config, folder: Path) -> None:
    """Refuse to go on with the runs of a task with other settings.

    Raises:
        InputError: names the first setting that differs.
    """
    for x in dataclasses.fields(Config):
        was, is_now = getattr(before, x.name), getattr(now, x.name)
        if was != is_now:
            raise InputError(
                f"--folder: the runs in {folder} have {x.name} = {spell(was)}, the table has "
                f"{spell(is_now)}; choose another folder, or remove that one"
            )


def collect(table: Table, folder: Path, command: str) -> Results:
    """Return what the runs in a folder reached that are finished."""
    tasks: dict[str, TaskResults] = {}
    for name in table.tasks:
        runs = {seed: Run(table, name, seed, folder / name).measured() for seed in table.seeds}
        found = {seed: run for seed, run in runs.items() if run is not None}
        if found:
            tasks[name] = TaskResults(table.written(name), found)
    return Results(table.name, f"distpg {metadata.version('distpg')}", command, tasks)


def next_words(run: Run, *, anew: bool) -> list[str] | None:
    """Return the command that brings a run further, or None if it is measured.

    Args:
        run: The run.
        anew: Whether it cannot be resumed, so that it starts again.
    """
    directory = str(run.directory.path)
    if run.measured() is not None:
        return None
    if run.finished():
        episodes = ["--episodes", str(GREEDY_EPISODES), "--seed", str(run.seed), "--json"]
        return ["evaluate", directory, *episodes]
    if list_checkpoints(run.directory) and not anew:
        return ["resume", directory, "--quiet"]
    if not run.directory.config.exists():
        # one that was killed as it started has left this alone
        (run.directory.path / "lock").unlink(missing_ok=True)
    given = ["--config", str(run.settings), "--seed", str(run.seed)]
    return ["train", *given, "--run-dir", directory, "--overwrite", "--quiet"]
