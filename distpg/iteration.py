"""One iteration as the driver and its watchers see it, in frozen records."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from types import MappingProxyType
from typing import Any, NamedTuple, Self

import numpy as np

from distpg.progress import Progress, metric_tag
from distpg.records import RolloutStats, Weights

Scalars = dict[str, float]
"""Numbers by their TensorBoard tag."""
EVALUATING = "evaluating (an episode may have no end; see --eval-max-steps)"
"""What a process does, in the message when it is late."""
COMPILING = "compiling the update for this machine, once; it takes 10 to 40 s"
STRAGGLES = 2.0
"""Times the median that makes a worker a straggler."""


class Placement(NamedTuple):
    """How a learner computes, by the names of the settings."""

    device: str
    learner_threads: int
    compile: str
    acting: str


class Package(NamedTuple):
    """A compiled function, and the key of everything that it depends on."""

    key: str
    content: bytes


Packages = Mapping[str, Package]
"""What an update calls, by name."""


class Collection(NamedTuple):
    """The rollouts of one iteration, in slot order, and their statistics."""

    rollouts: Sequence[Any]
    """`Rollout`s, or references to them on Ray."""
    by_worker: Sequence[Sequence[RolloutStats]]
    """Of each worker process, the statistics of its slots."""

    @property
    def stats(self) -> list[RolloutStats]:
        """The statistics of each slot, in slot order."""
        slots = [slot for worker in self.by_worker for slot in worker]
        return sorted(slots, key=lambda slot: slot.slot)


@dataclass(frozen=True)
class Update:
    """What a learner reports of one update, besides the new weights."""

    scalars: Scalars
    """Means over all minibatches, weighted by size, by TensorBoard tag."""
    rolled_back: bool = False
    """It produced NaN or inf: the policy is as before, and the batch is not trained on."""
    learner_s: float = 0.0
    """Seconds in `update`, of which preparing the batch:"""
    prepare_s: float = 0.0
    surrogate_gain: float | None = None
    """Mean over the steps of (ratio - 1) * A, in units of the return, if it was measured."""
    kl_term: float | None = None
    """Of the performance-difference bound, for an episode of one step, if it was measured."""
    histograms: Mapping[str, np.ndarray] = field(default_factory=dict[str, np.ndarray])
    """By TensorBoard tag, [K, 3] float64: left edge, right edge and count of each bin, if counts
    were due."""


@dataclass(frozen=True)
class Evaluation:
    """Returns and lengths of evaluation episodes, in order of (env, episode)."""

    returns: Sequence[float]
    lengths: Sequence[int]
    iteration: int | None = None
    """In the course of a run, the iteration after which the policy was as it was evaluated, and its
    env steps:"""
    env_steps: int | None = None
    cut_off: tuple[int, ...] = ()
    """The env of each episode that was cut off after `max_steps`; its return so far is counted."""
    max_steps: int = 0
    """The step limit of an episode."""
    reported: Sequence[Mapping[str, float]] = ()
    """What the env reported of each episode, by name; empty if nothing of any."""

    @property
    def mean_return(self) -> float:
        """Mean undiscounted return."""
        return float(np.mean(self.returns))

    @property
    def std_return(self) -> float:
        """Standard deviation of the returns."""
        return float(np.std(self.returns))

    @property
    def mean_length(self) -> float:
        """Mean length in env steps."""
        return float(np.mean(self.lengths))

    def warning(self) -> str:
        """Say which episodes were cut off; empty if none was."""
        if not self.cut_off:
            return ""
        envs = ", ".join(map(str, sorted(set(self.cut_off))))
        return (
            f"{len(self.cut_off)} of {len(self.returns)} evaluation episodes did not end within "
            f"{self.max_steps:,} steps and were cut off there (env {envs}); --eval-max-steps sets "
            "the limit"
        )

    def scalars(self) -> Scalars:
        """Summarize, by TensorBoard tag."""
        means = {metric_tag("eval", name): mean for name, mean in self.metrics.items()}
        return means | {
            "eval/mean_reward": self.mean_return,
            "eval/std_reward": self.std_return,
            "eval/mean_ep_length": self.mean_length,
            "eval/cut_off": len(self.cut_off),
        }

    @property
    def metrics(self) -> dict[str, float]:
        """By name, the mean of what the env reported, over the episodes of which it did."""
        names = dict.fromkeys(name for metrics in self.reported for name in metrics)
        return {
            name: float(np.mean([metrics[name] for metrics in self.reported if name in metrics]))
            for name in names
        }


@dataclass(frozen=True, kw_only=True)
class Response:
    """What a watcher answers to an iteration."""

    scalars: Mapping[str, float] = field(default_factory=Scalars)
    """Logged with the others, by TensorBoard tag."""
    stop: str = ""
    """Why the run is to end after this iteration; `stop_reason` in `result.json`."""
    checkpoint: bool = False
    """Save a checkpoint after this iteration."""
    evaluate: bool = False
    """Evaluate the policy as it is after this iteration; the result is in the record of the one
    that is `--eval-delay` later."""
    env: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Attributes to set in every copy of the environment, from the next rollouts that have not
    begun; values are numbers, strings, booleans, lists or dictionaries of these."""
    eval_env: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Attributes to set in the copies for evaluation, from the next evaluation on."""


@dataclass(frozen=True)
class ProcessFaults:
    """Processes that were lost and replaced so far, and the work that was done again."""

    worker_restarts: int = 0
    learner_restarts: int = 0
    lost_with_node: int = 0
    """Times that processes or their results were lost with a node."""
    reissued_slots: int = 0
    """Rollouts that were collected again."""

    def __add__(self, other: ProcessFaults) -> ProcessFaults:
        sums = {x.name: getattr(self, x.name) + getattr(other, x.name) for x in fields(self)}
        return ProcessFaults(**sums)


@dataclass(frozen=True)
class Phases:
    """The seconds of an iteration, and what each worker process did with them."""

    evaluate_s: float
    """The loop waited for an evaluation."""
    collect_s: float
    """It waited for rollouts."""
    step_s: float
    """Stepping of the worker that took longest; with `act_s`, its policy and buffer."""
    act_s: float
    broadcast_s: float
    """What it did not need of `collect_s`; 0 when it collected during an update."""
    idle_s: float
    """The other workers waited for it, on average."""
    update_s: float
    """It waited for the learner."""
    learner_s: float
    """The update itself, of which preparing the batch:"""
    prepare_s: float
    slowest: int
    """The worker that took longest."""
    stragglers: int
    """Workers that took over twice the median."""
    barrier_wait_s: tuple[float, ...]
    """Each worker waited for the slowest."""

    @classmethod
    def of(
        cls,
        by_worker: Sequence[Sequence[RolloutStats]],
        update: Update,
        collect_s: float,
        update_s: float,
        evaluate_s: float = 0.0,
    ) -> Phases:
        """Split the seconds that the loop waited for rollouts, the learner and an evaluation."""
        # one that is being replaced, or has not joined, has collected nothing
        busy_s = {
            number: sum(slot.collect_s for slot in worker)
            for number, worker in enumerate(by_worker)
            if worker
        }
        slowest = max(busy_s, key=busy_s.__getitem__)
        straggles = STRAGGLES * statistics.median_low(busy_s.values())
        step_s = sum(slot.step_s for slot in by_worker[slowest])
        return cls(
            evaluate_s=evaluate_s,
            collect_s=collect_s,
            step_s=step_s,
            act_s=busy_s[slowest] - step_s,
            broadcast_s=max(0.0, collect_s - busy_s[slowest]),
            idle_s=busy_s[slowest] - sum(busy_s.values()) / len(busy_s),
            update_s=update_s,
            learner_s=update.learner_s,
            prepare_s=update.prepare_s,
            slowest=slowest,
            stragglers=sum(seconds > straggles for seconds in busy_s.values()),
            barrier_wait_s=tuple(
                busy_s[slowest] - busy_s.get(number, busy_s[slowest])
                for number in range(len(by_worker))
            ),
        )

    def scalars(self) -> Scalars:
        """Return them by TensorBoard tag."""
        seconds = ("collect_s", "step_s", "act_s", "broadcast_s", "idle_s", "update_s")
        of_learner = ("learner_s", "prepare_s")
        scalars: Scalars = {f"perf/{x}": getattr(self, x) for x in (*seconds, *of_learner)}
        return {**scalars, "workers/slowest": self.slowest}


@dataclass(frozen=True)
class Iteration:
    """What watchers see of one iteration."""

    progress: Progress
    """Counters of the run, this iteration included."""
    collection: Collection
    """The rollouts' statistics, and handles to the rollouts."""
    update: Update
    """What the learner reports of the update."""
    evaluation: Evaluation | None
    """The evaluation of an earlier policy, which says its iteration, if its result takes effect
    now: it was begun `--eval-delay` iterations ago."""
    weights: Callable[[], Weights]
    """Returns the policy after the update; nothing is copied until it is called."""
    faults: ProcessFaults
    """Processes that were replaced since the start of the run, or its resume."""
    phases: Phases
    """Where the seconds went."""
    updated_at: float
    """Unix time at which the update ended."""
    scalars: Mapping[str, float] = field(default_factory=Scalars)
    """All of the above by TensorBoard tag, and what earlier watchers returned."""

    def __post_init__(self) -> None:
        """Freeze the scalars, too."""
        object.__setattr__(self, "scalars", MappingProxyType(dict(self.scalars)))

    def adding(self, scalars: Mapping[str, float] | None) -> Self:
        """Return the same with more scalars."""
        return replace(self, scalars={**self.scalars, **scalars}) if scalars else self
