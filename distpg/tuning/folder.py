"""The folder of a study, which continues only with the space that it began with.

FOLDER/lock        id of the process that runs the study
FOLDER/space.toml  the space, with the settings of its base
FOLDER/study.db    Optuna's study, in SQLite
FOLDER/trial-N/    settings and runs of a trial
FOLDER/best.toml   the settings of the best trial, a file for `distpg train --config`
"""

import tomllib
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import tomli_w

from distpg.errors import InputError
from distpg.many_runs.run_files import check_is_no_run, check_same
from distpg.run.directory import write_atomically
from distpg.run.lock import locked
from distpg.tuning.space import Space


@contextmanager
def study_folder(space: Space, folder: Path) -> Generator[None]:
    """Context manager: the folder of a study, which no other process uses.

    Raises:
        InputError: another process does, the study has another space, or the folder is a run, or
            cannot be written.
    """
    if "?" in str(folder.absolute()):
        raise InputError(f"--folder: {folder}: a path with '?' cannot hold a SQLite file")
    check_is_no_run(folder, "--folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--folder: {folder} cannot be written: {error.strerror}") from error
    with locked(folder.absolute(), f"--folder: {folder}"):
        keep_space(space, folder)
        yield


def keep_space(space: Space, folder: Path) -> None:
    """Write the space of a study, or check that the study has the same; `trials` may differ.

    Raises:
        InputError: it has another, or the folder cannot be written.
    """
    file = folder / "space.toml"
    try:
        if file.is_file():
            before, now = flat(tomllib.loads(file.read_text("utf-8"))), flat(space.record)
            have = f"--folder: the study in {folder} has"
            check_same(before, now, have, "the file has", apart_from=("trials",))
        write_atomically(file, tomli_w.dumps(space.record).encode())
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"--folder: {file} cannot be read or written: {error}") from error


def flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a table and of the tables in it, by their dotted names."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            found |= {f"{key}.{name}": x for name, x in value.items()}
        else:
            found[key] = value
    return found
