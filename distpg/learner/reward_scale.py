"""Reward scaling: rewards divided by the running standard deviation of the discounted return."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from distpg.policy.moments import Moments
from distpg.records import Batch


class RewardScale:
    """Scales the rewards that are trained on; subtracts no mean.

    The running return of each (slot, env) restarts when its episode ends, and skips steps that are
    not valid. Statistics include a batch before they scale it: they do not affect acting, so
    nothing becomes stale.
    """

    def __init__(self, gamma: float, *, carry: bool, clip: float = 10.0) -> None:
        """Start from no data.

        Args:
            gamma: Discount per env step.
            carry: Whether episodes continue from one batch to the next.
            clip: Scaled rewards are clipped to [-clip, clip].
        """
        self.gamma = gamma
        self.carry = carry
        self.clip = clip
        self.moments = Moments.of_nothing()
        """Of the discounted returns."""
        self.running = np.zeros(0)
        """[N] returns of the unfinished episodes."""

    def scale(self, batch: Batch) -> Tensor:
        """Add the batch's rewards [T, N] to the statistics; return them scaled and clipped."""
        num_envs = batch.rewards.shape[1]
        tensors = batch.rewards.double(), batch.valid, batch.done
        rewards, valid, done = (tensor.numpy(force=True) for tensor in tensors)
        if not self.carry or len(self.running) != num_envs:
            self.running = np.zeros(num_envs)
        returns = np.zeros_like(rewards)
        for t in range(len(rewards)):
            ahead = self.gamma * self.running + rewards[t]
            # a step that is not valid is a reset, padding, or of an episode that was dropped
            returns[t] = np.where(valid[t], ahead, 0.0)
            self.running = returns[t] * ~done[t]
        self.moments = self.moments.merged(torch.from_numpy(returns[valid]))
        return (batch.rewards / self.unit).clamp(-self.clip, self.clip)

    @property
    def unit(self) -> float:
        """The reward that is scaled to 1."""
        return (float(self.moments.variance) + 1e-8) ** 0.5

    def state(self) -> dict[str, np.ndarray]:
        """Return the statistics as arrays."""
        return {
            "statistics": torch.stack([*vars(self.moments).values()]).numpy(),
            "running": self.running.copy(),
        }

    def load(self, state: Mapping[str, np.ndarray]) -> None:
        """Restore what `state` returned; without `running`, all envs are at an episode's start."""
        count, mean, variance = torch.tensor(state["statistics"], dtype=torch.float64)
        self.moments = Moments(count, mean, variance)
        running = state.get("running")
        self.running = np.array([] if running is None else running, np.float64)
