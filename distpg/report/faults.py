"""Fault counters: every fault and every dropped step is reported."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from distpg.config.values import check_fields
from distpg.errors import RunError
from distpg.iteration import Iteration, ProcessFaults, Scalars
from distpg.report.fault_events import FaultEvents


class FaultCounter:
    """Returns the fault counts so far under `faults/`, and reports exceptions of environments."""

    def __init__(
        self,
        env_faults: int,
        allowed: int,
        others: Callable[[], Mapping[str, int]],
        events: FaultEvents,
    ) -> None:
        """Initialize.

        Args:
            env_faults: Exceptions of environments so far, in a resumed run.
            allowed: Maximum number of these exceptions.
            others: Returns further counts, by name.
            events: Gets each of these exceptions, and says the last of an iteration.
        """
        self.env_faults = env_faults
        self.allowed = allowed
        self.others = others
        self.events = events
        self.stragglers = 0
        self.waited_s: list[float] = []
        """Seconds that each worker waited for the slowest."""
        self.processes = ProcessFaults()
        self.earlier = ProcessFaults()
        """Before the run was resumed; with the other counts:"""
        self.earlier_others: dict[str, int] = {}

    def state(self) -> dict[str, Any]:
        """Return what a resumed run counts on from, as JSON values."""
        return {
            "stragglers": self.stragglers,
            "waited_s": list(self.waited_s),
            "processes": asdict(self.processes),
            "others": self._others(),
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Count on from what `state` returned."""
        self.stragglers = int(state["stragglers"])
        self.waited_s = [float(seconds) for seconds in state["waited_s"]]
        check_fields(ProcessFaults, state["processes"])
        self.processes = self.earlier = ProcessFaults(**state["processes"])
        self.earlier_others = {str(name): int(count) for name, count in state["others"].items()}

    def count(self, processes: ProcessFaults) -> None:
        """Take the processes that were replaced in this part of the run."""
        self.processes = self.earlier + processes

    def _others(self) -> dict[str, int]:
        return {
            name: count + self.earlier_others.get(name, 0) for name, count in self.others().items()
        }

    def on_iteration(self, iteration: Iteration) -> Scalars:
        """Return the counts after an iteration.

        Raises:
            RunError: environments raised more often than allowed.
        """
        progress, phases = iteration.progress, iteration.phases
        self.count(iteration.faults)
        self.stragglers += phases.stragglers
        self.waited_s = self.waited_s or [0.0] * len(phases.barrier_wait_s)
        # imitation may change the number of workers during a run
        self.waited_s += [0.0] * (len(phases.barrier_wait_s) - len(self.waited_s))
        for worker, seconds in enumerate(phases.barrier_wait_s):
            self.waited_s[worker] += seconds
        for slot in iteration.collection.stats:
            for fault in slot.faults:
                self.events.record("env_faults", fault)
        if progress.env_faults > self.allowed:
            raise RunError(
                f"environments raised {progress.env_faults} times, more than --max-env-faults "
                f"{self.allowed}; the last: {progress.last_fault}"
            )
        if progress.env_faults > self.env_faults:
            self.events.say(f"an environment failed, its episode is dropped: {progress.last_fault}")
        self.env_faults = progress.env_faults
        counts = {
            "env_faults": progress.env_faults,
            "dropped_steps": progress.dropped_steps,
            "stragglers": self.stragglers,
            "rolled_back_updates": progress.rolled_back_updates,
            **asdict(self.processes),
            **self._others(),
            **{f"dropped/{reason}": steps for reason, steps in progress.dropped.items()},
            **{f"barrier_wait_s/{worker}": s for worker, s in enumerate(self.waited_s)},
        }
        return {f"faults/{name}": count for name, count in counts.items()}

    def summary(self) -> dict[str, Any]:
        """Return the counts for `result.json` that `Progress` does not have."""
        return {
            **asdict(self.processes),
            **self._others(),
            "stragglers": self.stragglers,
            "barrier_wait_s": self.waited_s,
        }
