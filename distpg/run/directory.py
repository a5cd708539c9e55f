"""The directory of a run.

RUN/lock                   id of the process that is writing the run
RUN/config.toml            the resolved configuration
RUN/events.out.tfevents.*  TensorBoard events
RUN/log.txt                what the run said, with times
RUN/progress.csv           a row for each iteration; episodes.csv and faults.csv for each of those
RUN/checkpoints/STEP/      state from which `resume` continues
RUN/policy.safetensors     the final policy; policy.onnx if `export` wrote it
RUN/result.json            the end-of-run summary
RUN/anomalies/ITERATION/   batch and statistics of an update that was rolled back
"""

import json
import os
import shutil
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from distpg.config.config import Config
from distpg.config.files import read_settings, to_toml
from distpg.errors import InputError
from distpg.report.tables import FILES
from distpg.run.lock import is_locked, locked

ONNX = "policy.onnx"
"""The policy as `export` writes it."""
OLDER: dict[str, Any] = {"action_scale": "unit"}
"""Settings of runs that are older than the setting, where they are not today's default."""
RESULT: dict[str, type] = {
    "iterations": int,
    "env_steps": int,
    "stop_reason": str,
    "train_s": float,
    "versions": dict,
}
"""What the end-of-run summary has in any case, and of what kind."""


