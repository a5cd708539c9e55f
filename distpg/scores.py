"""Scores and lengths of episodes, which may begin in one rollout and end in another."""

import numpy as np


class Scores:
    """What each of N envs has of the episode under way, from one rollout to the next."""

    def __init__(self, num_envs: int) -> None:
        """Start with no episode under way."""
        self.score = np.zeros(num_envs)
        """[N] float64 rewards so far."""
        self.length = np.zeros(num_envs, np.int64)
        """[N] steps so far."""

    def take_in(
        self, rewards: np.ndarray, valid: np.ndarray, over: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Count the episodes that end in a rollout.

        Args:
            rewards: [T, N] 0 where a step is not valid.
            valid: [T, N] bool.
            over: [T, N] bool: with this step an episode ends.

        Returns:
            scores: [E] float64 undiscounted, in order of (t, env).
            lengths: [E] int64 valid steps.
        """
        rewards = rewards.astype(np.float64)
        starts = np.zeros(len(self.score), np.int64)
        scores, lengths = list[float](), list[int]()
        for t, env in np.argwhere(over & valid):
            rows = slice(starts[env], t + 1)
            scores.append(self.score[env] + rewards[rows, env].sum())
            lengths.append(int(self.length[env] + valid[rows, env].sum()))
            self.score[env] = self.length[env] = 0
            starts[env] = t + 1
        under_way = np.arange(len(valid))[:, None] >= starts
        self.score += np.where(under_way, rewards, 0).sum(0)
        self.length += (under_way & valid).sum(0)
        return np.array(scores, np.float64), np.array(lengths, np.int64)
