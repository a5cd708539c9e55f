"""Periodic evaluation of the policy during a run."""

import dataclasses
from collections.abc import Callable
from typing import Any

from distpg.iteration import Evaluation
from distpg.train import StopCondition, Workers


class EvaluateEvery:
    """Evaluates the policy every `every` iterations; 0 disables it.

    A signal ends an evaluation, which then counts for nothing, unless its outcome decides on which
    weights the run goes on: then a resumed run would not be the uninterrupted one.
    """

    def __init__(
        self,
        every: int,
        workers: Workers,
        stop: StopCondition,
        say: Callable[[str], None],
        *,
        decides: bool = False,
    ) -> None:
        """Initialize.

        Args:
            every: Iterations between evaluations.
            workers: Who runs them.
            stop: Knows whether there was a signal.
            say: Called with a message when episodes were cut off, or an evaluation ended early.
            decides: Whether the outcome may change the weights; then a signal waits for it.
        """
        self.every = every
        self.workers = workers
        self.stop = stop
        self.say = say
        self.decides = decides
        self.num_cut_off = 0
        """Episodes that were cut off at the step limit."""

    def __call__(self, iteration: int, weights: Any) -> Evaluation | None:
        """Evaluate the weights if an evaluation is due; return None if a signal ended it."""
        if not self.every or iteration % self.every:
            return None
        evaluation = self.workers.evaluate(weights, self._stopped)
        if evaluation is None:
            self.say(f"the evaluation after iteration {iteration} was interrupted and not counted")
            return None
        self.num_cut_off += len(evaluation.cut_off)
        if warning := evaluation.warning():
            self.say(f"iteration {iteration}: {warning}")
        return dataclasses.replace(evaluation, iteration=iteration)

    def _stopped(self) -> bool:
        return self.stop.signal is not None and not self.decides
