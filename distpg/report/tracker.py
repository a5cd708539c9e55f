"""What the panel shows of a run, gathered from its iterations."""

import time
from collections import deque
from collections.abc import Mapping
from typing import Protocol

from distpg.config.config import Config
from distpg.iteration import Iteration
from distpg.progress import Progress
from distpg.report.clock import Clock
from distpg.report.panel import RunState
from distpg.report.trends import MAX_AHEAD_S, History, seconds_to

RECENT = 30
"""Iterations whose mean returns are extrapolated."""


class Collectors(Protocol):
    """Rollout workers, as they are now. Both methods are called by another thread."""

    def alive(self) -> tuple[int, int] | None:
        """Return how many worker processes answer, and how many there are; None for none."""
        ...

    def first_steps(self) -> int | None:
        """Return the env steps of the first rollouts so far, or None once they are complete."""
        ...


class Tracker:
    """Keeps what the panel shows of a run."""

    def __init__(self, config: Config, what: str | None = None) -> None:
        """Initialize; `what` the run does is its algorithm by default. `begin` follows."""
        self.config = config
        self.title = " · ".join((what or config.algo, str(config.env_id), f"seed {config.seed}"))
        self.workers: Collectors | None = None
        """Set once there are any."""
        self.clock = Clock(time.time())
        """Of the run, from `begin` on."""
        self.began_at, self.start_steps = 0.0, 0
        self.updated_at = 0.0
        """Unix time at which the last update ended."""
        self.progress = Progress()
        self.scalars: Mapping[str, float] = {}
        self.spent_s: Mapping[str, float] = {}
        self.evaluation: tuple[float, int] | None = None
        self.restarts = 0
        self.curve = History()
        self.recent_at = deque[float](maxlen=RECENT)
        self.recent_returns = deque[float](maxlen=RECENT)

    def begin(self, progress: Progress, clock: Clock) -> None:
        """Record the start of training, from which steps per second are counted."""
        self.began_at, self.start_steps = time.time(), progress.env_steps
        self.progress, self.clock = progress, clock

    def on_iteration(self, iteration: Iteration) -> None:
        """Take what the panel needs, and no rollouts."""
        self.progress, self.scalars = iteration.progress, iteration.scalars
        self.updated_at = iteration.updated_at
        self.spent_s = self.clock.spent(
            overlap=self.config.overlap, evaluates=self.config.eval_every > 0
        )
        faults = iteration.faults
        self.restarts = faults.worker_restarts + faults.learner_restarts
        if iteration.evaluation is not None:
            after = iteration.evaluation.iteration or self.progress.iteration
            self.evaluation = iteration.evaluation.mean_return, after
        mean = self.progress.mean_return
        if mean is not None:
            self.curve.add(mean)
            self.recent_at.append(iteration.updated_at)
            self.recent_returns.append(mean)

    @property
    def rate(self) -> float:
        """Env steps per second since training began in this process."""
        seconds = self.updated_at - self.began_at
        return (self.progress.env_steps - self.start_steps) / seconds if seconds > 0 else 0.0

    def first_rollout(self) -> str:
        """Return how far the first rollouts are."""
        config = self.config
        if self.workers is None:
            return "first rollout"
        done = self.workers.first_steps()
        if done is None:
            return "first update"
        total = config.slots * config.num_envs * config.num_steps
        limit = "" if config.episodes else f" of {total:,}"
        return f"first rollout {done:,}{limit} steps"

    def state(self) -> RunState:
        """Return what the panel shows now."""
        since_s = max(0.0, time.time() - self.updated_at)
        return RunState(
            counts=self.counts(),
            returns=self.progress.returns,
            target=self.config.stop_at_return,
            curve=self.curve.values,
            elapsed_s=self.clock.train_s + since_s,
            left=[(max(0.0, seconds - since_s), name) for seconds, name in self.limits()],
            evaluation=self.evaluation,
            evaluates=self.config.eval_every > 0,
            scalars=self.scalars,
            spent_s=self.spent_s,
            workers=self.workers.alive() if self.workers else None,
            restarts=self.restarts,
            last_fault=self.progress.last_fault,
        )

    def counts(self) -> list[str]:
        """Return how far the run is, in words."""
        return [
            f"iteration {self.progress.iteration:,}",
            f"{self.progress.env_steps:,} of {self.config.total_steps:,} env steps",
            f"{self.rate:,.0f} steps/s",
        ]

    def limits(self) -> list[tuple[float, str]]:
        """Return what may end the run, and in how many seconds after the last update."""
        config, found = self.config, list[tuple[float, str]]()
        if self.rate:
            steps = config.total_steps - self.progress.env_steps
            found.append((steps / self.rate, "all steps"))
        if config.max_seconds is not None:
            found.append((config.max_seconds - self.clock.train_s, "--max-seconds"))
        if config.stop_at_return is not None:
            target = config.stop_at_return
            seconds = seconds_to(target, self.recent_at, self.recent_returns)
            if seconds is not None:
                found.append((seconds, f"return {target:g}, extrapolated"))
        return [(seconds, limit) for seconds, limit in found if seconds < MAX_AHEAD_S]
