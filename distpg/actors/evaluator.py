"""Evaluates policies in a process beside training; one that dies or hangs plays again."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import ray

from distpg.actors.closing import ANSWER_S
from distpg.actors.evaluation_actor import EvaluationActor
from distpg.actors.placement import EVALUATOR, Place, Waiting
from distpg.actors.process import Process
from distpg.actors.restarts import Restarts
from distpg.actors.team import Team
from distpg.actors.wait import MIN_START_S, fetch, read
from distpg.config.config import Config
from distpg.envs.make import EnvSource
from distpg.errors import InputError, ProcessLostError, RunError
from distpg.iteration import EVALUATING, Evaluation
from distpg.records import Weights

WAIT_S = 1.0
POLL_S = 0.02
"""Interval at which a result that is waited for is asked for."""


class RayEvaluator:
    """A process that evaluates policies."""

    name = "the evaluation worker"

    def __init__(self, config: Config, source: EnvSource, team: Team, restarts: Restarts) -> None:
        """Start the process; nothing waits for it before its first result is due."""
        self.config = config
        self.source = source
        self.team = team
        self.restarts = restarts
        self.num_restarts = 0
        self.starting = True
        """Whether it has not been waited for since it was started."""
        self.lost = False
        """Whether it died or hangs."""
        self.remote: Any = ray.remote(EvaluationActor)
        # a run has reckoned with it, unless only a watcher asked for an evaluation
        self._start(None if config.eval_every else team.place_for(EVALUATOR))

    def _start(self, place: Place | None) -> None:
        arguments = self.config, self.source
        self.process = Process(self.remote, self.team.places, EVALUATOR, *arguments, place=place)
        self.actor: Any = self.process.actor
        self.ready: Any = self.actor.make_envs.remote()
        """A reference to its answer once it has made its envs."""

    def wait_until_started(self) -> None:
        """Wait for a new process, so that its start counts against no deadline of its work.

        Raises:
            RunError: the environment cannot be made, or there is no place for the process.
        """
        if not self.starting:
            return
        waiting = Waiting(self.team.places, 1)
        while not self.process.has_started():
            ray.wait([self.process.placed], timeout=WAIT_S)
            if waiting.is_over():
                raise waiting.fail()
        self.process.node = read(
            self.process.placed, self.name, doing="starting", timeout_s=MIN_START_S
        )
        timeout_s = max(MIN_START_S, self.config.phase_timeout)
        try:
            fetch([self.ready], [self.name], doing="starting", timeout_s=timeout_s)
        except InputError as error:
            # the run has begun, and can be resumed
            raise RunError(str(error)) from error
        self.starting = False

    def begin(self, weights: Weights, attributes: Mapping[str, Any]) -> "RayEvaluation":
        """Begin to evaluate a policy; no other evaluation is under way."""
        evaluation = RayEvaluation(self, ray.put(weights), attributes)
        evaluation.begin()
        return evaluation

    def replace(self) -> None:
        """Start another process."""
        self.process.end()
        self.num_restarts += 1
        self.starting, self.lost = True, False
        self._start(self.team.place_for(EVALUATOR))


@dataclass
class RayEvaluation:
    """An evaluation that is under way."""

    evaluator: RayEvaluator
    weights: Any
    """A reference to the policy's."""
    attributes: Mapping[str, Any]
    """To set in the envs before."""
    actor: Any = None
    """The process that was asked last."""
    began: float = 0.0

    def begin(self) -> None:
        """Ask the process to begin."""
        self.actor, self.began = self.evaluator.actor, time.monotonic()
        self.actor.begin.remote(self.weights, self.attributes)

    def result(self, stopped: Callable[[], bool]) -> Evaluation | None:
        """Wait for the result; return None if stopped."""
        evaluator = self.evaluator
        return evaluator.restarts.retry(
            lambda: self._attempt(stopped), evaluator.replace, lambda: evaluator.process.node
        )

    def _attempt(self, stopped: Callable[[], bool]) -> Evaluation | None:
        evaluator, timeout_s = self.evaluator, self.evaluator.config.phase_timeout
        try:
            evaluator.wait_until_started()
            if self.actor is not evaluator.actor:
                self.begin()
            # it may have been done long ago, and then has to answer only
            answers_since = time.monotonic() - max(0.0, timeout_s - ANSWER_S)
            began = max(self.began, answers_since)
            while not stopped():
                (evaluation,) = fetch(
                    [self.actor.result.remote()],
                    [evaluator.name],
                    doing=EVALUATING,
                    timeout_s=timeout_s,
                    began=began,
                )
                if evaluation is not None:
                    return evaluation
                time.sleep(POLL_S)
        except ProcessLostError:
            evaluator.lost = True
            raise
        return None
