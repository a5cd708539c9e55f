"""Rewards divided by the running standard deviation of the discounted return."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from distpg.records import Batch


class RewardScale:
    """Scales rewards to learn from; subtracts no mean.

    The running return of each (slot, env) is cut where its episode ends and skips steps that are
    not valid. Statistics take a batch in before they scale it: they do not act, so nothing goes
    stale.
    """

    def __init__(self, gamma: float, *, carry: bool) -> None:
        """Start from no data.

        Args:
            gamma: Discount per env step.
            carry: Whether an episode goes on from one batch to the next.
        """
        self.gamma = gamma
        self.carry = carry
        self.count, self.mean, self.variance = 0.0, 0.0, 1.0
        self.running = torch.zeros(0, dtype=torch.float64)

    def scale(self, batch: Batch) -> Tensor:
        """Take the batch's rewards [T, N] in and return them scaled, cut to [-10, 10]."""
        num_envs = batch.rewards.shape[1]
        rewards, valid, done = batch.rewards.double().cpu(), batch.valid.cpu(), batch.done.cpu()
        if not self.carry or len(self.running) != num_envs:
            self.running = torch.zeros(num_envs, dtype=torch.float64)
        returns = torch.zeros_like(rewards)
        for t in range(len(rewards)):
            ahead = self.gamma * self.running + rewards[t]
            # what is not valid resets, is padding, or belongs to an episode that was lost
            self.running = torch.where(valid[t], ahead, 0.0)
            returns[t] = self.running
            self.running = self.running * ~done[t]
        self._merge(returns[valid])
        return (batch.rewards / self.unit).clamp(-10, 10)

    @property
    def unit(self) -> float:
        """The reward that is scaled to 1."""
        return (self.variance + 1e-8) ** 0.5

    def _merge(self, fresh: Tensor) -> None:
        total = self.count + len(fresh)
        delta = float(fresh.mean()) - self.mean
        between = delta**2 * self.count * len(fresh) / total
        within = float(fresh.var(correction=0)) * len(fresh)
        self.variance = (self.variance * self.count + within + between) / total
        self.mean += delta * len(fresh) / total
        self.count = total

    def state(self) -> dict[str, np.ndarray]:
        """Return the statistics as arrays."""
        return {
            "statistics": np.array([self.count, self.mean, self.variance]),
            "running": self.running.numpy().copy(),
        }

    def load(self, state: Mapping[str, np.ndarray]) -> None:
        """Take the statistics back; without `running`, every env is at an episode's start."""
        self.count, self.mean, self.variance = (float(value) for value in state["statistics"])
        running = state.get("running")
        self.running = torch.tensor([] if running is None else running, dtype=torch.float64)
