"""Returns and lengths of episodes, which may start in one rollout and end in another."""

from collections.abc import Iterable

import numpy as np


class EpisodeReturns:
    """Running returns and lengths of N unfinished episodes, carried between rollouts."""

    def __init__(self, num_envs: int) -> None:
        """Start N episodes."""
        self.returns = np.zeros(num_envs)
        """[N] float64 rewards so far."""
        self.lengths = np.zeros(num_envs, np.int64)
        """[N] steps so far."""

    def finish(
        self, rewards: np.ndarray, valid: np.ndarray, needs_reset: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, list[tuple[int, int]]]:
        """Add a rollout, and return the episodes that end in it.

        Args:
            rewards: [T, N] 0 where a step is not valid.
            valid: [T, N] bool.
            needs_reset: [T, N] bool: an episode ends with this step.

        Returns:
            returns: [E] float64 undiscounted, in order of (t, env).
            lengths: [E] int64 valid steps.
            ends: (t, env) of the last step of each.
        """
        steps = len(needs_reset)
        # env after env, split where an env or an episode begins
        ends = needs_reset.T.ravel()
        begins = np.arange(ends.size) % steps == 0
        begins[1:] |= ends[:-1]
        first = np.flatnonzero(begins)
        last = np.append(first[1:], ends.size) - 1
        returns = np.add.reduceat(rewards.T.ravel().astype(np.float64), first)
        lengths = np.add.reduceat(valid.T.ravel().astype(np.int64), first)
        carried, unfinished = first % steps == 0, (last + 1) % steps == 0
        returns[carried] += self.returns
        lengths[carried] += self.lengths
        ended = ends[last]
        self.returns = np.where(ended, 0, returns)[unfinished]
        self.lengths = np.where(ended, 0, lengths)[unfinished]
        # an episode that ended in a fault, or after the rollout's last episode, is not counted
        counted = ended & valid.T.ravel()[last]
        env, t = np.divmod(last[counted], steps)
        order = np.lexsort((env, t))
        ends = [*zip(t[order].tolist(), env[order].tolist(), strict=True)]
        return returns[counted][order], lengths[counted][order], ends


def invalidate_faulted(
    valid: np.ndarray,
    first_resets: np.ndarray,
    needs_reset: np.ndarray,
    faults: Iterable[tuple[int, int]],
) -> int:
    """Mark the episodes that ended in an env fault as invalid, within this rollout.

    Args:
        valid: [T, N] bool, changed in place.
        first_resets: [N] bool: the first step resets the env.
        needs_reset: [T, N] bool: an episode ends with this step.
        faults: (t, env) of each; `valid` is False there already.

    Returns:
        Transitions lost, those of the faults included unless they were resets.
    """
    lost = np.count_nonzero(valid)
    for end, env in faults:
        start = int(needs_reset[:end, env].nonzero()[0].max(initial=-1)) + 1
        valid[start:end, env] = False
        lost += not (needs_reset[end - 1, env] if end else first_resets[env])
    return int(lost - np.count_nonzero(valid))
