"""Who acts when: the expert in the first rounds, the student in those of DAgger."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from distpg.evaluation import Evaluator
from distpg.imitation.expert import Acting, Expert, Oracle, Ready, Stage
from distpg.in_process import in_time
from distpg.progress import Progress
from distpg.records import Evaluation, Rollout, RolloutStats, Weights
from distpg.train import Stop, StopReason


@dataclass
class AfterRounds(Stop):
    """Ends an imitation after so many rounds."""

    num_rounds: int = 0

    def reason(self, progress: Progress) -> StopReason | None:
        """Return why the run ends here, or None while it goes on."""
        if progress.iteration >= self.num_rounds:
            return "rounds"
        return "interrupted" if self.signal is not None else None


class Rounds:
    """The workers of an imitation: they play for whoever acts, and the expert labels what it was.

    Scores of the expert's own episodes are kept apart from the student's.
    """

    def __init__(self, expert: Expert, stage: Stage, evaluator: Evaluator | None) -> None:
        """Have the first to act ready; take what evaluates the student, if anything does."""
        self.expert = expert
        self.stage = stage
        self.evaluator = evaluator
        self.last_evaluation: float | None = None
        self.expert_returns: list[float] = []
        self.num_labels = 0
        self.before = {"restarts": 0, "reissued": 0}
        """Counts of the workers that are gone."""
        self.acting = expert.acting(stage) if stage.expert_rounds else self._student()

    def _student(self) -> Acting:
        assert isinstance(self.expert, Oracle), "where the student acts, the expert is asked"
        workers = self.stage.make_workers(self.stage.config)
        return Acting(workers, self.expert.labelling(self.stage))

    def collect(self, weights: Weights, iteration: int) -> Ready:
        """Have a round played, and labelled."""
        if iteration == self.stage.expert_rounds and iteration:
            self._hand_over()
        acting = self.acting
        played = acting.workers.collect(acting.weights or weights, iteration).result()
        rollouts = [acting.label(rollout) for rollout in played.rollouts]
        self.num_labels += sum(int(rollout.valid.sum()) for rollout in rollouts)
        by_worker = played.by_worker
        if iteration < self.stage.expert_rounds:
            self.expert_returns += [x for slot in played.stats for x in slot.episode_returns]
            by_worker = [[unscored(slot) for slot in worker] for worker in by_worker]
        return Ready(played._replace(rollouts=rollouts, by_worker=by_worker))

    def _hand_over(self) -> None:
        """Let the student act from here on."""
        self.before = {"restarts": self.restarts, "reissued": self.reissued}
        self.acting.workers.close()
        self.acting = self._student()

    @property
    def restarts(self) -> int:
        """How many workers were replaced."""
        return self.before["restarts"] + self.acting.workers.restarts

    @property
    def reissued(self) -> int:
        """How many slots were played again."""
        return self.before["reissued"] + self.acting.workers.reissued

    @property
    def lost_with_node(self) -> int:
        """How often something was lost with its machine, which all workers count together."""
        return self.acting.workers.lost_with_node

    def states(self) -> list[None]:
        """Tell no slot's state: an imitation is not resumed, since its labels are not kept."""
        return []

    def fetch(self, rollouts: Sequence[Rollout]) -> Sequence[Rollout]:
        """Return rollouts, which are here."""
        return rollouts

    def evaluate(self, weights: Weights) -> Evaluation:
        """Play evaluation episodes with the student, in this process."""
        assert self.evaluator is not None, "evaluation is off"
        torch.set_num_threads(1)
        with in_time("evaluating", self.stage.config.phase_timeout):
            evaluation = self.evaluator.evaluate(weights)
        self.last_evaluation = float(np.mean(evaluation.returns))
        return evaluation

    def close(self) -> None:
        """Close all envs."""
        self.acting.workers.close()
        if self.evaluator:
            self.evaluator.envs.close()


def unscored(stats: RolloutStats) -> RolloutStats:
    """Leave the scores out: they are not the student's."""
    return replace(stats, episode_returns=np.zeros(0), episode_lengths=np.zeros(0, np.int64))
