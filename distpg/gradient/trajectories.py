"""The trajectories of a batch, as Psi is computed from them, and where their episodes start."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Trajectories:
    """Rewards, values and flags of a batch; every tensor [T, N]."""

    rewards: Tensor
    """As trained on: as returned by the env, scaled, or their sign."""
    values: Tensor
    """V(s_t) of the critic before the update, or before the epoch if they are recomputed; zeros
    without a critic."""
    next_values: Tensor
    """V(s_{t+1}) of the same critic, before any reset."""
    terminated: Tensor
    truncated: Tensor
    valid: Tensor
    ratios: Tensor | None = None
    """pi(a|s) of the target policy over that of the behaviour policy, if they differ."""

    @property
    def valued(self) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Arguments of a Psi that bootstraps from V."""
        return self.rewards, self.values, self.next_values, self.terminated, self.truncated

    @property
    def unvalued(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Arguments of a return, which bootstraps from V only if the episode was truncated."""
        return self.rewards, self.next_values, self.terminated, self.truncated

    @property
    def done(self) -> Tensor:
        """[T, N] bool: the episode ends with this step."""
        return self.terminated | self.truncated


def without_undefined(values: Tensor, valid: Tensor) -> Tensor:
    """Set [T+1, N] values to 0 where no valid step starts or ends.

    A NaN beyond an env's last episode would pass through factors of 0.
    """
    nowhere = torch.zeros_like(valid[:1])
    met = torch.cat([valid, nowhere]) | torch.cat([nowhere, valid])
    return values.masked_fill(~met, 0)


def episode_starts(done: Tensor, valid: Tensor) -> Tensor:
    """Mark the first valid step of each episode, [T, N] bool; the first row starts one too."""
    starts = valid.clone()
    starts[1:] &= ~(valid & ~done)[:-1]
    return starts


def episode_index(done: Tensor, valid: Tensor) -> Tensor:
    """Number the episodes of a batch, [T, N] int64; -1 if a step is not valid."""
    starts = episode_starts(done, valid)
    in_column = starts.cumsum(0) - 1
    first = starts.sum(0).cumsum(0) - starts.sum(0)
    return torch.where(valid, in_column + first, -1)


def episode_times(done: Tensor, valid: Tensor) -> Tensor:
    """Count the steps of each episode from 0, [T, N] int64; -1 if a step is not valid."""
    starts = episode_starts(done, valid)
    times = torch.full_like(valid, -1, dtype=torch.int64)
    elapsed = torch.zeros_like(times[0])
    for t in range(len(valid)):
        elapsed = elapsed.masked_fill(starts[t], 0)
        times[t] = torch.where(valid[t], elapsed, -1)
        elapsed = elapsed + 1
    return times
