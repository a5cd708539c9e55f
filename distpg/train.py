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
from typing import Any, Literal, Protocol

from distpg.config import Config
from distpg.phases import UNDONE, Collection, Scalars, phases
from distpg.progress import Progress
from distpg.records import LearnerState

StopReason = Literal["solved", "total_steps", "rounds", "interrupted"]


class Pending(Protocol):
    """Rollouts that are being played."""

    def result(self) -> Collection: ...  # noqa: D102
    def drop(self) -> Collection: ...  # noqa: D102


class Workers(Protocol):
    """Plays every slot of a batch."""

    def collect(self, weights: Any, iteration: int) -> Pending: ...  # noqa: D102


class Learner(Protocol):
    """Turns a batch into better weights."""

    def weights(self) -> Any: ...  # noqa: D102
    def acting_weights(self) -> Any: ...  # noqa: D102
    def update(self, rollouts: Sequence[Any]) -> tuple[Any, Scalars]: ...  # noqa: D102
    def state(self) -> LearnerState: ...  # noqa: D102


class Watcher(Protocol):
    """Looks on after each iteration; may add scalars for the watchers after it."""

    def on_iteration(self, progress: Progress, scalars: Scalars, weights: Any) -> None: ...  # noqa: D102


@dataclass
class Stop:
    """When a run ends."""

    settings: Config
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
    """Train until there is a reason to stop.

    With overlap, the next rollouts are played while the learner improves on these, by the weights
    that played these; those that a stop leaves over are dropped.
    """
    weights, acting, pending = learner.weights(), learner.acting_weights(), None
    while (reason := stop.reason(progress)) is None:
        began = time.perf_counter()
        pending = pending or workers.collect(acting, progress.iteration)
        collection = pending.result()
        ahead = stop.settings.overlap
        pending = workers.collect(weights, progress.iteration + 1) if ahead else None
        collected = time.perf_counter()
        weights, scalars = learner.update(collection.rollouts)
        updated = time.perf_counter()

        progress = progress.after(collection.stats, undone=UNDONE in scalars)
        scalars |= phases(collection.by_worker, collected - began, updated - collected)
        for watcher in watchers:
            watcher.on_iteration(progress, scalars, weights)
        # another policy, where a watcher went back to an earlier one
        weights = acting = learner.weights()
    if pending:
        progress = progress.dropping(pending.drop().stats)
    return progress, reason
