"""An update that goes wrong, taken back: as if it had not been."""

from collections.abc import Sequence

from distpg.errors import AnomalyError
from distpg.learner.learner import Learner
from distpg.phases import UNDONE
from distpg.records import Rollout, Weights


class CarefulLearner(Learner):
    """A learner that stays where it was when an update comes to what is no number."""

    def update(self, rollouts: Sequence[Rollout]) -> tuple[Weights, dict[str, float]]:
        """Improve the policy by one batch, or not at all; then the statistics say so."""
        before = self.state()
        try:
            return super().update(rollouts)
        except AnomalyError as anomaly:
            self.load(before)
            return self.weights(), {**anomaly.stats, UNDONE: 1.0}
