"""Collect the rounds: by the expert first, then by the student (DAgger)."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from distpg.imitation.expert import Demonstrator, Expert, ImitationContext, Oracle
from distpg.iteration import ProcessFaults
from distpg.progress import Progress
from distpg.records import Rollout, RolloutStats, Weights
from distpg.rollout.closing import closing_if_raised
from distpg.rollout.evaluation import Evaluator
from distpg.rollout.in_process import (
    CompletedClip,
    CompletedRollouts,
    LaterEvaluation,
    play_in_process,
)
from distpg.train import StopCondition, StopReason


@dataclass
class AfterRounds(StopCondition):
    """Ends an imitation after a number of rounds."""

    num_rounds: int = 0

    def reason(self, progress: Progress) -> StopReason | None:
        """Return why the run ends here, or None to continue."""
        if progress.iteration >= self.num_rounds:
            return "rounds"
        return self.early_reason()


class Rounds:
    """The workers of an imitation: collects with the expert or the student, and labels all steps.

    The returns of the expert's episodes are kept separate from the student's.
    """

    def __init__(self, expert: Expert, context: ImitationContext, *, evaluates: bool) -> None:
        """Start the workers of the first round, and make the envs of evaluations, if there are."""
        self.expert = expert
        self.context = context
        self.evaluator: Evaluator | None = None
        self.expert_returns: list[float] = []
        self.num_labels = 0
        self.late: list[str] = []
        """Envs of workers that are closed, which did not close in time."""
        self.earlier_faults = ProcessFaults()
        """Of workers that are closed."""
        self.acting = expert.demonstrator(context) if context.expert_rounds else self._student()
        if evaluates:
            with closing_if_raised(self):
                self.evaluator = Evaluator(context.config, context.source)

    def _student(self) -> Demonstrator:
        assert isinstance(self.expert, Oracle), "DAgger queries the expert"
        workers = self.context.make_workers(self.context.config)
        return Demonstrator(workers, self.expert.relabeler(self.context))

    def collect(self, weights: Weights, iteration: int) -> CompletedRollouts:
        """Collect and label a round."""
        if iteration == self.context.expert_rounds and iteration:
            self._switch_to_student()
        acting = self.acting
        collection = acting.workers.collect(acting.weights or weights, iteration).result()
        rollouts = [acting.relabel(rollout) for rollout in collection.rollouts]
        self.num_labels += sum(int(rollout.valid.sum()) for rollout in rollouts)
        by_worker = collection.by_worker
        if iteration < self.context.expert_rounds:
            self.expert_returns += [g for slot in collection.stats for g in slot.episode_returns]
            by_worker = [[without_episodes(slot) for slot in worker] for worker in by_worker]
        return CompletedRollouts(collection._replace(rollouts=rollouts, by_worker=by_worker))

    def _switch_to_student(self) -> None:
        # the next workers have the same `Restarts`, and report its lost_with_node again
        self.earlier_faults = dataclasses.replace(self.faults(), lost_with_node=0)
        self.late += self.acting.workers.close()
        self.acting = self._student()

    def faults(self) -> ProcessFaults:
        """Count the processes that were replaced so far."""
        return self.earlier_faults + self.acting.workers.faults()

    def states(self) -> list[None]:
        """Return an empty list: an imitation cannot be resumed, since labels are not saved."""
        return []

    def fetch(self, rollouts: Sequence[Rollout]) -> Sequence[Rollout]:
        """Return rollouts, which are in this process."""
        return rollouts

    def evaluate(self, weights: Weights, attributes: Mapping[str, Any]) -> LaterEvaluation:
        """Plan to evaluate the student, in this process."""
        config = self.context.config
        self.evaluator = self.evaluator or Evaluator(config, self.context.source)
        return LaterEvaluation(self.evaluator, weights, attributes, config.phase_timeout)

    def clip(self, weights: Weights, attributes: Mapping[str, Any]) -> CompletedClip:
        """Play an episode of the student for a clip, in this process."""
        return play_in_process(self.context.config, self.context.source, weights, attributes)

    def close(self, *, hurry: bool = False) -> list[str]:
        """Close all envs; return those that did not close in time."""
        late, self.late = self.late, []
        late += self.acting.workers.close(hurry=hurry)
        return [*late, *(self.evaluator.close() if self.evaluator else [])]


def without_episodes(stats: RolloutStats) -> RolloutStats:
    """Return the statistics without returns and lengths, which are not the student's."""
    none = np.zeros(0)
    return replace(stats, episode_returns=none, episode_lengths=none.astype(np.int64), reported=())
