"""Rollout buffer: one preallocated array per field.

A segment fits exactly; for whole episodes the arrays double when they are full. T steps, N envs.
Log-probabilities are computed for many steps at once.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from distpg.config.config import Config
from distpg.envs.vector_env import Step
from distpg.policy.behaviour import BehaviourPolicy, HasSpaces
from distpg.spaces import Obs

OUTPUTS = 2**24
"""Outputs of the policy that are kept at most, until log-probabilities are computed from them."""


@dataclass
class RolloutBuffer:
    """Arrays by name, time first; `close` trims them to the steps that were collected."""

    obs: dict[str, np.ndarray]
    """{leaf: [T+1, N, *O]}"""
    steps: dict[str, np.ndarray] = field(default_factory=dict[str, np.ndarray])
    """[T, N, ...] each"""

    @classmethod
    def of(cls, spaces: HasSpaces, config: Config) -> "RolloutBuffer":
        """Allocate `num_steps` rows of what the policy observes, does and receives."""
        rows, num_envs = shape = (config.num_steps, config.num_envs)
        actions = spaces.action_spec
        flags = ("terminated", "truncated", "needs_reset", "valid")
        steps: dict[str, np.ndarray] = {name: np.empty(shape, bool) for name in flags}
        steps["rewards"] = np.empty(shape, np.float32)
        steps["actions"] = np.empty((*shape, *actions.stored_shape), actions.stored_dtype)
        obs = {
            leaf.name: np.empty((rows + 1, num_envs, *leaf.shape), leaf.dtype)
            for leaf in spaces.obs_spec.leaves
        }
        return cls(obs, steps)

    def make_room(self, t: int) -> None:
        """Double the arrays if row t is beyond their end."""
        if t == len(self.steps["rewards"]):
            for arrays in (self.obs, self.steps):
                for name, array in arrays.items():
                    arrays[name] = np.concatenate([array, np.empty_like(array)])

    def put_obs(self, t: int, obs: Obs) -> None:
        """Copy [N, *O] observations into row t."""
        for name, leaf in obs.items():
            self.obs[name][t] = leaf

    def row(self, t: int) -> Obs:
        """Return the observations of row t: always in the same memory layout, which moves bits."""
        return {name: rows[t] for name, rows in self.obs.items()}

    def put_step(self, t: int, step: Step, **values: np.ndarray) -> None:
        """Copy the [N, ...] values of step t: those of the env, and others."""
        for name in ("rewards", "terminated", "truncated", "needs_reset"):
            self.steps[name][t] = getattr(step, name)
        for name, value in values.items():
            self.steps[name][t] = value

    def close(self, rows: int) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Return the observations and the fields of the first `rows` steps."""
        obs = {name: array[: rows + 1] for name, array in self.obs.items()}
        return obs, {name: array[:rows] for name, array in self.steps.items()}


class RecordedPolicy:
    """A policy that acts, and the log-probabilities of its actions."""

    def __init__(self, behaviour: BehaviourPolicy) -> None:
        """Take the policy."""
        self.behaviour = behaviour
        self.waiting: list[tuple[np.ndarray, np.ndarray]] = []
        self.done: list[np.ndarray] = []

    def act(self, obs: Obs, needs_reset: np.ndarray, generator: Any) -> np.ndarray:
        """Return the actions of N envs as sampled, [N] or [N, A]."""
        actions, outputs = self.behaviour.act(obs, needs_reset, generator)
        self.waiting.append((actions, outputs))
        if (len(self.waiting) + 1) * outputs.size > OUTPUTS:
            self._compute()
        return actions

    def logprobs(self) -> np.ndarray:
        """Return log pi(a|s) of all steps, [T, N]."""
        if self.waiting:
            self._compute()
        return np.concatenate(self.done)

    def _compute(self) -> None:
        actions, outputs = (np.stack(steps) for steps in zip(*self.waiting, strict=True))
        self.done.append(self.behaviour.log_prob(actions, outputs))
        self.waiting.clear()
