"""What a run says, with times, in a file."""

import os
import stat
import time
from pathlib import Path


class RunLog:
    """A text file with a line for each message; those before `open` wait for it.

    It has no lock and no buffer, so that a signal handler may write, too.
    """

    def __init__(self) -> None:
        """Wait for a file."""
        self.path: Path | None = None
        self.waiting: list[str] = []
        self.error = ""
        """Why the last line was not written, if it was not."""

    def open(self, path: Path) -> None:
        """Append the lines so far and those to come."""
        self.path = path
        waiting, self.waiting = self.waiting, []
        self._append("".join(waiting))

    def write(self, message: str) -> None:
        """Write a message with the time."""
        line = f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {message}\n"
        if self.path is None:
            self.waiting.append(line)
        else:
            self._append(line)

    def _append(self, lines: str) -> None:
        assert self.path is not None
        try:
            append(self.path, lines)
        except OSError as error:
            self.error = str(error)


def append(path: Path, text: str) -> None:
    """Append to a regular file, or create it; a symlink is not followed.

    Raises:
        OSError: it cannot be written, or is something else.
    """
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
    number = os.open(path, flags, 0o644)
    try:
        if not stat.S_ISREG(os.fstat(number).st_mode):
            raise OSError(f"{path} is not a regular file")
        content = text.encode(errors="replace")
        while content:
            content = content[os.write(number, content) :]
    finally:
        os.close(number)
