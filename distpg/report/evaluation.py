"""Evaluation in the course of a run: every few iterations, with the policy as it then is."""

from collections.abc import Callable
from typing import Any

from distpg.progress import Progress
from distpg.records import Evaluation


class EvaluateEvery:
    """Adds the scores of evaluation episodes to an iteration's scalars."""

    def __init__(self, every: int, evaluate: Callable[[Any], Evaluation]) -> None:
        """Take the number of iterations between evaluations, and what plays them."""
        self.every = every
        self.evaluate = evaluate

    def on_iteration(self, progress: Progress, scalars: dict[str, float], weights: Any) -> None:
        """Evaluate if it is time to."""
        if progress.iteration % self.every == 0:
            scalars |= self.evaluate(weights).scalars()
