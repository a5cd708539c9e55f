"""Room for a rollout while it is played: one array for each field, which grows by rows.

A segment's room is exact; that of whole episodes doubles when it is full. T steps, N envs.
"""

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from distpg.config import Config
from distpg.envs.vector_env import Step
from distpg.errors import RunError
from distpg.policy.actor_critic import Policy
from distpg.spaces import ActionSpec, Obs


@dataclass
class Recording:
    """Arrays that grow by rows while a rollout is played; `close` cuts them to what was."""

    slot: int
    is_masked: bool
    actions: ActionSpec
    obs: dict[str, np.ndarray]
    steps: dict[str, np.ndarray] = field(default_factory=dict[str, np.ndarray])

    @classmethod
    def of(cls, policy: Policy, config: Config, slot: int) -> "Recording":
        """Make room for T steps of what a policy sees and does, as configured."""
        rows, num_envs = shape = (config.num_steps, config.num_envs)
        kind = policy.action_spec
        flags = ("terminated", "truncated", "over", "valid")
        steps: dict[str, np.ndarray] = {name: np.empty(shape, bool) for name in flags}
        steps["rewards"] = np.empty(shape, np.float32)
        steps["actions"] = np.empty((*shape, *kind.stored_shape), kind.stored_dtype)
        steps["outputs"] = np.empty((*shape, policy.num_outputs), np.float32)
        obs = {
            leaf.name: np.empty((rows + 1, num_envs, *leaf.shape), leaf.dtype)
            for leaf in policy.obs_spec.leaves
        }
        return cls(slot, policy.is_masked, kind, obs, steps)

    def make_room(self, t: int) -> None:
        """Double the room if row t is beyond it."""
        if t == len(self.steps["rewards"]):
            for arrays in (self.obs, self.steps):
                for name, array in arrays.items():
                    arrays[name] = np.concatenate([array, np.empty_like(array)])

    def put_obs(self, t: int, obs: Obs) -> None:
        """Copy [N, *O] observations into row t."""
        for name, leaf in obs.items():
            self.obs[name][t] = leaf

    def observed(self, t: int, over: np.ndarray) -> tuple[dict[str, Tensor], Tensor]:
        """Return row t for the policy: always in the same memory layout, which moves last bits.

        Args:
            t: The step to take.
            over: [N] bool: it resets this env; returned as a tensor.

        Raises:
            RunError: a mask allows no action.
        """
        row = {name: rows[t] for name, rows in self.obs.items()}
        if self.is_masked and (stuck := self.actions.forbidden(row) & ~over).any():
            raise RunError(
                f"slot {self.slot}, env {stuck.argmax()}: at step {t} of the rollout its action "
                "mask allows no action"
            )
        return {name: torch.from_numpy(leaf) for name, leaf in row.items()}, torch.from_numpy(over)

    def put_step(self, t: int, step: Step, **values: np.ndarray) -> None:
        """Copy the [N, ...] values of step t, those that the env gave and others."""
        for name in ("rewards", "terminated", "truncated", "over"):
            self.steps[name][t] = getattr(step, name)
        for name, value in values.items():
            self.steps[name][t] = value

    def close(self, rows: int) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Return observations and steps of the first `rows` steps."""
        obs = {name: array[: rows + 1] for name, array in self.obs.items()}
        return obs, {name: array[:rows] for name, array in self.steps.items()}
