"""What went wrong on the way, counted: nothing vanishes silently."""

from collections.abc import Callable, Mapping
from typing import Any

from distpg.errors import RunError
from distpg.phases import Scalars
from distpg.progress import Progress

WAITED = "faults/barrier_wait_s/"
"""Tags of the seconds that each worker waited for the slowest."""


class Ledger:
    """Adds the counts so far under `faults/`, and says what an environment raised."""

    def __init__(
        self,
        failures: Callable[[], Mapping[str, int]],
        env_faults: int,
        allowed: int,
        say: Callable[[str], None],
    ) -> None:
        """Take what else is counted, how many faults envs had and may have, and whom to tell."""
        self.failures = failures
        self.allowed = allowed
        self.say = say
        self.env_faults = env_faults
        self.stragglers = 0
        self.waited: Scalars = {}

    def on_iteration(self, progress: Progress, scalars: Scalars, weights: object) -> None:
        """Count.

        Raises:
            RunError: environments raised too often.
        """
        self.stragglers += int(scalars.get("faults/stragglers", 0))
        for tag, value in scalars.items():
            if tag.startswith(WAITED):
                self.waited[tag] = self.waited.get(tag, 0.0) + value
        scalars |= {
            "faults/env_faults": progress.env_faults,
            "faults/dropped_steps": progress.dropped_steps,
            "faults/stragglers": self.stragglers,
            **{f"faults/dropped/{reason}": steps for reason, steps in progress.dropped.items()},
            **{f"faults/{name}": count for name, count in self.failures().items()},
            **self.waited,
        }
        if progress.env_faults > self.allowed:
            raise RunError(
                f"environments raised {progress.env_faults} times, more than --max-env-faults "
                f"{self.allowed}; the last: {progress.last_fault}"
            )
        if progress.env_faults > self.env_faults:
            self.say(f"an environment failed, its episode is dropped: {progress.last_fault}")
        self.env_faults = progress.env_faults

    def summary(self) -> dict[str, Any]:
        """Return what a result tells besides the counts that it was given."""
        waited = {int(tag.removeprefix(WAITED)): value for tag, value in self.waited.items()}
        return {
            "stragglers": self.stragglers,
            "barrier_wait_s": [waited[worker] for worker in sorted(waited)],
        }