@dataclass(frozen=True)
class RunDir:
    """The directory of a run, and the paths in it."""

    given: Path
    """As the user knows it, for messages."""
    path: Path = field(init=False)
    """Absolute, since an environment may change the working directory."""

    def __post_init__(self) -> None:
        """Resolve the path where the command was given."""
        object.__setattr__(self, "path", self.given.absolute())

    @property
    def config(self) -> Path:
        """The resolved configuration."""
        return self.path / "config.toml"

    @property
    def policy(self) -> Path:
        """The final policy."""
        return self.path / "policy.safetensors"

    @property
    def checkpoints(self) -> Path:
        """The checkpoints, each in a folder named after its env steps."""
        return self.path / "checkpoints"

    @property
    def anomalies(self) -> Path:
        """Batches and statistics of updates that were rolled back."""
        return self.path / "anomalies"

    @property
    def log(self) -> Path:
        """What the run said, with times."""
        return self.path / "log.txt"

    @property
    def result(self) -> Path:
        """The end-of-run summary."""
        return self.path / "result.json"

    @classmethod
    def default(cls, config: Config, kind: str | None = None) -> "RunDir":
        """Return an unused path, named by environment, kind (or algorithm), seed and time."""
        letters = (c if c.isalnum() or c in "-_." else "-" for c in str(config.env_id))
        env = "".join(letters).strip("-")
        name = f"{kind or config.algo}-s{config.seed}-{time.strftime('%Y%m%d-%H%M%S')}"
        path = Path("runs") / env / name
        number = 2
        while path.exists():
            path = path.with_name(f"{name}-{number}")
            number += 1
        return cls(path)

    @classmethod
    def open(cls, path: Path) -> "RunDir":
        """Open the directory of an existing run.

        Raises:
            InputError: it is not a run directory.
        """
        run = cls(path)
        try:
            has_config = run.config.is_file()
        except OSError as error:
            raise InputError(f"{path} is not a run directory: {error.strerror}") from error
        if not has_config:
            reason = "it has no config.toml" if path.exists() else "it does not exist"
            name, _, which = str(path).rpartition("@")
            if not path.exists() and cls(Path(name)).config.is_file():
                reason += f"; evaluate, export and push take {name} with --checkpoint {which}"
            raise InputError(f"{path} is not a run directory: {reason}")
        for folder in (run.checkpoints, run.anomalies):
            if folder.is_symlink():
                raise InputError(f"{folder} is a symlink, which is not allowed in a run directory")
        return run

    def claim(self, *, overwrite: bool) -> list[Path]:
        """Create the directory, or check that it may be overwritten; no file is removed yet.

        Returns:
            The folders that were created, innermost first, for `undo_claim`.

        Raises:
            InputError: it exists and `overwrite` is false, contains other files than those of a
                run, or cannot be written.
        """
        try:
            if self.path.exists():
                self._check_claim(overwrite=overwrite)
            created = [folder for folder in (self.path, *self.path.parents) if not folder.exists()]
            self.path.mkdir(parents=True, exist_ok=True)
            (self.path / ".tmp").touch()
            (self.path / ".tmp").unlink()
        except OSError as error:
            raise InputError(
                f"--run-dir: {self.given} cannot be written: {error.strerror}"
            ) from error
        return created

    def _check_claim(self, *, overwrite: bool) -> None:
        if self.path.is_dir() and not any(self.path.iterdir()):
            return
        if not overwrite:
            raise InputError(
                f"--run-dir: {self.given} exists; resume it, pass --overwrite, or choose another "
                "directory"
            )
        foreign = sorted(path.name for path in set(self.path.iterdir()) - set(self._own_files()))
        if foreign:
            raise InputError(
                f"--overwrite: {self.given} contains {foreign[0]}, which distpg did not write; "
                "nothing was removed"
            )
        if not self.config.is_file():
            raise InputError(
                f"--overwrite: {self.given} is not a run directory: it has no config.toml; nothing "
                "was removed"
            )

    def _own_files(self) -> list[Path]:
        """List the existing files and folders that a run writes."""
        names = ("config.toml", "policy.safetensors", "checkpoints", "result.json", "anomalies")
        files = (ONNX, *FILES, "log.txt", "wandb", "lock", "events.out.tfevents.*", "*.tmp")
        patterns = (*names, *files)
        return [path for pattern in patterns for path in self.path.glob(pattern)]

    @contextmanager
    def locked(self) -> Generator[None]:
        """Context manager: an exclusive lock on the directory, released if this process dies.

        Raises:
            InputError: another process holds the lock, or the file cannot be written.
        """
        with locked(self.path, f"--run-dir: {self.given}"):
            yield

    def being_written(self) -> bool:
        """Return whether a process is writing the run.

        Raises:
            InputError: its lock cannot be read.
        """
        return is_locked(self.path)

    def undo_claim(self, created: list[Path]) -> None:
        """Remove the folders that `claim` created, because the run did not start."""
        if created:
            (self.path / "lock").unlink(missing_ok=True)
        for folder in created:
            # another run may have been created in it since
            with suppress(OSError):
                folder.rmdir()

    def clear(self) -> None:
        """Remove the files of an overwritten run, except the lock."""
        for path in self._own_files():
            if path.name != "lock":
                remove(path)

    def write_config(self, config: Config) -> None:
        """Write the resolved configuration."""
        write_atomically(self.config, to_toml(config).encode())

    def read_config(self, **changes: Any) -> Config:
        """Return the run's configuration, with some settings changed."""
        return Config(**{**OLDER, **read_settings(str(self.config)), **changes})

    def write_result(self, result: Mapping[str, Any]) -> None:
        """Write the end-of-run summary."""
        write_atomically(self.result, (json.dumps(result, indent=2) + "\n").encode())

    def read_result(self) -> dict[str, Any]:
        """Return the end-of-run summary, empty if there is none.

        Raises:
            InputError: it cannot be read, or is not one.
        """
        try:
            result = json.loads(self.result.read_text("utf-8"))
        except FileNotFoundError:
            return {}
        except (OSError, RecursionError, ValueError) as error:
            raise InputError(f"{self.result} cannot be read: {error}") from error
        if not isinstance(result, dict):
            raise InputError(f"{self.result} is not the result of a run")
        for name, kind in RESULT.items():
            value = result.get(name)
            if not isinstance(value, kind):
                raise InputError(
                    f"{self.result} is not the result of a run: {name} is {value!r:.40}"
                )
        return cast("dict[str, Any]", result)


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file via a temporary one, so that it is complete or absent even after power loss."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.unlink(missing_ok=True)
    # an untrusted folder may contain a symlink of that name: do not follow it
    number = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)
    with os.fdopen(number, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)
    fsync_directory(path.parent)


def remove(path: Path) -> None:
    """Remove a folder, a file or a symlink, if it exists."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def fsync_directory(folder: Path) -> None:
    """Flush a directory's entries to disk."""
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
