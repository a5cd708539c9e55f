"""A run's clock: its milestones, and where its time went."""

import time
from collections.abc import Iterator
from dataclasses import fields

from distpg.iteration import Iteration, Phases, Scalars
from distpg.progress import Progress

SUMMED = tuple(x.name for x in fields(Phases) if x.name.endswith("_s") and x.type == "float")
"""Seconds of an iteration that add up over a run."""


class Clock:
    """Counts the seconds since a run was started, and those of each phase of training."""

    def __init__(self, started: float) -> None:
        """Count from a Unix time."""
        self.started = started
        self.startup_s = 0.0
        self.trained_s = 0.0
        """Seconds to the end of the last update."""
        self.totals = dict.fromkeys(SUMMED, 0.0)
        self.first_steps = self.env_steps = 0

    def now(self) -> float:
        """Seconds since the start."""
        return time.time() - self.started

    def begin(self, progress: Progress) -> None:
        """Note that training starts."""
        self.startup_s = self.trained_s = self.now()
        self.first_steps = self.env_steps = progress.env_steps

    def on_iteration(self, iteration: Iteration) -> Scalars:
        """Sum the phases; return the share of the simulation limit that the iteration reached.

        At the limit, nothing but stepping the envs of the slowest worker takes time.
        """
        before, self.trained_s = self.trained_s, iteration.updated_at - self.started
        self.env_steps = iteration.progress.env_steps
        for name in SUMMED:
            self.totals[name] += getattr(iteration.phases, name)
        share = iteration.phases.step_s / (self.trained_s - before)
        return {"perf/simulation_share": share}

    @property
    def train_s(self) -> float:
        """Seconds from the first collection to the end of the last update."""
        return self.trained_s - self.startup_s

    @property
    def steps_per_s(self) -> float:
        """Env steps per second of training."""
        return (self.env_steps - self.first_steps) / self.train_s if self.train_s else 0.0

    def spent(self, *, overlap: bool) -> dict[str, float]:
        """Return the seconds of training by phase; they add up to all of it.

        Stepping and acting are those of the worker that took longest. With overlap they happen
        during updates, and only the rest of them is waited for.
        """
        if not self.train_s:
            return {}
        total = self.totals
        collecting = {
            "stepping": total["step_s"],
            "acting": total["act_s"],
            "broadcast": total["collect_s"] - total["step_s"] - total["act_s"],
        }
        return {
            **({"waiting": total["collect_s"]} if overlap else collecting),
            "transfer": total["update_s"] - total["learner_s"],
            "preparation": total["prepare_s"],
            "epochs": total["learner_s"] - total["prepare_s"],
            "watchers": self.train_s - total["collect_s"] - total["update_s"],
        }

    @property
    def simulation_share(self) -> float:
        """Share of the simulation limit that the run reached."""
        return self.totals["step_s"] / self.train_s if self.train_s else 0.0


EXPLAINED = {
    "stepping": "the envs of the slowest worker",
    "acting": "policy inference and buffer writes",
    "broadcast": "weights to the workers, and their calls",
    "waiting": "for rollouts that are collected during updates",
    "transfer": "rollouts to the learner",
    "preparation": "the batch, V, the on-policy check",
    "epochs": "minibatches: gradients and steps",
    "watchers": "evaluation, checkpoints, TensorBoard, progress",
}


def time_table(spent: dict[str, float], share: float, steps_per_s: float) -> Iterator[str]:
    """Format what took how long."""
    total = sum(spent.values())
    for name, seconds in spent.items():
        yield f"{name:12} {seconds:9.2f} s {seconds / total:5.0%}  {EXPLAINED[name]}"
    yield (
        f"{'training':12} {total:9.2f} s        {steps_per_s:,.0f} env steps/s, "
        f"{share:.0%} of the simulation-bound maximum"
    )
