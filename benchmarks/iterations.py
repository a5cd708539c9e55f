"""When the iterations of a training run ended, and the figures that this makes; the same for all.

Peers take it from here as well, so it imports nothing that their environment lacks.
"""

import json
import statistics
import sys
import time
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import psutil


def process_start() -> float:
    """Return the Unix time at which this process began."""
    started = psutil.Process().create_time()
    if sys.platform == "linux":
        # it counts from a boot time in whole seconds
        started += time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) - psutil.boot_time()
    return started


@dataclass(frozen=True)
class Iteration:
    """How far a run is when an iteration, its update included, ends."""

    end_s: float
    """Seconds from process start."""
    env_steps: int
    optimizer_steps: int


@dataclass
class Iterations:
    """A run, as it is timed."""

    startup_s: float
    """Seconds from process start to the first collection."""
    ends: list[Iteration] = field(default_factory=list[Iteration])

    @classmethod
    def begin(cls) -> "Iterations":
        """Start to collect, in this process, now."""
        return cls(time.time() - process_start())

    def end(self, env_steps: int, optimizer_steps: int) -> None:
        """Note that an iteration ends in this process, now."""
        self.ends.append(Iteration(time.time() - process_start(), env_steps, optimizer_steps))

    def figures(self, *, solved: bool, final_return: float | None) -> dict[str, Any]:
        """Return a run's figures; solved_s of a run that missed its goal is its whole length.

        The rate is that of the median iteration, without the first, in which much is done once.
        """
        last = self.ends[-1]
        pairs = list(pairwise(self.ends))
        iteration_s = statistics.median(after.end_s - before.end_s for before, after in pairs)
        steps = statistics.median(after.env_steps - before.env_steps for before, after in pairs)
        return {
            "solved": solved,
            "solved_s": last.end_s,
            "startup_s": self.startup_s,
            "train_s": last.end_s - self.startup_s,
            "first_iteration_s": self.ends[0].end_s - self.startup_s,
            "over_median_s": last.end_s - self.startup_s - iteration_s * len(self.ends),
            "iteration_s": iteration_s,
            "iterations": len(self.ends),
            "env_steps": last.env_steps,
            "env_steps_per_s": steps / iteration_s,
            "optimizer_steps_per_env_step": last.optimizer_steps / last.env_steps,
            "episode_return_mean": final_return,
        }

    def report(self, peer: str, *, solved: bool, final_return: float | None) -> None:
        """Print the figures as a line of JSON."""
        print(json.dumps({"peer": peer, **self.figures(solved=solved, final_return=final_return)}))
