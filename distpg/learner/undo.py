"""An update that goes wrong, taken back: as if it had not been."""

import functools
from collections.abc import Callable, Sequence
from typing import TypeVar, cast

from distpg.errors import AnomalyError
from distpg.learner.learner import Learner
from distpg.learner.trainable import Trainable
from distpg.phases import UNDONE
from distpg.records import Rollout, Weights

Update = TypeVar("Update", bound=Callable[..., tuple[Weights, dict[str, float]]])


def or_not_at_all(update: Update) -> Update:
    """Stay where one was when an update comes to what is no number; the statistics say so."""

    @functools.wraps(update)
    def undoing(
        learner: Trainable, rollouts: Sequence[Rollout]
    ) -> tuple[Weights, dict[str, float]]:
        before = learner.state()
        try:
            return update(learner, rollouts)
        except AnomalyError as anomaly:
            learner.load(before)
            return learner.weights(), {**anomaly.stats, UNDONE: 1.0}

    return cast("Update", undoing)


class CarefulLearner(Learner):
    """A learner that improves the policy by one batch, or not at all."""

    update = or_not_at_all(Learner.update)
