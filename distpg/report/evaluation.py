"""Evaluation in the course of a run: every few iterations, of the policy after the update."""

import dataclasses
from typing import Any

from distpg.iteration import Evaluation
from distpg.train import Workers


class EvaluateEvery:
    """Evaluates every so many iterations; `every` 0 disables it."""

    def __init__(self, every: int, workers: Workers) -> None:
        """Take the number of iterations between evaluations, and what runs them."""
        self.every = every
        self.workers = workers

    def __call__(self, iteration: int, weights: Any) -> Evaluation | None:
        """Evaluate if it is due."""
        if not self.every or iteration % self.every:
            return None
        return dataclasses.replace(self.workers.evaluate(weights), iteration=iteration)
