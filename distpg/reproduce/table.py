"""A published table, from TOML: tasks, settings, seeds, and what others report of the same tasks.

A file has a title, seeds, `[settings]` that all tasks have in common, and for each task
`[tasks.NAME]` with an environment and env steps; `[tasks.NAME.settings]` are added to the common
ones, and each `[[tasks.NAME.references]]` is a result to compare with.
"""

import dataclasses
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, Literal, cast, get_args

from distpg.config.config import Config, from_toml
from distpg.config.settings import BigCount, Count, Finite, Seed
from distpg.config.values import did_you_mean, make_from_toml, one_of
from distpg.errors import InputError, prefix_errors
from distpg.results.statistics import MeanEstimate

Measure = Literal["last_100_training_episodes", "final_greedy", "best_evaluation"]
"""What a result is: the mean return of the last 100 episodes of training, of 20 episodes of the
final policy without noise, or of the evaluation in the course of training that was the best."""
MEASURES: tuple[Measure, ...] = get_args(Measure)
OF_A_RUN: dict[str, Any] = {"num_workers": 0, "learner_threads": 1}
"""Settings of a run that has a core for itself; a table may have others."""
OWN_KEYS = {"env_id": "env_id", "total_steps": "steps", "seed": "seeds"}
"""Settings that a table has keys for."""


@dataclass(frozen=True, kw_only=True)
class Reference:
    """A result of others."""

    name: str
    value: Finite
    """Mean return."""
    measure: Measure
    source: str
    """Where it is published, of which version of the environment, and how it was read."""
    interval: tuple[Finite, ...] | None = None
    """Lower and upper end of the 95% interval of the mean, by Student's t distribution."""
    n: Count | None = None
    """Number of seeds; None of a criterion, which nobody measured."""
    judged: bool = False
    """Whether ours is judged by it; others are context."""

    def __post_init__(self) -> None:
        """Check the interval.

        Raises:
            InputError: it is none, is not around the value, or is of less than two seeds.
        """
        if self.interval is not None:
            ends = sorted(self.interval)
            if len(ends) != 2 or tuple(ends) != self.interval:
                raise InputError(f"interval: {list(self.interval)} is not a lower and an upper end")
            if not ends[0] <= self.value <= ends[1]:
                raise InputError(f"interval: {ends} does not hold the value, {self.value}")
            if self.n is None or self.n < 2:
                raise InputError("interval: it needs n, at least 2 seeds")
        elif self.judged and self.n is not None:
            raise InputError("judged: it needs an interval, of at least 2 seeds")

    @property
    def estimate(self) -> MeanEstimate:
        """The value with its interval."""
        ends = self.interval
        return MeanEstimate(self.value, None if ends is None else (ends[0], ends[1]))


def check_distinct(references: Sequence[Reference]) -> None:
    """Raise an InputError if two references have the same name and measure."""
    known = set[tuple[str, Measure]]()
    for reference in references:
        key = reference.name, reference.measure
        if key in known:
            raise InputError(f"references: {reference.name} has two of {reference.measure}")
        known.add(key)


def check_seeds(seeds: Sequence[int]) -> None:
    """Raise an InputError if a seed is there twice."""
    if len(set(seeds)) < len(seeds):
        raise InputError(f"seeds: {list(seeds)} has one twice")


@dataclass(frozen=True, kw_only=True)
class Task:
    """A task of a table, with the settings that it does not share with the others."""

    env_id: str
    steps: BigCount
    """Env steps of a run."""
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])
    scale: tuple[Finite, ...] | None = None
    """Returns that count as 0 and as 1 in scores, which are comparable between tasks."""
    references: tuple[Reference, ...] = ()
    seeds: tuple[Seed, ...] = ()
    """Its own in place of the table's, as where results vary so much that they take more."""

    def __post_init__(self) -> None:
        """Check the scale and the seeds.

        Raises:
            InputError: the scale is not two different returns, or a seed is there twice.
        """
        check_seeds(self.seeds)
        if self.scale is not None and (len(self.scale) != 2 or self.scale[0] >= self.scale[1]):
            raise InputError(f"scale: {list(self.scale)} is not a low and a higher return")

    def score(self, value: float) -> float:
        """Return a return on the task's scale."""
        assert self.scale is not None, "the task has no scale"
        low, high = self.scale
        return (value - low) / (high - low)


