"""Room for a rollout while it is played: one array for each field, which grows by rows.

A segment's room is exact; that of whole episodes doubles when it is full. T steps, N envs.
"""

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from distpg.spaces import Obs, ObsSpec


@dataclass
class Recording:
    """Arrays that grow by rows while a rollout is played; `close` cuts them to what was."""

    obs: dict[str, np.ndarray]
    steps: dict[str, np.ndarray] = field(default_factory=dict[str, np.ndarray])

    @classmethod
    def of(cls, spec: ObsSpec, rows: int, num_envs: int, actions: np.ndarray) -> "Recording":
        """Make room for T = `rows` steps of actions like the [N, ...] ones given."""
        flags = dict.fromkeys(("terminated", "truncated", "valid"), np.dtype(bool))
        floats = dict.fromkeys(("logprobs", "rewards"), np.dtype(np.float32))
        steps: dict[str, np.ndarray] = {
            name: np.empty((rows, num_envs), dtype) for name, dtype in {**flags, **floats}.items()
        }
        steps["actions"] = np.empty((rows, *actions.shape), actions.dtype)
        obs = {
            leaf.name: np.empty((rows + 1, num_envs, *leaf.shape), leaf.dtype)
            for leaf in spec.leaves
        }
        return cls(obs, steps)

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

    def observed(self, t: int) -> dict[str, Tensor]:
        """Return row t for the policy: always in the same memory layout, which moves last bits."""
        return {name: torch.from_numpy(rows[t]) for name, rows in self.obs.items()}

    def put_step(self, t: int, **values: np.ndarray) -> None:
        """Copy the [N, ...] values of step t."""
        for name, value in values.items():
            self.steps[name][t] = value

    def close(self, rows: int) -> None:
        """Keep the first `rows` steps."""
        for name, array in self.steps.items():
            self.steps[name] = array[:rows]
        for name, array in self.obs.items():
            self.obs[name] = array[: rows + 1]
