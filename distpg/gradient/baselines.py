"""Baselines: subtracted from a return, they lower the variance of the gradient and add no bias.

A baseline must not depend on the action that it is subtracted for. A mean over the batch does,
through the sample's own return, and shrinks the gradient by (1 - 1/N); so each episode is compared
with the mean of the *others* (leave-one-out).
"""

from collections.abc import Callable

import torch
from torch import Tensor

from distpg.config.settings import GradientSettings
from distpg.gradient.trajectories import Trajectories, episode_index, episode_times


def mean_of_others(returns: Tensor, episodes: Tensor, *, per_episode: bool) -> Tensor:
    """Average the returns over the other episodes of the batch.

    Args:
        returns: [T, N] of each step.
        episodes: [T, N] int64 number of each step's episode, -1 if a step is not valid; at least
            one is.
        per_episode: Whether each episode counts once, instead of each step.

    Returns:
        [T, N] baseline, equal over an episode; 0 if there is no other, or a step is not valid.
    """
    valid = episodes >= 0
    index = episodes[valid]
    lengths = torch.bincount(index)
    if len(lengths) == 1:
        return torch.zeros_like(returns)
    weights = torch.ones_like(returns[valid])
    if per_episode:
        weights /= lengths[index]
    zeros = returns.new_zeros(len(lengths))
    own_sum = zeros.index_add(0, index, weights * returns[valid])
    own_weight = zeros.index_add(0, index, weights)
    others = (own_sum.sum() - own_sum) / (own_weight.sum() - own_weight)
    return torch.where(valid, others[episodes.clamp(min=0)], 0.0)


def time_mean_of_others(returns: Tensor, times: Tensor) -> Tensor:
    """Average the returns at each time step over the other episodes that reached it.

    Args:
        returns: [T, N] of each step.
        times: [T, N] int64 steps since the episode began, -1 if a step is not valid; at least one
            step is.

    Returns:
        [T, N] baseline; 0 if no other episode got so far, or a step is not valid.
    """
    valid = times >= 0
    index, own = times[valid], returns[valid]
    counts = torch.bincount(index)
    sums = own.new_zeros(len(counts)).index_add(0, index, own)
    baseline = torch.zeros_like(returns)
    baseline[valid] = (sums[index] - own) / (counts[index] - 1).clamp(min=1)
    # a sum of one minus itself leaves rounding
    return baseline.masked_fill(valid & (counts[times.clamp(min=0)] == 1), 0)


def _none(returns: Tensor, trajectories: Trajectories, settings: GradientSettings) -> Tensor:
    return torch.zeros_like(returns)


def _mean(returns: Tensor, trajectories: Trajectories, settings: GradientSettings) -> Tensor:
    episodes = episode_index(trajectories.done, trajectories.valid)
    return mean_of_others(returns, episodes, per_episode=settings.advantage == "total_return")


def _time(returns: Tensor, trajectories: Trajectories, settings: GradientSettings) -> Tensor:
    return time_mean_of_others(returns, episode_times(trajectories.done, trajectories.valid))


def _value(returns: Tensor, trajectories: Trajectories, settings: GradientSettings) -> Tensor:
    return trajectories.values


BASELINES: dict[str, Callable[[Tensor, Trajectories, GradientSettings], Tensor]] = {
    "none": _none,
    "mean": _mean,
    "time": _time,
    "value": _value,
}
"""From (returns [T, N], trajectories, settings) to the baseline [T, N]."""
