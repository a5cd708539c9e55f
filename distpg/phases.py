"""Where an iteration's time goes: stepping, acting, sending, updating."""

import statistics
from collections.abc import Sequence
from typing import Any, NamedTuple, Self

from distpg.errors import RunError
from distpg.records import RolloutStats

Scalars = dict[str, float]
UNDONE = "faults/undone_update"
"""Among an update's statistics where it came to what is no number, and was taken back."""
STRAGGLES = 2.0
"""Times the median that makes a worker a straggler."""


class Collection(NamedTuple):
    """The rollouts of one iteration, in slot order, and what was noted while they were played."""

    rollouts: Sequence[Any]
    by_worker: Sequence[Sequence[RolloutStats]]
    """What each worker process told of its slots."""

    @property
    def stats(self) -> list[RolloutStats]:
        """What was told of each slot, in slot order."""
        told = [slot for worker in self.by_worker for slot in worker]
        return sorted(told, key=lambda slot: slot.slot)

    def checked(self) -> Self:
        """Return this, if there is anything to learn from.

        Raises:
            RunError: environments raised, and not a single step is left.
        """
        if not any(slot.env_steps for slot in self.stats):
            faults = [fault for slot in self.stats for fault in slot.faults]
            raise RunError(f"no step is left: {faults[-1] if faults else 'none was taken'}")
        return self


def phases(
    by_worker: Sequence[Sequence[RolloutStats]], collect_s: float, update_s: float
) -> Scalars:
    """Split the seconds that the loop waited for rollouts and for the learner.

    Returns:
        By TensorBoard tag: `collect_s` and `update_s` as the loop saw them; `step_s` and `act_s`,
        stepping and acting of the worker that took longest; `broadcast_s`, what it did not need of
        `collect_s` (nothing, where it played during an update); `idle_s`, which the other workers
        waited for it, on average, and what each did; how many took over twice the median.
    """
    busy_s = [sum(slot.collect_s for slot in worker) for worker in by_worker]
    slowest = max(range(len(busy_s)), key=busy_s.__getitem__)
    straggles = STRAGGLES * statistics.median_low(busy_s)
    step_s = sum(slot.step_s for slot in by_worker[slowest])
    return {
        "perf/collect_s": collect_s,
        "perf/step_s": step_s,
        "perf/act_s": busy_s[slowest] - step_s,
        "perf/broadcast_s": max(0.0, collect_s - busy_s[slowest]),
        "perf/idle_s": busy_s[slowest] - sum(busy_s) / len(busy_s),
        "perf/update_s": update_s,
        "workers/slowest": slowest,
        "faults/stragglers": sum(seconds > straggles for seconds in busy_s),
        **{
            f"faults/barrier_wait_s/{worker}": busy_s[slowest] - seconds
            for worker, seconds in enumerate(busy_s)
        },
    }
