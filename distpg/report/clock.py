"""Timing of a run: start-up, training, and the time spent in each phase."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any

from distpg.iteration import Iteration, Phases, Scalars
from distpg.progress import Progress

SECONDS = tuple(x.name for x in fields(Phases) if x.name.endswith("_s") and x.type == "float")
"""Fields of `Phases` that are summed over a run."""

MAX_S = 1e10
"""More than a run takes."""


class Clock:
    """Measures the seconds of a run, all its parts, and those of each phase of training.

    A part that is resumed from a checkpoint counts until the last update before it.
    """

    def __init__(self, started: float) -> None:
        """Initialize with the Unix time of the start."""
        self.started = started
        self.startup_s = 0.0
        """Seconds from the start, and from each resume, to the first collection."""
        self.trained_s = 0.0
        """Seconds until the end of the last update."""
        self.totals = dict.fromkeys(SECONDS, 0.0)
        self.last: Phases | None = None
        """Of the last iteration."""
        self.last_s = 0.0
        """Seconds from the end of the update before to the end of the last one."""
        self.progress = Progress()
        """After the last update."""

    def now(self) -> float:
        """Return the seconds so far."""
        return time.time() - self.started

    def begin(self, progress: Progress) -> None:
        """Record the start of training, or its resume."""
        self.startup_s += self.now() - self.trained_s
        self.trained_s, self.progress = self.now(), progress

    def state(self) -> dict[str, Any]:
        """Return what a resumed run counts on from, as JSON values."""
        return {
            "startup_s": self.startup_s,
            "trained_s": self.trained_s,
            "totals": dict(self.totals),
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Count on from what `state` returned."""
        self.startup_s, self.trained_s = float(state["startup_s"]), float(state["trained_s"])
        if not 0 <= self.startup_s <= self.trained_s < MAX_S:
            raise ValueError(f"{self.startup_s} and {self.trained_s} are no seconds of a run")
        self.totals = {name: float(state["totals"][name]) for name in SECONDS}
        self.started -= self.trained_s

    def on_iteration(self, iteration: Iteration) -> Scalars:
        """Sum the phases; return rate, time and the share of the simulation-bound maximum.

        At the maximum, all time is spent stepping the envs of the slowest worker.
        """
        before, self.trained_s = self.trained_s, iteration.updated_at - self.started
        self.last, self.last_s = iteration.phases, self.trained_s - before
        self.progress = iteration.progress
        for name in SECONDS:
            self.totals[name] += getattr(iteration.phases, name)
        return {
            "perf/simulation_share": iteration.phases.step_s / self.last_s,
            "time/fps": self.steps_per_s,
            "time/iterations": self.progress.iteration,
            "time/time_elapsed": self.train_s,
            "time/total_timesteps": self.progress.env_steps,
        }

    @property
    def train_s(self) -> float:
        """Seconds of training: from the first collection to the end of the last update."""
        return self.trained_s - self.startup_s

    @property
    def steps_per_s(self) -> float:
        """Env steps per second of training."""
        return self.progress.env_steps / self.train_s if self.train_s else 0.0

    def spent(self, *, overlap: bool, evaluates: bool = False) -> dict[str, float]:
        """Return the seconds of training by phase, as `split` does."""
        if not self.train_s:
            return {}
        return split(self.totals, self.train_s, overlap=overlap, evaluates=evaluates)

    def stacked(self, *, overlap: bool, evaluates: bool = False) -> Scalars:
        """Return the shares of the last iteration's seconds, each with those before it.

        By TensorBoard tag, in the order of the phases: the last share is 1.
        """
        assert self.last, "no iteration has ended"
        spent = split(vars(self.last), self.last_s, overlap=overlap, evaluates=evaluates)
        scalars, total = Scalars(), 0.0
        for number, phase in enumerate(DESCRIPTIONS, start=1):
            if phase in spent:
                word = "and_" if scalars else ""
                total += spent[phase] / self.last_s
                scalars[f"time_share/{number}_{word}{phase}"] = total
        return scalars

    @property
    def simulation_share(self) -> float:
        """The run's share of the simulation-bound maximum."""
        return self.totals["step_s"] / self.train_s if self.train_s else 0.0


def split(
    seconds: Mapping[str, float], total_s: float, *, overlap: bool, evaluates: bool
) -> dict[str, float]:
    """Split seconds of training by phase; they sum to the total.

    Stepping and acting are those of the slowest worker. With overlap they happen during updates,
    and "waiting" is the time by which they exceed them.

    Args:
        seconds: By name of a field of `Phases`.
        total_s: All seconds; watchers took what the phases did not.
        overlap: Whether rollouts are collected during updates.
        evaluates: Whether there are evaluations to wait for.
    """
    measured = seconds["collect_s"] + seconds["update_s"] + seconds["evaluate_s"] * evaluates
    collecting = {
        "stepping": seconds["step_s"],
        "acting": seconds["act_s"],
        "broadcast": seconds["collect_s"] - seconds["step_s"] - seconds["act_s"],
    }
    return {
        **({"waiting": seconds["collect_s"]} if overlap else collecting),
        "transfer": seconds["update_s"] - seconds["learner_s"],
        "preparation": seconds["prepare_s"],
        "epochs": seconds["learner_s"] - seconds["prepare_s"],
        "watchers": total_s - measured,
        **({"evaluation": seconds["evaluate_s"]} if evaluates else {}),
    }


DESCRIPTIONS = {
    "stepping": "the envs of the slowest worker",
    "acting": "policy inference and buffer writes",
    "broadcast": "weights to the workers, remote calls",
    "waiting": "for rollouts that are collected during updates",
    "transfer": "rollouts to the learner",
    "preparation": "the batch, V, the on-policy check",
    "epochs": "minibatch gradients and optimizer steps",
    "watchers": "checkpoints, TensorBoard, progress",
    "evaluation": "waiting for a result",
}


def time_table(spent: dict[str, float], share: float, steps_per_s: float) -> Iterator[str]:
    """Format the time spent in each phase as lines of text.

    Args:
        spent: Seconds by phase, from `Clock.spent`.
        share: Share of the simulation-bound maximum.
        steps_per_s: Env steps per second of training.
    """
    total = sum(spent.values())
    for name, seconds in spent.items():
        yield f"{name:12} {seconds:9.2f} s {seconds / total:5.0%}  {DESCRIPTIONS[name]}"
    yield (
        f"{'training':12} {total:9.2f} s        {steps_per_s:,.0f} env steps/s, "
        f"{share:.0%} of the simulation-bound maximum"
    )