@dataclass(frozen=True, kw_only=True)
class Table:
    """Tasks that are trained with several seeds, and what others report of them."""

    title: str
    seeds: tuple[Seed, ...]
    tasks: Mapping[str, Task]
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """What all tasks have in common."""
    about: str = ""
    """A paragraph for the report."""
    name: str = ""

    def __post_init__(self) -> None:
        """Check seeds, names and settings.

        Raises:
            InputError: there are no seeds or tasks, one is there twice, the settings of a task are
                invalid, or a reference needs a measure that the runs do not have.
        """
        if not self.seeds:
            raise InputError("seeds: the list is empty; a table needs at least one")
        check_seeds(self.seeds)
        if not self.tasks:
            raise InputError("tasks: there are none; a table needs at least one")
        for name, task in self.tasks.items():
            with prefix_errors(f"tasks.{name}"):
                if not re.fullmatch(r"[\w.-]+", name) or name.startswith("."):
                    raise InputError("a task's name has only letters, digits, '-', '_' and '.'")
                config = self.config(name)
                asked = [reference.measure for reference in task.references]
                if "best_evaluation" in asked and not config.eval_every:
                    raise InputError("the measure best_evaluation needs the setting eval_every")
                check_distinct(task.references)

    def config(self, name: str, seed: int = 0) -> Config:
        """Return all settings of a run of a task."""
        task = self.tasks[name]
        given = {**self.settings, **task.settings}
        for key in sorted(given.keys() & OWN_KEYS.keys()):
            raise InputError(f"settings: {key} is set by {OWN_KEYS[key]}")
        own: dict[str, Any] = {"env_id": task.env_id, "total_steps": task.steps, "seed": seed}
        with prefix_errors("settings"):
            return Config(**{**OF_A_RUN, **from_toml(given), **own})

    def written(self, name: str) -> dict[str, Any]:
        """Return the settings that the table writes for a task, which its results are kept with."""
        task = self.tasks[name]
        own = {"env_id": task.env_id, "total_steps": task.steps}
        return {**self.settings, **task.settings, **own}

    def seeds_of(self, name: str) -> tuple[int, ...]:
        """Return the seeds that a task is trained with."""
        return self.tasks[name].seeds or self.seeds

    @property
    def num_seeds(self) -> int:
        """The number of seeds of the task that has most."""
        return max(len(self.seeds_of(name)) for name in self.tasks)

    def in_turn(self) -> list[tuple[str, int]]:
        """List each task with each of its seeds, the first seed of all tasks before the second."""
        seeds = {name: self.seeds_of(name) for name in self.tasks}
        turns = range(self.num_seeds)
        return [(name, seeds[name][x]) for x in turns for name in seeds if x < len(seeds[name])]

    def groups(self) -> dict[str, list[str]]:
        """Group the names of the tasks by environment: what is trained on it in several ways."""
        found: dict[str, list[str]] = {}
        for name, task in self.tasks.items():
            found.setdefault(task.env_id, []).append(name)
        return found

    def way(self, name: str) -> str:
        """Return what a task's name adds to that of its environment, as a2c in Hopper-v5-a2c."""
        return name.removeprefix(self.tasks[name].env_id.rpartition("/")[2]).lstrip("-")

    def measures(self) -> list[Measure]:
        """List the measures that runs of the table have."""
        evaluates = any(self.config(name).eval_every for name in self.tasks)
        return [name for name in MEASURES if name != "best_evaluation" or evaluates]

    def part(self, tasks: Sequence[str], num_seeds: int | None) -> "Table":
        """Return the same table with some of its tasks, or all if none is named, and seeds.

        Raises:
            InputError: it has no such task, or not so many seeds.
        """
        for name in tasks:
            if name not in self.tasks:
                raise InputError(
                    f"--tasks: {name!r} is no task of {self.name}; choose from "
                    f"{one_of(self.tasks)}{did_you_mean(name, self.tasks)}"
                )
        if num_seeds is not None and not 1 <= num_seeds <= self.num_seeds:
            raise InputError(
                f"--seeds: {num_seeds} is not between 1 and {self.num_seeds}, the number of seeds "
                f"of {self.name}"
            )
        kept = {
            name: dataclasses.replace(task, seeds=task.seeds[:num_seeds])
            for name, task in self.tasks.items()
            if name in tasks or not tasks
        }
        return dataclasses.replace(self, tasks=kept, seeds=self.seeds[:num_seeds])


def tables() -> dict[str, str]:
    """Return the TOML text of each table that ships with the package, by name."""
    folder = resources.files("distpg.config") / "tables"
    files = sorted(folder.iterdir(), key=lambda file: file.name)
    return {
        file.name.removesuffix(".toml"): file.read_text("utf-8")
        for file in files
        if file.name.endswith(".toml")
    }


def load_table(source: str) -> Table:
    """Load a table from a file, or one that ships with the package if there is no such file.

    Raises:
        InputError: neither exists, or it is invalid; the message names the key.
    """
    path = Path(source)
    if not path.is_file() and source not in tables():
        raise InputError(
            f"{source!r} is neither a file nor a table; the tables are "
            f"{one_of(tables())}{did_you_mean(source, tables())}"
        )
    with prefix_errors(f"table {source}"):
        try:
            text = path.read_text("utf-8-sig") if path.is_file() else tables()[source]
            values = tomllib.loads(text)
        except (OSError, RecursionError, ValueError) as error:
            raise InputError(f"cannot be read: {error}") from error
        return table_of(path.name.removesuffix(".toml"), values)


def table_of(name: str, values: Mapping[str, Any]) -> Table:
    """Make a table of TOML values.

    Raises:
        InputError: a key is unknown, missing, or has a value that is not allowed.
    """
    if "name" in values:
        raise InputError("name: no such key; a table has the name of its file")
    tasks = values.get("tasks", {})
    if isinstance(tasks, dict):
        given = cast("dict[str, Any]", tasks)
        tasks = {key: task_of(f"tasks.{key}", value) for key, value in given.items()}
    return make_from_toml(Table, {**values, "tasks": tasks, "name": name})


def task_of(where: str, values: Any) -> Task:
    """Make a task of TOML values; `where` is for messages."""
    with prefix_errors(where):
        if not isinstance(values, dict):
            raise InputError("it is not a table")
        found = cast("dict[str, Any]", values)
        references = found.get("references", [])
        if isinstance(references, list):
            found = {**found, "references": references_of(cast("list[Any]", references))}
        return make_from_toml(Task, found)


def references_of(rows: Sequence[Any]) -> tuple[Reference, ...]:
    """Make references of TOML values."""
    found: list[Reference] = []
    for number, row in enumerate(rows, start=1):
        with prefix_errors(f"reference {number}"):
            if not isinstance(row, dict):
                raise InputError("it is not a table")
            found.append(make_from_toml(Reference, cast("dict[str, Any]", row)))
    return tuple(found)
