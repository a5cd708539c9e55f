"""Evaluations beside training, whose results take effect a fixed number of iterations later.

The policy after iteration k is evaluated while training goes on. Its result is part of iteration
k + `--eval-delay`, before which the loop waits for it: so the course of a run does not depend on
how fast evaluations are. One is under way at a time: what is asked for meanwhile begins after it
has taken effect. If the run was saved before that, the resumed run plays it again.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

from distpg.config.config import Config
from distpg.iteration import Evaluation, Iteration
from distpg.progress import Progress
from distpg.records import ActingPrograms
from distpg.report.evaluation import describe, to_json
from distpg.rollout.player import PendingEvaluation, Player
from distpg.run.checkpoint import Candidate
from distpg.run.checkpointer import Checkpointer
from distpg.train import LearnerProtocol, StopCondition


class LastEvaluation:
    """Remembers the last evaluation whose result took effect, over all parts of a run."""

    def __init__(self) -> None:
        """Begin without one."""
        self.summary: dict[str, Any] | None = None
        """What `result.json` says of it."""

    def state(self) -> dict[str, Any]:
        """Return what a resumed run goes on from, as JSON values."""
        return {"summary": self.summary}

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` returned."""
        self.summary = None if state["summary"] is None else dict(state["summary"])


class Evaluations:
    """Begins the evaluations of a run, waits for their results, and reports them."""

    def __init__(
        self,
        config: Config,
        player: Player,
        learner: LearnerProtocol,
        checkpointer: Checkpointer,
        stop: StopCondition,
        say: Callable[[str], None],
    ) -> None:
        """Initialize.

        Args:
            config: The configuration: how often, and with which delay.
            player: Who plays the episodes.
            learner: Knows how its policies act.
            checkpointer: Keeps a policy until it is known whether it is the best.
            stop: Knows whether there was a signal, which ends the waiting.
            say: Called with each result, and with a warning if episodes were cut off.
        """
        self.config = config
        self.player = player
        self.learner = learner
        self.checkpointer = checkpointer
        self.stop = stop
        self.say = say
        self.under_way: PendingEvaluation | None = None
        """Of the checkpointer's candidate."""
        self.num_cut_off = 0
        """Episodes that were cut off at the step limit."""
        self.last = LastEvaluation()

    def __call__(self, progress: Progress) -> Evaluation | None:
        """Begin an evaluation if it is due; return the result of the next iteration, if any.

        It waits for it; None if a signal ends that.
        """
        self._begin_if_due(progress)
        candidate, delay = self.checkpointer.candidate, self.config.evaluation_delay
        if candidate is None or candidate.iteration + delay > progress.iteration + 1:
            return None
        return self._result(candidate)

    def resume(self, candidate: Candidate | None, *, asked: bool) -> None:
        """Begin again what was under way, or asked for, when a checkpoint was saved."""
        self.checkpointer.evaluation_asked = asked
        self.checkpointer.candidate = candidate
        if candidate is not None:
            self._begin(candidate)

    def finish(self, progress: Progress) -> Evaluation | None:
        """Return what is under way or due when a run ends, unless a signal ended it, or comes."""
        if self.is_stopped():
            return None
        self._begin_if_due(progress)
        candidate = self.checkpointer.candidate
        evaluation = None if candidate is None else self._result(candidate)
        if evaluation is not None:
            self._take(evaluation)
        return evaluation

    def is_stopped(self) -> bool:
        """Return whether a signal or an error ends the run."""
        return self.stop.signal is not None or bool(self.stop.error)

    def on_iteration(self, iteration: Iteration) -> None:
        """Note that a result takes effect."""
        if iteration.evaluation is not None:
            self._take(iteration.evaluation)

    def _begin_if_due(self, progress: Progress) -> None:
        every, iteration = self.config.eval_every, progress.iteration
        candidate = self.checkpointer.candidate
        if candidate is not None and candidate.iteration == iteration:
            # a resumed run has begun it
            return
        if every > 0 and iteration > 0 and iteration % every == 0:
            self.checkpointer.evaluation_asked = True
        if self.checkpointer.evaluation_asked and candidate is None:
            self._begin(self.checkpointer.begin_evaluation(progress))

    def _begin(self, candidate: Candidate) -> None:
        weights = dataclasses.replace(candidate.checkpoint.learner.policy, acting=self.acting)
        self.under_way = self.player.evaluate(weights, candidate.attributes)

    @functools.cached_property
    def acting(self) -> ActingPrograms | None:
        """How the run's policies act without torch, if they do."""
        return self.learner.fetch(self.learner.weights()).acting

    def _result(self, candidate: Candidate) -> Evaluation | None:
        """Wait for the result of what is under way, and say it."""
        assert self.under_way is not None, "it began when there was a candidate"
        evaluation = self.under_way.result(lambda: self.stop.signal is not None)
        if evaluation is None:
            return None
        iteration, steps = candidate.iteration, candidate.checkpoint.progress.env_steps
        best = evaluation.mean_return > self.checkpointer.best_return
        self.say(
            f"evaluation after iteration {iteration}, {steps:,} steps: {describe(evaluation)}"
            f"{', the best so far' * best}"
        )
        if warning := evaluation.warning():
            self.say(f"iteration {iteration}: {warning}")
        return dataclasses.replace(evaluation, iteration=iteration, env_steps=steps)

    def _take(self, evaluation: Evaluation) -> None:
        self.under_way = None
        self.num_cut_off += len(evaluation.cut_off)
        self.last.summary = to_json(evaluation)
