"""What a run is on disk.

RUN/lock                   while it is written: the process that does
RUN/config.toml            the resolved configuration
RUN/events.out.tfevents.*  TensorBoard
RUN/checkpoints/STEP/      what `resume` needs
RUN/policy.safetensors     the final policy
RUN/result.json            how the run ended
RUN/anomalies/ITERATION/   an update that went wrong, if one did
"""

import fcntl
import json
import os
import shutil
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distpg.config.config import Config
from distpg.config.files import read_settings, to_toml
from distpg.errors import InputError


@dataclass(frozen=True)
class RunDir:
    """The paths of a run."""

    path: Path

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
        """Checkpoints, each in a folder named by its env steps."""
        return self.path / "checkpoints"

    @property
    def anomalies(self) -> Path:
        """Batches and statistics of updates that were taken back."""
        return self.path / "anomalies"

    @property
    def result(self) -> Path:
        """How the run ended."""
        return self.path / "result.json"

    @classmethod
    def default(cls, config: Config, kind: str | None = None) -> "RunDir":
        """Name a new run by environment, kind (else the algorithm), seed and time."""
        env = "".join(c if c.isalnum() or c in "-_." else "-" for c in config.env_id)
        name = f"{kind or config.algo}-s{config.seed}-{time.strftime('%Y%m%d-%H%M%S')}"
        run = cls(Path("runs") / env / name)
        twin = 2
        while run.path.exists():
            run = cls(Path("runs") / env / f"{name}-{twin}")
            twin += 1
        return run

    @classmethod
    def open(cls, path: Path) -> "RunDir":
        """Take an existing run.

        Raises:
            InputError: it is no run directory.
        """
        run = cls(path)
        try:
            found = run.config.is_file()
        except OSError as error:
            raise InputError(f"{path} is no run directory: {error.strerror}") from error
        if not found:
            lacks = "it has no config.toml" if path.exists() else "it does not exist"
            raise InputError(f"{path} is no run directory: {lacks}")
        for folder in (run.checkpoints, run.anomalies):
            if folder.is_symlink():
                raise InputError(f"{folder} is a link, which no run holds")
        return run

    def claim(self, *, overwrite: bool) -> list[Path]:
        """Make the directory, or see that it may be overwritten; nothing in it is touched yet.

        Returns:
            The folders that were made, innermost first, for `undo_claim`.

        Raises:
            InputError: it exists and is not to be overwritten, is no run, or cannot be written.
        """
        try:
            if self.path.exists():
                self._check_claim(overwrite=overwrite)
            made = [folder for folder in (self.path, *self.path.parents) if not folder.exists()]
            self.path.mkdir(parents=True, exist_ok=True)
            (self.path / ".tmp").touch()
            (self.path / ".tmp").unlink()
        except OSError as error:
            raise InputError(f"--run-dir: {self.path} cannot be written: {error}") from error
        return made

    def _check_claim(self, *, overwrite: bool) -> None:
        if self.path.is_dir() and not any(self.path.iterdir()):
            return
        if not overwrite:
            raise InputError(
                f"--run-dir: {self.path} exists; resume it, give --overwrite, or name another"
            )
        foreign = sorted(path.name for path in set(self.path.iterdir()) - set(self._own_files()))
        if foreign or not self.config.is_file():
            holds = f"it holds {foreign[0]}" if foreign else "it has no config.toml"
            raise InputError(
                f"--overwrite: {self.path} is more than a run ({holds}), so nothing is removed"
            )

    def _own_files(self) -> list[Path]:
        """List what a run writes, as far as it is there."""
        named = (self.config, self.policy, self.checkpoints, self.result, self.anomalies)
        return [path for path in (*named, self.path / "lock") if path.exists()] + [
            path
            for pattern in ("events.out.tfevents.*", "*.tmp")
            for path in self.path.glob(pattern)
        ]

    @contextmanager
    def locked(self) -> Generator[None]:
        """Be the only one to write the run within the block, also if this process is killed in it.

        Raises:
            InputError: another process writes it, or none can.
        """
        path = self.path / "lock"
        while True:
            try:
                number = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
            except OSError as error:
                raise InputError(f"--run-dir: {self.path} cannot be written: {error}") from error
            file = os.fdopen(number, "r+")
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                owner = file.read().strip() or "another process"
                file.close()
                raise InputError(
                    f"--run-dir: {self.path} is being written by process {owner}; wait for it, or "
                    "end it"
                ) from None
            # whoever held it may have removed it while we waited
            if path.exists() and os.fstat(file.fileno()).st_ino == path.stat().st_ino:
                break
            file.close()
        try:
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            yield
        finally:
            path.unlink(missing_ok=True)
            file.close()

    def undo_claim(self, made: list[Path]) -> None:
        """Remove the folders that `claim` made, for a run that did not start."""
        if made:
            (self.path / "lock").unlink(missing_ok=True)
        for folder in made:
            # another run may by now have its own directory in there
            with suppress(OSError):
                folder.rmdir()

    def clear(self) -> None:
        """Remove what an overwritten run left."""
        for path in self._own_files():
            if path.name == "lock":
                continue
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()

    def write_config(self, config: Config) -> None:
        """Keep the resolved configuration."""
        write_atomically(self.config, to_toml(config).encode())

    def read_config(self, **changes: Any) -> Config:
        """Read the configuration back, with some settings changed."""
        return Config(**{**read_settings(str(self.config)), **changes})

    def write_result(self, result: Mapping[str, Any]) -> None:
        """Keep how the run ended."""
        write_atomically(self.result, (json.dumps(result, indent=2) + "\n").encode())


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that it is there whole or not at all, also after a power cut."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.unlink(missing_ok=True)
    # a link in its place, in a folder that somebody sent, is not followed
    number = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)
    with os.fdopen(number, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)
    fsync_directory(path.parent)


def fsync_directory(folder: Path) -> None:
    """Have the names in a folder outlast a power cut."""
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
