"""The lock of a folder: a file that names the process that is writing there."""

import fcntl
import os
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from distpg.errors import InputError

LOCK = "lock"
PATIENCE_S = 0.1
"""Seconds for which a lock is asked for again: `is_locked` holds it for a moment."""
PAUSE_S = 0.02
"""Seconds between two tries."""


@contextmanager
def locked(folder: Path, given: str, patience_s: float = PATIENCE_S) -> Generator[None]:
    """Context manager: an exclusive lock on a folder, released if this process dies.

    Args:
        folder: The folder.
        given: Flag and value that name it, for messages.
        patience_s: Seconds for which it is asked for again while another process holds it.

    Raises:
        InputError: another process holds the lock, or the file cannot be written.
    """
    path = folder / LOCK
    deadline = time.monotonic() + patience_s
    while True:
        try:
            number = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        except OSError as error:
            raise InputError(f"{given} cannot be written: {error.strerror}") from error
        file = os.fdopen(number, "r+")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            pid = file.read().strip()
            file.close()
            if time.monotonic() < deadline:
                time.sleep(PAUSE_S)
                continue
            owner = f"process {pid}" if pid else "another process"
            raise InputError(
                f"{given} is being written by {owner}; wait for it, or stop it"
            ) from None
        # the previous owner may have removed the file since it was opened
        with suppress(FileNotFoundError):
            if os.fstat(file.fileno()).st_ino == path.stat().st_ino:
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


def is_locked(folder: Path) -> bool:
    """Return whether a process holds the lock of a folder; one that was killed does not.

    Raises:
        InputError: the lock cannot be read.
    """
    path = folder / LOCK
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    return False
