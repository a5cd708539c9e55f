"""A run of several as it is on disk: whether it is finished, and the command that continues it."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from distpg.config.config import Config
from distpg.config.files import read_settings, spell, to_toml
from distpg.errors import FormatError, InputError
from distpg.run.checkpoint import list_checkpoints, load_checkpoint
from distpg.run.directory import RunDir, write_atomically

RUNG = "rung"
"""The stop reason of a run of a trial that has reached a rung, and may continue."""
UNFINISHED = ("error", "interrupted", RUNG)
"""Stop reasons of a run that is to continue."""
COMPUTING = ("num_workers", "device", "learner_threads", "compile", "acting")
CLUSTER = ("address", "min_workers", "learner_label", "worker_label", "wait_for_resources")
OWN = ("seed", *COMPUTING, *CLUSTER, "on_anomaly", "max_env_faults")
"""Settings in which runs may differ that count as the same: the seed, where and how a run computes,
and which faults it tolerates."""


def result_of(run: RunDir) -> dict[str, Any]:
    """Return the content of `result.json`; empty if a run has none that can be read."""
    try:
        return run.read_result()
    except InputError:
        return {}


def is_finished(run: RunDir) -> bool:
    """Return whether a run was trained to its end, and not resumed and killed after that."""
    result = result_of(run)
    if result.get("stop_reason", "error") in UNFINISHED or not run.policy.is_file():
        return False
    checkpoints = list_checkpoints(run)
    return not checkpoints or int(checkpoints[-1].name) <= result["env_steps"]


def why_lost(run: RunDir) -> str:
    """Return why a run cannot continue: all of its checkpoints are damaged. Empty if it can.

    A checkpoint that another version wrote, or that cannot be opened, may be intact.
    """
    why = ""
    for folder in reversed(list_checkpoints(run)):
        try:
            load_checkpoint(folder, to_resume=True)
        except FormatError:
            return ""
        except InputError as error:
            cause = error.__cause__
            if isinstance(cause, OSError) and not isinstance(cause, FileNotFoundError):
                return ""
            why = why or str(error)
        else:
            return ""
    return why


def clean_start(run: RunDir) -> None:
    """Remove what a run has left that was killed as it started."""
    if not run.config.exists():
        (run.path / "lock").unlink(missing_ok=True)


def training_words(run: RunDir, settings: Path, seed: int) -> list[str]:
    """Return the command that resumes a run, or trains it if it has no checkpoint, or lost them.

    Args:
        run: The run.
        settings: The file with its settings.
        seed: Its seed.
    """
    directory = str(run.given)
    if list_checkpoints(run) and not why_lost(run):
        return ["resume", directory]
    clean_start(run)
    given = ["--config", str(settings), "--seed", str(seed)]
    return ["train", *given, "--run-dir", directory, "--overwrite"]


def check_is_no_run(folder: Path, flag: str) -> None:
    """Refuse the directory of a run as a folder of runs.

    Raises:
        InputError: it is one.
    """
    if RunDir(folder).config.exists():
        raise InputError(f"{flag}: {folder} is the directory of a run; choose another folder")


def write_settings(
    config: Config, file: Path, runs: Sequence[RunDir], given: tuple[str, Path], source: str
) -> None:
    """Write the settings of runs to a file, or check that the runs so far have the same.

    Args:
        config: The settings.
        file: The file, in the folder of the runs.
        runs: The runs.
        given: The flag that sets the folder of all runs, and the folder, for messages.
        source: What the settings are from, for messages.

    Raises:
        InputError: the runs have others, or the folder is a run, or cannot be written.
    """
    check_settings(config, file, runs, given, source)
    if file.is_file():
        return
    flag, folder = given
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, to_toml(config).encode())
    except OSError as error:
        raise InputError(f"{flag}: {folder} cannot be written: {error.strerror}") from error


def check_settings(
    config: Config, file: Path, runs: Sequence[RunDir], given: tuple[str, Path], source: str
) -> None:
    """Check that the runs so far have these settings; the arguments are those of `write_settings`.

    Raises:
        InputError: they have others, or the folder is a run.
    """
    flag, folder = given
    check_is_no_run(folder, flag)
    if file.is_file():
        before = Config(**read_settings(str(file)))
        check_same(
            vars(before), vars(config), f"{flag}: the runs in {file.parent} have", f"{source} has"
        )
    for run in runs:
        if run.config.is_file():
            before, now = run.read_config(), config.resolved()
            have = f"{flag}: the run in {run.given} has"
            check_same(vars(before), vars(now), have, f"{source} has", apart_from=OWN)


def check_same(
    before: dict[str, Any],
    now: dict[str, Any],
    have: str,
    has: str,
    *,
    apart_from: Collection[str] = (),
) -> None:
    """Refuse to continue what has other values.

    Args:
        before: The values of what is there, by name.
        now: The values that are given.
        have: Says what has the former, after the flag that names it: "--folder: the study has".
        has: Says what has the latter.
        apart_from: Names that may differ.

    Raises:
        InputError: names the first value that differs.
    """
    for key in before | now:
        was, is_now = before.get(key), now.get(key)
        if key not in apart_from and was != is_now:
            raise InputError(
                f"{have} {key} = {spell(was)}, {has} {spell(is_now)}; choose another folder, or "
                "remove that one"
            )
