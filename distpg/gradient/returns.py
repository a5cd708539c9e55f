"""Returns: the rewards of an episode as they were played, summed. Pure functions on [T, N] tensors.

T steps, N trajectories side by side. V stands in only where an episode was cut.
"""

import torch
from torch import Tensor

from distpg.gradient.trajectories import episode_starts


def reverse_scan(terms: Tensor, factors: Tensor, last: Tensor) -> Tensor:
    """Solve y_t = terms_t + factors_t * y_{t+1} from the last row back.

    Args:
        terms: [T, N].
        factors: [T, N] 0 where nothing flows back: an episode ends with the row.
        last: [N] y after the last row.

    Returns:
        [T, N] y.
    """
    sums = torch.empty_like(terms)
    for t in reversed(range(len(terms))):
        sums[t] = last = torch.addcmul(terms[t], factors[t], last)
    return sums


def shift_back(rows: Tensor, last: Tensor) -> Tensor:
    """Move [T, N] rows up by one; `last` [N] comes after them."""
    return torch.cat([rows[1:], last[None]])


def next_ratios(ratios: Tensor | None, like: Tensor) -> Tensor:
    """Return the importance ratio of the step after each, [T, N]; ones where none is asked for."""
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

    Where the episode was cut, by a time limit or by the last row, V of the cut's successor stands
    for the rest; `next_values` of zeros make the return end at the cut.

    Args:
        rewards: [T, N].
        next_values: [T, N] V(s_{t+1}) before any reset, or zeros.
        terminated: [T, N] bool.
        truncated: [T, N] bool.
        ratios: [T, N] pi(a|s) over that of the policy that acted; corrects for the actions *after*
            each step (Precup et al. 2000). None leaves the return as it was played.
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
        ratios: [T, N] as for `reward_to_go`; what was paid before a step is left as it was.
        gamma: Discount per env step, in [0, 1].

    Returns:
        [T, N] returns, equal over an episode but for rounding; 0 where a step is not valid.
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
