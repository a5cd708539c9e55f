"""Fault counters: every fault and every dropped step is reported."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from distpg.errors import RunError
from distpg.iteration import Iteration, ProcessFaults, Scalars


class FaultCounter:
    """Returns the counts so far under `faults/`, and reports what an environment raised."""

    def __init__(
        self,
        env_faults: int,
        allowed: int,
        others: Callable[[], Mapping[str, int]],
        say: Callable[[str], None],
    ) -> None:
        """Take how many faults envs had and may have, what else is counted, and where to report."""
        self.env_faults = env_faults
        self.allowed = allowed
        self.others = others
        self.say = say
        self.stragglers = 0
        self.waited_s: list[float] = []
        """Of each worker, the seconds that it waited for the slowest."""
        self.processes = ProcessFaults()

    def on_iteration(self, iteration: Iteration) -> Scalars:
        """Count.

        Raises:
            RunError: environments raised too often.
        """
        progress, phases = iteration.progress, iteration.phases
        self.processes = iteration.faults
        self.stragglers += phases.stragglers
        self.waited_s = self.waited_s or [0.0] * len(phases.barrier_wait_s)
        # an imitation may change how many workers there are
        self.waited_s += [0.0] * (len(phases.barrier_wait_s) - len(self.waited_s))
        for worker, seconds in enumerate(phases.barrier_wait_s):
            self.waited_s[worker] += seconds
        if progress.env_faults > self.allowed:
            raise RunError(
                f"environments raised {progress.env_faults} times, more than --max-env-faults "
                f"{self.allowed}; the last: {progress.last_fault}"
            )
        if progress.env_faults > self.env_faults:
            self.say(f"an environment failed, its episode is dropped: {progress.last_fault}")
        self.env_faults = progress.env_faults
        counts = {
            "env_faults": progress.env_faults,
            "dropped_steps": progress.dropped_steps,
            "stragglers": self.stragglers,
            "rolled_back_updates": progress.rolled_back_updates,
            **asdict(self.processes),
            **self.others(),
            **{f"dropped/{reason}": steps for reason, steps in progress.dropped.items()},
            **{f"barrier_wait_s/{worker}": s for worker, s in enumerate(self.waited_s)},
        }
        return {f"faults/{name}": count for name, count in counts.items()}

    def summary(self) -> dict[str, Any]:
        """Return the counts that belong into a run's result; `Progress` has the others."""
        return {
            **asdict(self.processes),
            **self.others(),
            "stragglers": self.stragglers,
            "barrier_wait_s": self.waited_s,
        }
