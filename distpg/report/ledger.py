"""What went wrong on the way, counted: nothing vanishes silently."""

from collections.abc import Callable, Mapping

from distpg.errors import RunError
from distpg.phases import Scalars
from distpg.progress import Progress


class Ledger:
    """Adds the counts so far under `faults/`, and says what an environment raised."""

    def __init__(
        self, failures: Callable[[], Mapping[str, int]], allowed: int, say: Callable[[str], None]
    ) -> None:
        """Take what else is counted, how many faults of environments may be, and whom to tell."""
        self.failures = failures
        self.allowed = allowed
        self.say = say
        self.told = 0

    def on_iteration(self, progress: Progress, scalars: Scalars, weights: object) -> None:
        """Count.

        Raises:
            RunError: environments raised too often.
        """
        scalars |= {
            "faults/env_faults": progress.env_faults,
            "faults/dropped_steps": progress.dropped_steps,
            **{f"faults/{name}": count for name, count in self.failures().items()},
        }
        if progress.env_faults > self.allowed:
            raise RunError(
                f"environments raised {progress.env_faults} times, more than --max-env-faults "
                f"{self.allowed}; the last: {progress.last_fault}"
            )
        if progress.env_faults > self.told:
            self.say(f"an environment failed, its episode is dropped: {progress.last_fault}")
        self.told = progress.env_faults
