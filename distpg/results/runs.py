"""Finding runs, and reading how far each is: also of runs under way, and of those that were killed.

A row of the tables' ends is read instead of the whole, so that hundreds of runs take no time.
"""

import json
import os
import tomllib
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from distpg.errors import InputError
from distpg.report.tables import FILES
from distpg.results.episodes import BestEvaluation, best_evaluation, last_row, number
from distpg.run.directory import RunDir

State = Literal["running", "finished", "stopped", "failed"]
RETURN = "rollout/ep_rew_mean"
"""Tag of the mean return of the last 100 episodes."""
IMITATION = "imitation"
"""The algorithm of runs of `imitate`, whose settings name that of the recipe."""
BESIDE_SETTINGS = frozenset({"log.txt", "result.json", "policy.safetensors", *FILES})
"""Files of a run; a config.toml without any of them may be one for `train --config`."""
STOPPED = {"interrupted": "signal", "rung": "a rung of `distpg tune`"}
"""Stop reasons of runs that were not trained to their end, as they are told."""


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
    return "config.toml" in names and not BESIDE_SETTINGS.isdisjoint(names)


def find_runs(folder: Path, wanted: Callable[[Collection[str]], bool] = is_run) -> Iterator[Path]:
    """Yield the run directories in a folder, and the folder itself if it is one.

    Symlinks are not followed, and nothing is looked for in a run of distpg.

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
            yield Path(place)
        if is_run(names):
            folders.clear()
        folders.sort()


def read_run(path: Path) -> RunFacts:
    """Read how far a run is.

    Raises:
        InputError: it is not a run directory, or a file of it cannot be read.
    """
    run = RunDir.open(path)
    settings = written_settings(run)
    # before its files, which change until it has ended
    running = run.being_written()
    progress = last_iteration(path / "progress.csv")
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
        written_at=last_written(written),
    )


def last_iteration(path: Path) -> dict[str, str]:
    """Return the row of the last iteration of progress.csv; empty before the first.

    Raises:
        InputError: it cannot be read.
    """
    row = last_row(path)
    for name in FILES[path.name] if row else ():
        if number(row, name) is None:
            raise InputError(f"{path} cannot be read: its last row has no number as {name}")
    return row


def last_written(files: Collection[Path]) -> float:
    """Return the Unix time at which one of some files was last written.

    Raises:
        InputError: none of them is left.
    """
    times: list[float] = []
    for file in files:
        # others may remove it at any time
        with suppress(OSError):
            times.append(file.stat().st_mtime)
    if not times:
        raise InputError(f"{next(iter(files)).parent}: its files are gone")
    return max(times)


def written_settings(run: RunDir) -> dict[str, Any]:
    """Return the settings of a run as they are written, also those of another version.

    Raises:
        InputError: they cannot be read, or are not those of a run.
    """
    try:
        settings = tomllib.loads(run.config.read_text("utf-8"))
        # no setting is a date
        json.dumps(settings)
    except (OSError, RecursionError, TypeError, ValueError) as error:
        raise InputError(f"{run.config} cannot be read: {error}") from error
    for name in ("env_id", "algo"):
        if name not in settings:
            raise InputError(f"{run.given} is not a run directory: its config.toml has no {name}")
    seed = settings.get("seed", 0)
    if not isinstance(seed, int):
        raise InputError(f"{run.config} cannot be read: its seed is {seed!r:.40}")
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
    result = run.read_result()
    if not result or (progress and is_of_before(result, progress)):
        return "stopped", "killed", {}
    reason = str(result["stop_reason"])
    if reason == "error":
        return "failed", str(result.get("error", "")), result
    if reason in STOPPED:
        return "stopped", STOPPED[reason], result
    return "finished", reason, result


def is_of_before(result: Mapping[str, Any], progress: Mapping[str, str]) -> bool:
    """Return whether a result is of before a resume that was killed.

    Such a run has another last iteration than its result.
    """
    missing = result["iterations"] - (number(progress, "iteration") or 0)
    if not result.get("tables_complete", True):
        return missing < 0
    # an error may end a run before the tables have the row of its iteration
    return missing not in ((0, 1) if result["stop_reason"] == "error" else (0,))
