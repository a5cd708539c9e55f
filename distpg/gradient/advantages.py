"""Psi: how much credit each step gets. Pure functions on [T, N] tensors.

T steps, N trajectories side by side; time runs down the first axis. Everywhere: a terminated step
has no successor, so nothing is bootstrapped; a truncated one has, the state that the env would have
gone on from; neither lets credit flow back from the next episode. Rows that are not `valid` (the
step that resets) follow a done, so nothing flows through them; what they hold means nothing.

Like everyone, all but `total_return` drop the factor gamma^t that the discounted objective puts
before a step's gradient.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from distpg.config import GradientSettings
from distpg.gradient.baselines import BASELINES
from distpg.gradient.paths import Paths, episode_starts


def gae(
    rewards: Tensor,
    values: Tensor,
    next_values: Tensor,
    terminated: Tensor,
    truncated: Tensor,
    *,
    gamma: float,
    gae_lambda: float,
) -> Tensor:
    """Estimate advantages by GAE(lambda) (Schulman et al. 2016, eq. 16).

    Args:
        rewards: [T, N] as paid by the env.
        values: [T, N] V(s_t).
        next_values: [T, N] V(s_{t+1}), before any reset.
        terminated: [T, N] bool.
        truncated: [T, N] bool.
        gamma: Discount per env step, in [0, 1].
        gae_lambda: 0 is one-step TD; 1 is the discounted return minus V.

    Returns:
        [T, N] advantages, not normalized.
    """
    td_errors = rewards + gamma * next_values * ~terminated - values
    goes_on = ~(terminated | truncated)
    advantages = torch.empty_like(td_errors)
    future = torch.zeros_like(td_errors[0])
    for t in reversed(range(len(td_errors))):
        future = td_errors[t] + gamma * gae_lambda * future * goes_on[t]
        advantages[t] = future
    return advantages


def reward_to_go(
    rewards: Tensor, next_values: Tensor, terminated: Tensor, truncated: Tensor, *, gamma: float
) -> Tensor:
    """Sum the discounted rewards from each step to the end of its episode (Williams 1992).

    Where the episode was cut, by a time limit or by the last row, V of the cut's successor stands
    for the rest; `next_values` of zeros make the return end at the cut.

    Args:
        rewards: [T, N].
        next_values: [T, N] V(s_{t+1}) before any reset, or zeros.
        terminated: [T, N] bool.
        truncated: [T, N] bool.
        gamma: Discount per env step, in [0, 1].

    Returns:
        [T, N] returns-to-go.
    """
    returns = torch.empty_like(rewards)
    future = next_values[-1]
    for t in reversed(range(len(rewards))):
        future = torch.where(truncated[t], next_values[t], future) * ~terminated[t]
        future = rewards[t] + gamma * future
        returns[t] = future
    return returns


def total_return(
    rewards: Tensor,
    next_values: Tensor,
    terminated: Tensor,
    truncated: Tensor,
    valid: Tensor,
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
        gamma: Discount per env step, in [0, 1].

    Returns:
        [T, N] returns, equal over an episode.
    """
    to_go = reward_to_go(rewards, next_values, terminated, truncated, gamma=gamma)
    starts = episode_starts(terminated | truncated, valid)
    returns = torch.zeros_like(rewards)
    current = torch.zeros_like(rewards[0])
    for t in range(len(rewards)):
        current = torch.where(starts[t], to_go[t], current)
        returns[t] = current
    return returns


def normalize(advantages: Tensor) -> Tensor:
    """Scale [B] advantages to mean 0 and standard deviation 1; equal ones become 0."""
    centred = advantages - advantages.mean()
    return centred / (centred.square().mean().sqrt() + 1e-8)


def _gae(paths: Paths, settings: GradientSettings) -> Tensor:
    ends = (paths.terminated, paths.truncated)
    decays = {"gamma": settings.gamma, "gae_lambda": settings.gae_lambda}
    return gae(paths.rewards, paths.values, paths.next_values, *ends, **decays)


def _reward_to_go(paths: Paths, settings: GradientSettings) -> Tensor:
    ends = (paths.terminated, paths.truncated)
    return reward_to_go(paths.rewards, paths.next_values, *ends, gamma=settings.gamma)


def _total_return(paths: Paths, settings: GradientSettings) -> Tensor:
    ends = (paths.terminated, paths.truncated)
    gamma = settings.gamma
    return total_return(paths.rewards, paths.next_values, *ends, paths.valid, gamma=gamma)


Psi = Callable[[Paths, GradientSettings], Tensor]

RETURNS: dict[str, Psi] = {"total_return": _total_return, "reward_to_go": _reward_to_go}
"""Returns as they were played: a baseline is subtracted from them."""

ADVANTAGES: dict[str, Psi] = {"gae": _gae}
"""Advantages already: they contain V."""


def estimate(paths: Paths, settings: GradientSettings) -> tuple[Tensor, Tensor]:
    """Compute the Psi that the settings name.

    Returns:
        advantages: [T, N] the weight of each step's log-probability, not normalized.
        returns: [T, N] what V(s_t) should have been, the critic's target.
    """
    if settings.advantage in ADVANTAGES:
        advantages = ADVANTAGES[settings.advantage](paths, settings)
        return advantages, advantages + paths.values
    credit = RETURNS[settings.advantage](paths, settings)
    baseline = BASELINES[settings.baseline](credit, paths, settings)
    return credit - baseline, _reward_to_go(paths, settings)
