"""Returns: sums of an episode's rewards. Pure functions on [T, N] tensors.

T steps, N trajectories side by side. They bootstrap from V only if an episode was truncated.
"""

import torch
from torch import Tensor

from distpg.gradient.trajectories import episode_starts


def reverse_scan(terms: Tensor, factors: Tensor, last: Tensor) -> Tensor:
    """Compute y_t = terms_t + factors_t * y_{t+1}, from the last row to the first.

    Args:
        terms: [T, N].
        factors: [T, N] 0 in the last row of an episode.
        last: [N] y after the last row.

    Returns:
        [T, N] y.
    """
    sums = torch.empty_like(terms)
    for t in reversed(range(len(terms))):
        sums[t] = last = torch.addcmul(terms[t], factors[t], last)
    return sums


def shift_back(rows: Tensor, last: Tensor) -> Tensor:
    """Shift [T, N] rows one step back in time; `last` [N] becomes the last row."""
    return torch.cat([rows[1:], last[None]])


def next_ratios(ratios: Tensor | None, like: Tensor) -> Tensor:
    """Return the importance ratio of the next step, [T, N]; ones if there are no ratios."""
    ones = torch.ones_like(like)
    return ones if ratios is None else shift_back(ratios, ones[-1])


def reward_to_go(
    rewards: Tensor,
    next_values: Tensor,
    terminated: Tensor,
    truncated: Tensor,
    ratios: Tensor | None = None,
    *,
    gamma: float,
) -> Tensor:
    """Sum the discounted rewards from each step to the end of its episode (Williams 1992).

    If the episode was truncated, by a time limit or by the last row, the return bootstraps from V
    of the next state; with `next_values` of zeros it ends there.

    Args:
        rewards: [T, N].
        next_values: [T, N] V(s_{t+1}) before any reset, or zeros.
        terminated: [T, N] bool.
        truncated: [T, N] bool.
        ratios: [T, N] pi(a|s) over that of the behaviour policy; corrects for the actions *after*
            each step (Precup et al. 2000). None: no correction.
        gamma: Discount per env step, in [0, 1].

    Returns:
        [T, N] returns-to-go.
    """
    ends = rewards + gamma * next_values * (truncated & ~terminated)
    carried = gamma * next_ratios(ratios, like=rewards) * ~(terminated | truncated)
    return reverse_scan(ends, carried, next_values[-1])


def total_return(
    rewards: Tensor,
    next_values: Tensor,
    terminated: Tensor,
    truncated: Tensor,
    valid: Tensor,
    ratios: Tensor | None = None,
    *,
    gamma: float,
) -> Tensor:
    """Give every step its whole episode's return, discounted from the episode's first step.

    Args:
        rewards: [T, N].
        next_values: [T, N] V(s_{t+1}) before any reset, or zeros.
        terminated: [T, N] bool.
        truncated: [T, N] bool.
        valid: [T, N] bool.
        ratios: [T, N] as for `reward_to_go`; rewards before a step are not corrected.
        gamma: Discount per env step, in [0, 1].

    Returns:
        [T, N] returns, equal over an episode up to rounding; 0 if a step is not valid.
    """
    to_go = reward_to_go(rewards, next_values, terminated, truncated, ratios, gamma=gamma)
    starts = episode_starts(terminated | truncated, valid)
    returns = torch.empty_like(rewards)
    paid, discount = torch.zeros_like(rewards[0]), torch.ones_like(rewards[0])
    for t in range(len(rewards)):
        paid, discount = paid.masked_fill(starts[t], 0), discount.masked_fill(starts[t], 1)
        returns[t] = paid + discount * to_go[t]
        paid, discount = paid + discount * rewards[t], gamma * discount
    return returns * valid
