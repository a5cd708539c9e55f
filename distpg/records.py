"""Records that travel: weights to the rollout workers, rollouts to the learner, its state to disk.

T steps, N envs of a slot, A action size, S size of the recurrent state, *O the shape of an
observation's leaf. Time is the first axis, envs the second, features the last. The driver of a run
needs no tensors, so torch is imported only when a batch is made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self

import numpy as np

if TYPE_CHECKING:
    import torch
    from torch import Tensor


class Size(Enum):
    """A size that a program does not fix."""

    ROWS = auto()
    """Of its inputs, [B, ...]."""


@dataclass(frozen=True)
class Register:
    """A value within a program."""

    number: int


class Operation(NamedTuple):
    """One of torch's operators."""

    name: str
    arguments: tuple[Any, ...]
    """Registers, constants, `Size.ROWS`, or tuples of these."""
    result: int
    """Number of the register."""


@dataclass(frozen=True)
class Program:
    """A function of arrays as a list of operations; `policy/operations.py` runs it."""

    inputs: Mapping[str, int]
    """By leaf of the observation, the number of its register."""
    arguments: tuple[int, ...]
    """Registers of what it takes besides."""
    weights: Mapping[str, int]
    """By name of the policy's array."""
    constants: Mapping[int, np.ndarray]
    """By register."""
    operations: tuple[Operation, ...]
    results: tuple[int, ...]
    num_registers: int


@dataclass(frozen=True)
class ActingPrograms:
    """How to act by NumPy, for B observations; `outputs` are those of the policy's head."""

    sample: Program
    """From {leaf: [B, *O]} and noise to actions, [B] or [B, A], and outputs [B, num_outputs]."""
    greedy: Program
    """From {leaf: [B, *O]} to actions without noise, and outputs."""
    log_prob: Program
    """From actions and outputs to log pi(a|s), [B]."""
    noise: Literal["exponential", "normal", "uniform"]
    """Distribution of the noise."""
    num_noise: int
    """Its size for each observation."""
    noise_steps: int
    """Steps for which it is held; 0 holds it for a whole rollout."""


@dataclass(frozen=True)
class Weights:
    """What a policy needs to act, normalizer included; `version` counts updates."""

    version: int
    arrays: Mapping[str, np.ndarray]
    acting: ActingPrograms | None = None
    """How to act without torch, if the policy is made of operations that NumPy has."""


@dataclass(frozen=True)
class Rollout:
    """The trajectories of one slot, unaltered."""

    obs: Mapping[str, np.ndarray]
    """{leaf: [T+1, N, *O]} as the env returned it; row t+1 is the true successor of row t."""
    state: np.ndarray
    """[N, S] float32 recurrent state at row 0; S = 0 for a feed-forward policy."""
    actions: np.ndarray
    """[T, N] int64 or [T, N, A] as sampled, before any clipping or squashing to bounds."""
    logprobs: np.ndarray
    """[T, N] float32 log pi(a|s) of the behaviour policy, summed over A."""
    rewards: np.ndarray
    """[T, N] float32 as returned by the env."""
    terminated: np.ndarray
    """[T, N] bool: the task ended; nothing is bootstrapped."""
    truncated: np.ndarray
    """[T, N] bool: the time ran out; bootstraps from V of the successor."""
    valid: np.ndarray
    """[T, N] bool: a real transition, neither a reset nor padding."""
    policy_version: int
    slot: int

    def __post_init__(self) -> None:
        """Check that all arrays agree on T and N."""
        steps = self.rewards.shape
        for name in ("logprobs", "terminated", "truncated", "valid"):
            assert getattr(self, name).shape == steps, f"{name} is not [T, N] = {steps}"
        assert self.actions.shape[:2] == steps, f"actions are not [T, N, ...] of {steps}"
        for name, leaf in self.obs.items():
            assert leaf.shape[:2] == (steps[0] + 1, steps[1]), f"obs {name} is not [T+1, N, ...]"
        assert self.state.shape[0] == steps[1], "state is not [N, S]"


@dataclass(frozen=True)
class RolloutStats:
    """Statistics of one rollout: small, and read by the driver."""

    slot: int
    env_steps: int
    """Valid transitions."""
    dropped_steps: int
    """Transitions that were simulated but are not valid: surplus, or of faulted episodes."""
    episode_returns: np.ndarray
    """[E] float64 undiscounted returns of the episodes that ended, in order of (t, env)."""
    episode_lengths: np.ndarray
    """[E] int64 env steps of each."""
    collect_s: float
    """Seconds in `collect`, of which in the env's `step`:"""
    step_s: float
    faults: tuple[str, ...] = ()
    """What envs raised, each with slot, env and step."""
    faulted_steps: int = 0
    """Transitions of the episodes that were dropped for it."""
    range_warnings: Mapping[str, str] = field(default_factory=dict[str, str])
    """By leaf, a warning about its values; of the first rollout of a process only."""
    reported: Sequence[Mapping[str, float]] = ()
    """What the env reported at the end of each episode that ended, by name; empty if nothing."""

    @property
    def episode_metrics(self) -> Sequence[Mapping[str, float]]:
        """What the env reported of each of the E episodes."""
        return self.reported or [{}] * len(self.episode_returns)


@dataclass(frozen=True)
class Batch:
    """The rollouts of an iteration as tensors, joined on the env axis in slot order."""

    obs: dict[str, Tensor]
    """{leaf: [T+1, N, *O]}"""
    state: Tensor
    """[N, S]"""
    actions: Tensor
    """[T, N] or [T, N, A]"""
    logprobs: Tensor
    """[T, N]"""
    rewards: Tensor
    """[T, N]"""
    terminated: Tensor
    """[T, N] bool"""
    truncated: Tensor
    """[T, N] bool"""
    valid: Tensor
    """[T, N] bool"""

    @classmethod
    def join(cls, rollouts: Sequence[Rollout], device: torch.device) -> Self:
        """Concatenate the slots on the env axis and move them to the device.

        Slots with fewer steps are padded with invalid ones that repeat their last observation.
        """
        import torch

        steps = max(len(rollout.rewards) for rollout in rollouts)

        def concatenated(arrays: list[np.ndarray], rows: int, mode: Any = "constant") -> Tensor:
            padded = [
                np.pad(array, [(0, rows - len(array))] + [(0, 0)] * (array.ndim - 1), mode)
                if len(array) < rows
                else array
                for array in arrays
            ]
            return torch.from_numpy(np.concatenate(padded, axis=1)).to(device)

        def field(name: str) -> Tensor:
            return concatenated([getattr(rollout, name) for rollout in rollouts], steps)

        obs = {
            leaf: concatenated([rollout.obs[leaf] for rollout in rollouts], steps + 1, "edge")
            for leaf in rollouts[0].obs
        }
        state = torch.from_numpy(np.concatenate([rollout.state for rollout in rollouts])).to(device)
        return cls(
            obs=obs,
            state=state,
            actions=field("actions"),
            logprobs=field("logprobs"),
            rewards=field("rewards"),
            terminated=field("terminated"),
            truncated=field("truncated"),
            valid=field("valid"),
        )

    @property
    def done(self) -> Tensor:
        """[T, N] bool: an episode ends with the step."""
        return self.terminated | self.truncated


@dataclass(frozen=True)
class LearnerState:
    """Everything that the next update depends on, besides the rollouts and the configuration."""

    policy: Weights
    arrays: Mapping[str, np.ndarray]
    """The critic's parameters, the optimizer's moments, the reward scale's statistics."""
    counters: Mapping[str, int]
    spaces: Mapping[str, Any]
    """Observations and actions, as `spaces_to_json` writes them."""
