"""A training run seen from outside while it goes on: its processes, and what it has written."""

import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import psutil
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from benchmarks.memory import role
from benchmarks.results import environment, train_command

T = TypeVar("T")
PATIENCE_S = 180.0
"""How long anything that is waited for may take."""


class LiveRun:
    """A run in a process of its own."""

    def __init__(self, process: "subprocess.Popen[bytes]", folder: Path) -> None:
        """Take its driver's process and its directory."""
        self.process = process
        self.folder = folder
        self.events = EventAccumulator(str(folder), {"scalars": 0})

    def goes_on(self) -> bool:
        """Tell whether it has not ended yet."""
        return self.process.poll() is None

    def processes(self) -> list[tuple[str, psutil.Process]]:
        """List its processes with their roles."""
        try:
            driver = psutil.Process(self.process.pid)
            below = [(role(process), process) for process in driver.children(recursive=True)]
        except psutil.Error:
            # one ended meanwhile
            return []
        return [("driver", driver), *below]

    def of(self, wanted: str, besides: Collection[int] = ()) -> list[psutil.Process]:
        """List its processes of a role, learner or worker, but for those with some ids."""
        return [
            process
            for found, process in self.processes()
            if found == wanted and process.pid not in besides
        ]

    def doing(self, method: str) -> list[psutil.Process]:
        """List the actors that are running a method, as CLASS.METHOD."""
        try:
            return [
                process
                for _, process in self.processes()
                if any(method in word for word in process.cmdline())
            ]
        except psutil.Error:
            return []

    def values(self, tag: str) -> list[tuple[float, float]]:
        """Read what was written under a tag so far, each with its Unix time."""
        if any(self.folder.glob("events.*")):
            self.events.Reload()
        try:
            return [(event.wall_time, event.value) for event in self.events.Scalars(tag)]
        except KeyError:
            return []

    def latest(self, tag: str) -> float:
        """Return the last value under a tag; 0 before the first."""
        return next((value for _, value in reversed(self.values(tag))), 0.0)

    def iterations(self) -> int:
        """Return how many it has done."""
        return int(self.latest("time/iterations"))

    def restarts(self, who: str) -> int:
        """Return how many workers or learners it has replaced."""
        return int(self.latest(f"faults/{who}_restarts"))

    def wait_for(self, look: Callable[[], T], every_s: float = 0.05) -> T | None:
        """Wait until there is something to see, and return it; None where the run ends instead."""
        deadline = time.monotonic() + PATIENCE_S
        while self.goes_on():
            if seen := look():
                return seen
            if time.monotonic() > deadline:
                sys.exit(f"{self.told()}\nwaited {PATIENCE_S:.0f} s in vain")
            time.sleep(every_s)
        return None

    def told(self) -> str:
        """Return what it printed."""
        return (self.folder.parent / "output").read_text()


@contextmanager
def running(flags: Sequence[str]) -> Generator[LiveRun]:
    """Have a run go on within the block, or until it has ended."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        command = train_command([*flags, "--run-dir", str(run)])
        with (Path(folder) / "output").open("wb") as output:
            process = subprocess.Popen(
                command, env=environment(), start_new_session=True, stdout=output, stderr=output
            )
        live = LiveRun(process, run)
        try:
            yield live
        finally:
            if live.goes_on():
                process.send_signal(signal.SIGINT)
            process.wait(PATIENCE_S)
