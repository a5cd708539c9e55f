"""Periodic evaluation of the policy during a run."""

import dataclasses
from typing import Any

from distpg.iteration import Evaluation
from distpg.train import Workers


class EvaluateEvery:
    """Evaluates the policy every `every` iterations; 0 disables it."""

    def __init__(self, every: int, workers: Workers) -> None:
        """Initialize with the iterations between evaluations, and the workers that run them."""
        self.every = every
        self.workers = workers

    def __call__(self, iteration: int, weights: Any) -> Evaluation | None:
        """Evaluate the weights if an evaluation is due."""
        if not self.every or iteration % self.every:
            return None
        return dataclasses.replace(self.workers.evaluate(weights), iteration=iteration)
