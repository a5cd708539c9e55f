"""Psi: advantage estimators. Pure functions on [T, N] tensors.

T steps, N trajectories side by side; time is the first axis. In all of them a terminated step
bootstraps nothing; a truncated one bootstraps from V of the next state, which the env would have
continued from; rewards of the next episode do not propagate to either. Rows that are not `valid`
(the step that resets) follow the end of an episode, so nothing propagates through them, whatever
they hold.

As is customary, all but `total_return` drop the factor gamma^t of the discounted objective's
gradient.
"""

import torch
from torch import Tensor

from distpg.config.settings import GradientSettings
from distpg.gradient.baselines import BASELINES
from distpg.gradient.returns import (
    next_ratios,
    reverse_scan,
    reward_to_go,
    shift_back,
    total_return,
)
from distpg.gradient.trajectories import Trajectories


def gae(
    rewards: Tensor,
    values: Tensor,
    next_values: Tensor,
    terminated: Tensor,
    truncated: Tensor,
    ratios: Tensor | None = None,
    *,
    gamma: float,
    gae_lambda: float,
) -> Tensor:
    """Estimate advantages by GAE(lambda) (Schulman et al. 2016, eq. 16).

    Args:
        rewards: [T, N] as trained on.
        values: [T, N] V(s_t).
        next_values: [T, N] V(s_{t+1}), before any reset.
        terminated: [T, N] bool.
        truncated: [T, N] bool.
        ratios: [T, N] corrects for the actions after each step, as in `reward_to_go`.
        gamma: Discount per env step, in [0, 1].
        gae_lambda: 0 is one-step TD; 1 is the discounted return minus V.

    Returns:
        [T, N] advantages, not normalized.
    """
    td_errors = rewards + gamma * next_values * ~terminated - values
    decay = gamma * gae_lambda * next_ratios(ratios, like=rewards)
    return reverse_scan(td_errors, decay * ~(terminated | truncated), torch.zeros_like(rewards[0]))


def n_step(
    rewards: Tensor,
    values: Tensor,
    next_values: Tensor,
    terminated: Tensor,
    truncated: Tensor,
    ratios: Tensor | None = None,
    *,
    gamma: float,
    num_steps: int,
) -> Tensor:
    """Estimate advantages by n-step returns (Sutton and Barto 2018, eq. 7.1; Mnih et al. 2016).

    The sum of n rewards, then V of the state they led to, minus V. Fewer rewards if the episode
    ends, or is truncated by a time limit or by the last row, before that. n is `num_steps`, at
    least 1: one-step TD. The rest is as for `gae`.
    """
    targets = rewards + gamma * next_values * ~terminated
    for _ in range(min(num_steps, len(rewards)) - 1):
        ahead = shift_back(targets if ratios is None else ratios * targets, next_values[-1])
        targets = rewards + gamma * torch.where(truncated, next_values, ahead) * ~terminated
    return targets - values


def vtrace(
    rewards: Tensor,
    values: Tensor,
    next_values: Tensor,
    terminated: Tensor,
    truncated: Tensor,
    ratios: Tensor,
    *,
    gamma: float,
    rho_bar: float,
    c_bar: float,
) -> tuple[Tensor, Tensor]:
    """Estimate advantages and values by V-trace (Espeholt et al. 2018, eq. 1 and section 4.2).

    Corrects for a different behaviour policy. If all ratios are 1 and both limits are at least 1,
    the targets are n-step returns to the end of the episode or of the segment. The ratio of the
    step itself is left to the surrogate.

    `rho_bar` clips the ratio of the TD error, and determines which policy's value the targets
    estimate; `c_bar` clips the ratios that propagate corrections, and determines how fast. The
    rest is as for `gae`.

    Returns:
        advantages: [T, N] r + gamma * v_{t+1} - V(s_t), not normalized.
        targets: [T, N] v_t.
    """
    td_errors = rewards + gamma * next_values * ~terminated - values
    rhos, cs = ratios.clamp(max=rho_bar), ratios.clamp(max=c_bar)
    continues, zeros = ~(terminated | truncated), torch.zeros_like(rewards[0])
    corrections = reverse_scan(rhos * td_errors, gamma * cs * continues, zeros)
    ahead = gamma * shift_back(corrections, zeros) * continues
    return td_errors + ahead, values + corrections


ROUNDING = 8
"""Last places by which equal advantages may differ: sums of rewards differ by their order."""


def normalize(advantages: Tensor) -> Tensor:
    """Scale [B] advantages to mean 0 and standard deviation 1.

    Those that are equal, but for the rounding of their dtype, become 0: scaled, it would be noise
    as large as a signal.
    """
    centred = advantages - advantages.mean()
    spread = centred.square().mean().sqrt()
    rounding = ROUNDING * torch.finfo(advantages.dtype).eps * advantages.abs().max()
    return torch.where(spread > rounding, centred / (spread + 1e-8), 0)


def _gae(trajectories: Trajectories, settings: GradientSettings) -> tuple[Tensor, Tensor]:
    decays = {"gamma": settings.gamma, "gae_lambda": settings.gae_lambda}
    advantages = gae(*trajectories.valued, trajectories.ratios, **decays)
    return advantages, advantages + trajectories.values


def _n_step(trajectories: Trajectories, settings: GradientSettings) -> tuple[Tensor, Tensor]:
    num_steps = settings.bootstrap_steps
    assert num_steps != "inf", "estimate() takes reward_to_go then"
    advantages = n_step(
        *trajectories.valued, trajectories.ratios, gamma=settings.gamma, num_steps=num_steps
    )
    return advantages, advantages + trajectories.values


def _vtrace(trajectories: Trajectories, settings: GradientSettings) -> tuple[Tensor, Tensor]:
    ratios = (
        torch.ones_like(trajectories.rewards)
        if trajectories.ratios is None
        else trajectories.ratios
    )
    limits = {"rho_bar": settings.rho_bar, "c_bar": settings.c_bar}
    return vtrace(*trajectories.valued, ratios, gamma=settings.gamma, **limits)


def _reward_to_go(trajectories: Trajectories, settings: GradientSettings) -> Tensor:
    return reward_to_go(*trajectories.unvalued, trajectories.ratios, gamma=settings.gamma)


def _total_return(trajectories: Trajectories, settings: GradientSettings) -> Tensor:
    return total_return(
        *trajectories.unvalued, trajectories.valid, trajectories.ratios, gamma=settings.gamma
    )


RETURNS = {"total_return": _total_return, "reward_to_go": _reward_to_go}
"""Returns, [T, N]: a baseline is subtracted from them."""

ADVANTAGES = {"n_step": _n_step, "gae": _gae, "vtrace": _vtrace}
"""Advantages, [T, N], which contain V, and the critic's targets, [T, N]."""


def estimate(trajectories: Trajectories, settings: GradientSettings) -> tuple[Tensor, Tensor]:
    """Compute the Psi that the settings name.

    Returns:
        advantages: [T, N] the weight of each step's log-probability, not normalized.
        returns: [T, N] targets of V(s_t).
    """
    psi = settings.advantage
    if psi == "n_step" and settings.bootstrap_steps == "inf":
        psi = "reward_to_go"
    if psi in ADVANTAGES:
        return ADVANTAGES[psi](trajectories, settings)
    returns = RETURNS[psi](trajectories, settings)
    baseline = BASELINES[settings.baseline](returns, trajectories, settings)
    targets = returns if psi == "reward_to_go" else _reward_to_go(trajectories, settings)
    return returns - baseline, targets
