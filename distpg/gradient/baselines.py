"""Baselines: what is subtracted from a return, to lower the variance and leave the mean alone.

A baseline must not depend on the action that it is subtracted for. A mean over the batch does,
through the sample's own return, and shrinks the gradient by (1 - 1/N); so each episode is compared
with the mean of the *others*.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from distpg.config.settings import GradientSettings
from distpg.gradient.trajectories import Trajectories, episode_index, episode_times


def mean_of_others(credit: Tensor, episodes: Tensor, *, per_episode: bool) -> Tensor:
    """Average the credit over the other episodes of the batch.

    Args:
        credit: [T, N] what each step is credited with.
        episodes: [T, N] int64 number of each step's episode, -1 where a step is not valid; at least
            two episodes.
        per_episode: Whether each episode counts once; else each step does.

    Returns:
        [T, N] baseline, equal over an episode; 0 where a step is not valid.
    """
    valid = episodes >= 0
    index = episodes[valid]
    lengths = torch.bincount(index)
    weights = torch.ones_like(credit[valid])
    if per_episode:
        weights /= lengths[index]
    zeros = credit.new_zeros(len(lengths))
    own_sum = zeros.index_add(0, index, weights * credit[valid])
    own_weight = zeros.index_add(0, index, weights)
    others = (own_sum.sum() - own_sum) / (own_weight.sum() - own_weight)
    return torch.where(valid, others[episodes.clamp(min=0)], 0.0)


def time_mean_of_others(credit: Tensor, times: Tensor) -> Tensor:
    """Average the credit at each time step over the other episodes that reached it.

    Args:
        credit: [T, N] what each step is credited with.
        times: [T, N] int64 steps since the episode began, -1 where a step is not valid; at least
            one step is.

    Returns:
        [T, N] baseline; 0 where no other episode came so far, and where a step is not valid.
    """
    valid = times >= 0
    index, own = times[valid], credit[valid]
    counts = torch.bincount(index)
    sums = own.new_zeros(len(counts)).index_add(0, index, own)
    baseline = torch.zeros_like(credit)
    baseline[valid] = (sums[index] - own) / (counts[index] - 1).clamp(min=1)
    # what is left of a sum of one is rounding
    return baseline.masked_fill(valid & (counts[times.clamp(min=0)] == 1), 0)


def _none(credit: Tensor, trajectories: Trajectories, settings: GradientSettings) -> Tensor:
    return torch.zeros_like(credit)


def _mean(credit: Tensor, trajectories: Trajectories, settings: GradientSettings) -> Tensor:
    episodes = episode_index(trajectories.done, trajectories.valid)
    return mean_of_others(credit, episodes, per_episode=settings.advantage == "total_return")


def _time(credit: Tensor, trajectories: Trajectories, settings: GradientSettings) -> Tensor:
    return time_mean_of_others(credit, episode_times(trajectories.done, trajectories.valid))


def _value(credit: Tensor, trajectories: Trajectories, settings: GradientSettings) -> Tensor:
    return trajectories.values


BASELINES: dict[str, Callable[[Tensor, Trajectories, GradientSettings], Tensor]] = {
    "none": _none,
    "mean": _mean,
    "time": _time,
    "value": _value,
}
"""From (credit [T, N], paths, settings) to the baseline [T, N]."""
