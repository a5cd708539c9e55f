"""The training loop: broadcast, collect, update, report.

    weights = learner.weights()
    repeat:   rollouts = workers.collect(weights)          the policy acts
              weights  = learner.update(rollouts)          the policy improves
              watchers see it                              and change nothing

It runs the same whether workers and learner are objects in this process (`rollout/in_process.py`,
`learner/`) or actors on a cluster (`actors/`): the loop passes weights and rollouts on as handles,
which only those two open.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from distpg.iteration import (
    Collection,
    Evaluation,
    Iteration,
    Phases,
    Placement,
    ProcessFaults,
    Update,
)
from distpg.progress import Progress
from distpg.records import LearnerState, Rollout, Weights

StopReason = str
"""solved, total_steps, rounds, interrupted, error, or what a watcher said."""
WeightsHandle = Any
"""`Weights`, or a reference to them on Ray."""
RolloutHandle = Any
"""A `Rollout`, or a reference to one on Ray."""


class PendingRollouts(Protocol):
    """Rollouts that are being collected."""

    def result(self) -> Collection:
        """Wait for them."""
        ...

    def drop(self) -> Collection:
        """Wait for them to be counted only; the slots stand where they stood before."""
        ...


class Workers(Protocol):
    """Collects the rollouts of all slots."""

    def collect(self, weights: WeightsHandle, iteration: int) -> PendingRollouts:
        """Start a rollout of every slot with the given weights."""
        ...

    def fetch(self, rollouts: Sequence[RolloutHandle]) -> Sequence[Rollout]:
        """Open handles."""
        ...

    def states(self) -> Sequence[Any]:
        """Return the `SlotState` of each slot after the last collection, or None."""
        ...

    def faults(self) -> ProcessFaults:
        """Count the processes that were replaced so far."""
        ...

    def close(self, *, hurry: bool = False) -> list[str]:
        """Close the envs, and end the processes.

        Returns:
            The envs that did not close in time; with `hurry` it waits only seconds for processes.
        """
        ...


class LearnerProtocol(Protocol):
    """Turns a batch into better weights."""

    def placement(self) -> Placement:
        """Return how updates are computed."""
        ...

    def weights(self) -> WeightsHandle:
        """Return the current policy's weights."""
        ...

    def acting_weights(self) -> WeightsHandle:
        """Return what the next batch is collected with: with overlap, one update older."""
        ...

    def fetch(self, weights: WeightsHandle) -> Weights:
        """Open a handle."""
        ...

    def update(self, rollouts: Sequence[RolloutHandle]) -> tuple[WeightsHandle, Update]:
        """Improve the policy by one batch; return the new weights."""
        ...

    def state(self) -> LearnerState:
        """Return everything that the next update depends on, as it stands after the last one."""
        ...

    def load(self, state: LearnerState) -> None:
        """Continue from a state."""
        ...

    def start_from(self, state: LearnerState) -> None:
        """Take over another run's networks only."""
        ...

    def faults(self) -> ProcessFaults:
        """Count the processes that were replaced so far."""
        ...


class LoopWatcher(Protocol):
    """Sees every iteration after its update. `run/watchers.py` lists a run's watchers in order."""

    def on_iteration(self, iteration: Iteration) -> Mapping[str, float] | None:
        """Look at an iteration.

        Returns:
            Scalars by TensorBoard tag, for the watchers after this one and for the logs; or None.
        """
        ...


@dataclass
class StopCondition:
    """When a run ends: after so many env steps, at a mean return, or on a signal."""

    total_steps: int
    stop_at_return: float | None = None
    signal: int | None = None
    """The signal that asked for the end, if one did."""
    asked: str = ""
    """Why a watcher asked for the end, if one did."""
    error: str = ""
    """What a watcher raised that the run cannot go on without."""

    def reason(self, progress: Progress) -> StopReason | None:
        """Return why the run ends here, or None to continue."""
        if progress.reached(self.stop_at_return):
            return "solved"
        if progress.env_steps >= self.total_steps:
            return "total_steps"
        return self.early_reason()

    def early_reason(self) -> StopReason | None:
        """Return why the run ends here before its time, or None to continue."""
        if self.error:
            return "error"
        if self.asked:
            return self.asked
        return "interrupted" if self.signal is not None else None


Evaluate = Callable[[Progress], Evaluation | None]
"""Called between iterations: begins an evaluation if one is due, and returns the result that takes
effect in the next iteration, if there is one (`run/evaluations.py`)."""


def train_loop(
    workers: Workers,
    learner: LearnerProtocol,
    stop: StopCondition,
    evaluate: Evaluate,
    watchers: Sequence[LoopWatcher],
    progress: Progress,
    *,
    overlap: bool = False,
) -> tuple[Progress, StopReason]:
    """Train until there is a reason to stop.

    With overlap, the next rollouts are collected while the learner updates on these, with the
    weights that collected these; what is pending when the run stops is dropped.
    """
    weights, acting, pending = learner.weights(), learner.acting_weights(), None
    while (reason := stop.reason(progress)) is None:
        waited_since = time.perf_counter()
        evaluation = evaluate(progress)
        if stop.signal is not None:
            continue
        began = time.perf_counter()
        pending = pending or workers.collect(acting, progress.iteration)
        collection = pending.result()
        pending = workers.collect(weights, progress.iteration + 1) if overlap else None
        collected = time.perf_counter()
        weights, update = learner.update(collection.rollouts)
        updated, updated_at = time.perf_counter(), time.time()

        progress = progress.after(collection.stats, rolled_back=update.rolled_back)
        phases = Phases.of(
            collection.by_worker,
            update,
            evaluate_s=began - waited_since,
            collect_s=collected - began,
            update_s=updated - collected,
        )
        iteration = Iteration(
            progress=progress,
            collection=collection,
            update=update,
            evaluation=evaluation,
            weights=partial(learner.fetch, weights),
            faults=workers.faults() + learner.faults(),
            phases=phases,
            updated_at=updated_at,
            scalars=progress.scalars()
            | update.scalars
            | phases.scalars()
            | (evaluation.scalars() if evaluation else {}),
        )
        for watcher in watchers:
            iteration = iteration.adding(watcher.on_iteration(iteration))
        # a watcher may have rolled the policy back
        weights = acting = learner.weights()
    if pending:
        progress = progress.dropping(pending.drop().stats)
    return progress, reason
