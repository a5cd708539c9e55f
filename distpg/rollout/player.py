"""Who plays episodes that are not trained on: for evaluations and clips."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from distpg.iteration import Evaluation
from distpg.records import Weights
from distpg.rollout.clip import EncodedClip


class PendingEvaluation(Protocol):
    """An evaluation that is under way."""

    def result(self, stopped: Callable[[], bool]) -> Evaluation | None:
        """Wait for it; return None if stopped."""
        ...


class PendingClip(Protocol):
    """A clip that is being played."""

    def is_done(self) -> bool:
        """Return whether it is played, or too late."""
        ...

    def result(self) -> EncodedClip:
        """Return it once it is done, or raise why it cannot be played."""
        ...


class Player(Protocol):
    """Plays episodes on envs that no slot uses; `attributes` are set in them before."""

    def evaluate(self, weights: Weights, attributes: Mapping[str, Any]) -> PendingEvaluation:
        """Begin to evaluate a policy."""
        ...

    def clip(self, weights: Weights, attributes: Mapping[str, Any]) -> PendingClip:
        """Begin to play an episode for a clip."""
        ...
