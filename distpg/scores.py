"""Scores and lengths of episodes, which may begin in one rollout and end in another."""

from collections.abc import Iterable

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
        steps = len(over)
        # env after env, cut where an env or an episode begins
        ends = over.T.ravel()
        begins = np.arange(ends.size) % steps == 0
        begins[1:] |= ends[:-1]
        first = np.flatnonzero(begins)
        last = np.append(first[1:], ends.size) - 1
        scores = np.add.reduceat(rewards.T.ravel().astype(np.float64), first)
        lengths = np.add.reduceat(valid.T.ravel().astype(np.int64), first)
        carried, left = first % steps == 0, (last + 1) % steps == 0
        scores[carried] += self.score
        lengths[carried] += self.length
        ended = ends[last]
        self.score = np.where(ended, 0, scores)[left]
        self.length = np.where(ended, 0, lengths)[left]
        # an episode that a fault ended, or that is none of the rollout's, has no score
        counted = ended & valid.T.ravel()[last]
        env, t = np.divmod(last[counted], steps)
        order = np.lexsort((env, t))
        return scores[counted][order], lengths[counted][order]


def tear(
    valid: np.ndarray, before: np.ndarray, over: np.ndarray, faults: Iterable[tuple[int, int]]
) -> int:
    """Take the episodes that faults ended out of a rollout, as far as they are in it.

    Args:
        valid: [T, N] bool, changed in place.
        before: [N] bool: the first step resets.
        over: [T, N] bool: with this step an episode ends.
        faults: (t, env) of each, where `valid` is False already.

    Returns:
        Steps lost, those of the faults included where they were none that reset.
    """
    lost = np.count_nonzero(valid)
    for end, env in faults:
        start = int(over[:end, env].nonzero()[0].max(initial=-1)) + 1
        valid[start:end, env] = False
        lost += not (over[end - 1, env] if end else before[env])
    return int(lost - np.count_nonzero(valid))
