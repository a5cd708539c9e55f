"""Finding runs, and reading how far each is: also of runs under way, and of those that were killed.

A row of the tables' ends is read instead of the whole, so that hundreds of runs take no time.
"""

import json
import os
import tomllib
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from distpg.errors import InputError
from distpg.results.episodes import BestEvaluation, best_evaluation, last_row, number
from distpg.run.directory import RunDir

State = Literal["running", "finished", "stopped", "failed"]
RETURN = "rollout/ep_rew_mean"
"""Tag of the mean return of the last 100 episodes."""
IMITATION = "imitation"
"""The algorithm of runs of `imitate`, whose settings name that of the recipe."""


@dataclass(frozen=True)
class RunFacts:
    """How far a run is, and what it reached."""

    run: RunDir
    env_id: str
    algo: str
    settings: Mapping[str, Any]
    """Of config.toml, as they are written."""
    result: Mapping[str, Any]
    """Of result.json; empty until the run, or its part since a resume, has ended."""
    state: State
    reason: str
    """Why it is in its state; empty while it is running."""
    progress: Mapping[str, str]
    """Row of the last iteration; empty before the first."""
    best: BestEvaluation | None
    written_at: float
    """Unix time at which one of its files was last written."""

    @property
    def env_steps(self) -> int:
        """Those trained on."""
        return int(number(self.progress, "env_steps") or 0)

    @property
    def mean_return(self) -> float | None:
        """Mean of the last 100 episodes, if one has ended."""
        return number(self.progress, RETURN)

    @property
    def steps_per_s(self) -> float | None:
        """Env steps per second of training."""
        return number(self.progress, "time/fps")

    @property
    def train_s(self) -> float | None:
        """Seconds of training, all parts of the run, without start-up."""
        return number(self.progress, "time/time_elapsed")


def is_run(names: Collection[str]) -> bool:
    """Return whether a folder with files of these names is a run directory."""
    return "config.toml" in names


def find_runs(folder: Path, wanted: Callable[[Collection[str]], bool] = is_run) -> Iterator[Path]:
    """Yield the run directories in a folder, or the folder itself if it is one.

    Symlinks are not followed.

    Args:
        folder: Where to look, also in the folders in it.
        wanted: Whether a folder with files of these names is one.

    Raises:
        InputError: there is no such folder.
    """
    if not folder.is_dir():
        why = "is a file" if folder.exists() else "does not exist"
        raise InputError(f"{folder} {why}; pass a run directory, or a folder of runs")
    for place, folders, names in os.walk(folder):
        if wanted(names):
            folders.clear()
            yield Path(place)
        folders.sort()


def read_run(path: Path) -> RunFacts:
    """Read how far a run is.

    Raises:
        InputError: it is not a run directory, or a file of it cannot be read.
    """
    run = RunDir.open(path)
    settings = read_config(run)
    # before its files, which change until it has ended
    running = run.being_written()
    progress = last_row(path / "progress.csv")
    state, reason, result = state_of(run, progress, running=running)
    imitates = any(name.startswith(f"{IMITATION}/") for name in progress)
    written = (run.config, run.log, run.result, path / "progress.csv")
    return RunFacts(
        run=run,
        env_id=str(settings["env_id"]),
        algo=IMITATION if imitates else str(settings["algo"]),
        settings=settings,
        result=result,
        state=state,
        reason=reason,
        progress=progress,
        best=best_evaluation(path),
        written_at=max(file.stat().st_mtime for file in written if file.exists()),
    )


def read_config(run: RunDir) -> dict[str, Any]:
    """Return the settings of a run as they are written, also those of another version.

    Raises:
        InputError: they cannot be read, or are not those of a run.
    """
    try:
        settings = tomllib.loads(run.config.read_text("utf-8"))
    except (OSError, RecursionError, ValueError) as error:
        raise InputError(f"{run.config} cannot be read: {error}") from error
    for name in ("env_id", "algo"):
        if name not in settings:
            raise InputError(f"{run.given} is not a run directory: its config.toml has no {name}")
    return settings


def state_of(
    run: RunDir, progress: Mapping[str, str], *, running: bool
) -> tuple[State, str, dict[str, Any]]:
    """Return the state of a run, why it is in it, and its result if it is known.

    Args:
        run: The run.
        progress: Row of its last iteration.
        running: Whether a process was writing it, before that was read.

    Raises:
        InputError: result.json cannot be read.
    """
    if running:
        return "running", "", {}
    result = read_result(run)
    reason = result.get("stop_reason")
    # an error may end a run before the tables have the row of its iteration
    ends = (0, 1) if reason == "error" else (0,)
    # a run that was resumed since, and killed, has another last iteration
    if not result or (progress and missing_rows(result, progress) not in ends):
        return "stopped", "killed", {}
    if reason == "error":
        return "failed", str(result.get("error", "")), result
    if reason == "interrupted":
        return "stopped", "signal", result
    return "finished", str(reason), result


def missing_rows(result: Mapping[str, Any], progress: Mapping[str, str]) -> float:
    """Return by how many iterations a result is ahead of the last row."""
    return result["iterations"] - (number(progress, "iteration") or 0)


def read_result(run: RunDir) -> dict[str, Any]:
    """Return the end-of-run summary, empty if there is none.

    Raises:
        InputError: it cannot be read, or is not one.
    """
    if not run.result.exists():
        return {}
    try:
        result = json.loads(run.result.read_text("utf-8"))
    except (OSError, RecursionError, ValueError) as error:
        raise InputError(f"{run.result} cannot be read: {error}") from error
    if not isinstance(result, dict) or not {"iterations", "stop_reason"} <= result.keys():
        raise InputError(f"{run.result} is not the result of a run")
    return cast("dict[str, Any]", result)
