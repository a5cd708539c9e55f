"""The loop: broadcast, collect, update, report.

    weights = learner.weights()
    repeat:   rollouts = workers.collect(weights)          the policy acts
              weights  = learner.update(rollouts)          the policy improves
              watchers look on                             and change nothing

It runs the same whether workers and learner are objects in this process (`in_process.py`) or actors
on a cluster (`actors/`): `weights` and `rollouts` are handles that only those two open.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

from distpg.config import RunSettings
from distpg.progress import Progress
from distpg.records import LearnerState, RolloutStats

StopReason = Literal["solved", "total_steps", "interrupted"]
Scalars = dict[str, float]


class Collection(NamedTuple):
    """The rollouts of one iteration, in slot order, and what was noted while they were played."""

    rollouts: Sequence[Any]
    stats: Sequence[RolloutStats]
    busy_s: Sequence[float]
    """Seconds that each worker process spent in `collect`."""


class Workers(Protocol):
    """Plays every slot of a batch."""

    def collect(self, weights: Any, iteration: int) -> Collection: ...  # noqa: D102


class Learner(Protocol):
    """Turns a batch into better weights."""

    def weights(self) -> Any: ...  # noqa: D102
    def update(self, rollouts: Sequence[Any]) -> tuple[Any, Scalars]: ...  # noqa: D102
    def state(self) -> LearnerState: ...  # noqa: D102


class Watcher(Protocol):
    """Looks on after each iteration; may add scalars for the watchers after it."""

    def on_iteration(self, progress: Progress, scalars: Scalars, weights: Any) -> None: ...  # noqa: D102


@dataclass
class Stop:
    """When a run ends."""

    settings: RunSettings
    signal: int | None = None
    """The signal that asked for an end, if one did."""

    def reason(self, progress: Progress) -> StopReason | None:
        """Return why the run ends here, or None while it goes on."""
        if progress.reached(self.settings.stop_at_return):
            return "solved"
        if progress.env_steps >= self.settings.total_steps:
            return "total_steps"
        return "interrupted" if self.signal is not None else None


def train_loop(
    workers: Workers, learner: Learner, stop: Stop, watchers: Sequence[Watcher], progress: Progress
) -> tuple[Progress, StopReason]:
    """Train until there is a reason to stop."""
    weights = learner.weights()
    while (reason := stop.reason(progress)) is None:
        began = time.perf_counter()
        collection = workers.collect(weights, progress.iteration)
        collected = time.perf_counter()
        weights, scalars = learner.update(collection.rollouts)
        updated = time.perf_counter()

        progress = progress.after(collection.stats)
        scalars |= phases(collected - began, updated - collected, collection.busy_s)
        for watcher in watchers:
            watcher.on_iteration(progress, scalars, weights)
    return progress, reason


def phases(collect_s: float, update_s: float, busy_s: Sequence[float]) -> Scalars:
    """Split an iteration's seconds; what the slowest worker did not need is broadcast."""
    slowest = max(busy_s)
    return {
        "perf/collect_s": collect_s,
        "perf/update_s": update_s,
        "perf/broadcast_s": collect_s - slowest,
        "perf/idle_s": sum(slowest - busy for busy in busy_s) / len(busy_s),
    }
