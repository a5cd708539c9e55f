"""A run of several as it is on disk: whether it is finished, and the command that goes on."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from distpg.config.config import Config
from distpg.config.files import read_settings, spell, to_toml
from distpg.errors import InputError
from distpg.run.checkpoint import list_checkpoints
from distpg.run.directory import RunDir, write_atomically

UNFINISHED = ("error", "interrupted")
"""Stop reasons of a run that is to go on."""


def result_of(run: RunDir) -> dict[str, Any]:
    """Return the content of `result.json`; empty if a run has none that can be read."""
    try:
        result = json.loads(run.result.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return result if isinstance(result, dict) and "stop_reason" in result else {}


def is_finished(run: RunDir) -> bool:
    """Return whether a run was trained to its end."""
    return result_of(run).get("stop_reason", "error") not in UNFINISHED and run.policy.is_file()


def clean_start(run: RunDir) -> None:
    """Remove what a run has left that was killed as it started."""
    if not run.config.exists():
        (run.path / "lock").unlink(missing_ok=True)


def training_words(run: RunDir, settings: Path, seed: int, *, anew: bool) -> list[str]:
    """Return the command that trains a run, or resumes it.

    Args:
        run: The run.
        settings: The file with its settings.
        seed: Its seed.
        anew: Whether it cannot be resumed, so that it starts again.
    """
    directory = str(run.given)
    if list_checkpoints(run) and not anew:
        return ["resume", directory]
    clean_start(run)
    given = ["--config", str(settings), "--seed", str(seed)]
    return ["train", *given, "--run-dir", directory, "--overwrite"]


def write_settings(config: Config, file: Path, given: tuple[str, Path], source: str) -> None:
    """Write the settings of runs to a file, or check that the runs so far have the same.

    Args:
        config: The settings.
        file: The file, in the folder of the runs.
        given: The flag that sets the folder of all runs, and the folder, for messages.
        source: What the settings are from, for messages.

    Raises:
        InputError: the runs have others, or the folder cannot be written.
    """
    flag, folder = given
    if file.is_file():
        check_same(Config(**read_settings(str(file))), config, file.parent, flag, source)
        return
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, to_toml(config).encode())
    except OSError as error:
        raise InputError(f"{flag}: {folder} cannot be written: {error.strerror}") from error


def check_same(before: Config, now: Config, folder: Path, flag: str, source: str) -> None:
    """Refuse to go on with runs with other settings.

    Raises:
        InputError: names the first setting that differs.
    """
    for x in dataclasses.fields(Config):
        was, is_now = getattr(before, x.name), getattr(now, x.name)
        if was != is_now:
            raise InputError(
                f"{flag}: the runs in {folder} have {x.name} = {spell(was)}, {source} has "
                f"{spell(is_now)}; choose another folder, or remove that one"
            )
