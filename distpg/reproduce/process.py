"""`python -m distpg.reproduce.process WORDS`: a distpg command that ends with its starter.

The starter holds the other end of the standard input. When it is gone, also if it was killed, the
input ends, and the process gets SIGTERM: a run stops after its iteration and is saved.
"""

import os
import runpy
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from contextlib import ExitStack


class Process:
    """A distpg command in a process that ends with this one.

    Signals of the terminal do not reach it.
    """

    def __init__(self, words: Sequence[str]) -> None:
        """Start it."""
        with ExitStack() as stack:
            self.output, self.errors = (
                stack.enter_context(tempfile.TemporaryFile()) for _ in range(2)
            )
            self.child = subprocess.Popen(
                [sys.executable, "-m", __name__, *words],
                stdin=subprocess.PIPE,
                stdout=self.output,
                stderr=self.errors,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
                start_new_session=True,
            )
            self.files = stack.pop_all()

    def ended(self) -> bool:
        """Return whether it has ended."""
        return self.child.poll() is not None

    def wait(self) -> None:
        """Wait until it has ended."""
        self.child.wait()

    def interrupt(self) -> None:
        """Send it SIGINT."""
        self.child.send_signal(signal.SIGINT)

    def close(self) -> tuple[int, str, str]:
        """Return its exit code, what it printed, and its last error; once it has ended."""
        assert self.child.stdin is not None, "it has a pipe"
        self.child.stdin.close()
        texts: list[str] = []
        with self.files:
            for file in (self.output, self.errors):
                file.seek(0)
                texts.append(file.read().decode(errors="replace").strip())
        output, errors = texts
        return self.child.returncode, output, errors.splitlines()[-1] if errors else ""


def end_with_the_starter() -> None:
    """Wait until the standard input ends, then end this process."""
    while os.read(sys.stdin.fileno(), 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    threading.Thread(target=end_with_the_starter, daemon=True).start()
    runpy.run_module("distpg", run_name="__main__", alter_sys=True)
