"""Iterations as a watcher sees them, put together by hand."""

import numpy as np

from distpg.iteration import Collection, Evaluation, Iteration, Phases, ProcessFaults, Update
from distpg.progress import Progress
from distpg.records import RolloutStats, Weights


def stats_of(slot: int, collect_s: float, step_s: float) -> RolloutStats:
    """Return the statistics of a slot that took so long, and in which no episode ended."""
    none = np.zeros(0)
    return RolloutStats(slot, 50, 0, none, none.astype(np.int64), collect_s, step_s)


BY_WORKER = [[stats_of(0, 1.0, 0.5), stats_of(2, 2.0, 0.75)], [stats_of(1, 1.0, 0.25)]]
"""The first worker collects slots 0 and 2 and takes 3 s, the second takes 1 s."""
NO_UPDATE, NO_FAULTS = Update({}), ProcessFaults()


def iteration_of(
    progress: Progress,
    *,
    update: Update = NO_UPDATE,
    evaluation: Evaluation | None = None,
    faults: ProcessFaults = NO_FAULTS,
    collect_s: float = 3.5,
    update_s: float = 4.0,
    evaluate_s: float = 0.5,
    updated_at: float = 0.0,
) -> Iteration:
    """Return an iteration of `BY_WORKER`."""
    return Iteration(
        progress=progress,
        collection=Collection([], BY_WORKER),
        update=update,
        evaluation=evaluation,
        weights=lambda: Weights(progress.iteration, {}),
        faults=faults,
        phases=Phases.of(BY_WORKER, update, collect_s, update_s, evaluate_s),
        updated_at=updated_at,
        scalars=update.scalars,
    )


def no_evaluation(progress: Progress) -> None:
    """Have a loop evaluate nothing."""
