"""What an expert is: somebody who acts in rounds of its own, and may be asked about others'."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from distpg.config.config import Config
from distpg.envs.make import EnvSource
from distpg.errors import InputError
from distpg.policy.actor_critic import Policy
from distpg.records import Rollout, Weights
from distpg.spaces import ActionSpec, ObsSpec


@dataclass(frozen=True)
class ImitationContext:
    """What it takes to act."""

    config: Config
    source: EnvSource
    student: Policy
    """For its spaces, and how it stores actions."""
    expert_rounds: int
    """Rounds in which the expert acts."""
    make_workers: Callable[[Config], Any]
    """Starts rollout workers for the policy of some settings."""


@dataclass(frozen=True)
class Demonstrator:
    """Who acts."""

    workers: Any
    """Play the slots."""
    label: Callable[[Rollout], Rollout]
    """Puts the expert's actions in the place of those that were taken."""
    weights: Weights | None = None
    """What the workers act with, where that is not the student's."""


class Expert(Protocol):
    """Somebody to imitate."""

    name: str
    by_workers: bool
    """Whether rollout workers play its rounds."""

    def check(self, source: EnvSource, student: Policy) -> None:
        """Refuse an environment that is not the expert's.

        Raises:
            InputError: names both.
        """
        ...

    def demonstrator(self, context: ImitationContext) -> Demonstrator:
        """Say how its own rounds are played."""
        ...


@runtime_checkable
class Oracle(Expert, Protocol):
    """An expert that can be asked."""

    def relabeler(self, context: ImitationContext) -> Callable[[Rollout], Rollout]:
        """Return what puts its actions in the place of those that were taken."""
        ...


def check_spaces(
    name: str, own: tuple[ObsSpec, ActionSpec], source: EnvSource, student: Policy
) -> None:
    """Refuse an expert of other spaces than the environment's.

    Raises:
        InputError: names both.
    """
    specs = (student.obs_spec, student.action_spec)
    if own != specs:
        raise InputError(
            f"--expert: {name} {spelt(*own)}, but {source.name} {spelt(*specs)}; give the --env-id "
            "and --env-kwargs that it knows"
        )


def spelt(obs: ObsSpec, action: ActionSpec) -> str:
    """Write spaces in a line."""
    seen = ", ".join(f"{leaf.name} {leaf.dtype} {list(leaf.shape)}" for leaf in obs.leaves)
    limits = f"of {list(action.sizes)}" if action.sizes else f"{list(action.shape)}"
    if action.low:
        limits += f" from {list(action.low)} to {list(action.high)}"
    return f"observes {seen} and acts {action.kind} {limits}"
