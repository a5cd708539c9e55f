"""Expert interfaces: one that only demonstrates, and one that can be queried (Oracle)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from distpg.config.config import Config
from distpg.envs.make import EnvSource
from distpg.errors import InputError
from distpg.iteration import ProcessFaults
from distpg.policy.actor_critic import Policy
from distpg.records import Rollout, Weights
from distpg.rollout.attributes import EnvAttributes
from distpg.spaces import ActionSpec, ObsSpec
from distpg.train import PendingRollouts

Relabel = Callable[[Rollout], Rollout]
"""Replaces the actions of a rollout by the expert's."""


class RoundWorkers(Protocol):
    """Collects the rollouts of a round: rollout workers, or a dataset."""

    def collect(self, weights: Any, iteration: int) -> PendingRollouts:
        """Start a rollout of every slot with the given weights."""
        ...

    def faults(self) -> ProcessFaults:
        """Count the processes that were replaced so far."""
        ...

    def close(self, *, hurry: bool = False) -> list[str]:
        """Close the envs, and end the processes; as `Workers.close`."""
        ...


@dataclass(frozen=True)
class ImitationContext:
    """What experts and student share."""

    config: Config
    source: EnvSource
    student: Policy
    """For its spaces, and how it stores actions."""
    expert_rounds: int
    """Rounds in which the expert acts."""
    make_workers: Callable[[Config], RoundWorkers]
    """Starts rollout workers for the policy of some settings."""
    attributes: EnvAttributes
    """What watchers set in the environments."""


@dataclass(frozen=True)
class Demonstrator:
    """Who acts in a round, expert or student, and how the rollouts are labelled."""

    workers: RoundWorkers
    relabel: Relabel
    weights: Weights | None = None
    """What the workers act with; None means the student's weights."""


class Expert(Protocol):
    """An expert to imitate."""

    name: str
    by_workers: bool
    """Whether its rounds are collected by rollout workers."""

    def check(self, source: EnvSource, student: Policy) -> None:
        """Check that the expert fits the environment.

        Raises:
            InputError: it does not.
        """
        ...

    def demonstrator(self, context: ImitationContext) -> Demonstrator:
        """Return the workers of the expert's rounds, and how to relabel their rollouts."""
        ...


@runtime_checkable
class Oracle(Expert, Protocol):
    """An expert that can be queried at the student's states."""

    def relabeler(self, context: ImitationContext) -> Relabel:
        """Return a function that replaces the actions of a rollout by the expert's."""
        ...


def check_spaces(
    name: str, expert: tuple[ObsSpec, ActionSpec], source: EnvSource, student: Policy
) -> None:
    """Check that the expert has the spaces of the environment.

    Raises:
        InputError: they differ.
    """
    specs = (student.obs_spec, student.action_spec)
    if expert != specs:
        raise InputError(
            f"--expert: {name} has {format_spaces(*expert)}, but {source.name} has "
            f"{format_spaces(*specs)}; use the --env-id, --env-kwargs and "
            "--image-keys of the expert"
        )


def format_spaces(obs: ObsSpec, action: ActionSpec) -> str:
    """Write both spaces on one line."""
    leaves = ", ".join(
        f"{leaf.name} {leaf.dtype} {list(leaf.shape)} ({leaf.kind})" for leaf in obs.leaves
    )
    limits = f"of {list(action.sizes)}" if action.sizes else f"{list(action.shape)}"
    if action.low:
        limits += f" from {list(action.low)} to {list(action.high)}"
    return f"observations {leaves} and {action.kind} actions {limits}"
