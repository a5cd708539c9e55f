"""Running statistics that scale observations and rewards, for the single files."""

import argparse

import numpy as np

LIMIT = 10.0
"""What a scaled number is clipped to."""
TINY = 1e-8


class Moments:
    """Running mean and variance."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.mean = np.zeros(shape)
        self.var = np.ones(shape)
        self.count = TINY

    def add(self, batch: np.ndarray) -> None:
        """Take a batch [N, ...] in."""
        share = len(batch) / (self.count + len(batch))
        delta = batch.mean(0) - self.mean
        self.mean = self.mean + share * delta
        self.var = self.var + share * (batch.var(0) - self.var + (1 - share) * delta**2)
        self.count += len(batch)

    def scale(self, batch: np.ndarray) -> np.ndarray:
        """Divide by the standard deviation."""
        return np.clip(batch / np.sqrt(self.var + TINY), -LIMIT, LIMIT)


class Normalizer:
    """Scales observations to mean 0 and variance 1, rewards by the spread of their returns."""

    def __init__(self, options: argparse.Namespace, shape: tuple[int, ...]) -> None:
        self.active = options.normalize
        self.gamma = options.gamma
        self.obs_moments = Moments(shape)
        self.return_moments = Moments(())
        self.returns = np.zeros(options.n_envs)

    def obs(self, obs: np.ndarray, *, learn: bool = True) -> np.ndarray:
        """Return observations [N, ...], scaled."""
        if not self.active:
            return obs.astype(np.float32)
        if learn:
            self.obs_moments.add(obs)
        return self.obs_moments.scale(obs - self.obs_moments.mean).astype(np.float32)

    def rewards(self, rewards: np.ndarray, dones: np.ndarray) -> np.ndarray:
        """Return rewards [N], scaled."""
        if not self.active:
            return rewards.astype(np.float32)
        self.returns = self.gamma * self.returns + rewards
        self.return_moments.add(self.returns)
        self.returns[dones] = 0.0
        return self.return_moments.scale(rewards).astype(np.float32)
