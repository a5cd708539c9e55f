"""Psi: how much credit each step gets. Pure functions on [T, N] tensors.

T steps, N trajectories side by side; time runs down the first axis. Everywhere: a terminated step
has no successor, so nothing is bootstrapped; a truncated one has, the state that the env would have
gone on from; neither lets credit flow back from the next episode. Rows that are not `valid` (the
step that resets) follow a done, so nothing flows through them; what they hold means nothing.

Like everyone, all but `total_return` drop the factor gamma^t that the discounted objective puts
before a step's gradient.
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
        rewards: [T, N] as paid by the env.
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

    n rewards, then V of where they led, minus V. Fewer where the episode ends, or is cut by a time
    limit or by the last row, before that. n is `num_steps`, at least 1: one-step TD. The rest is
    as for `gae`.
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

    Corrects for actions that another policy chose. Where it was this one, and both limits are at
    least 1, the targets are n-step returns to the end of the episode or of the segment. The step's
    own ratio is left to the surrogate.

    `rho_bar` limits the ratio of a step, and decides whose value the targets estimate; `c_bar`
    those that carry corrections back, and decides how fast they arrive. The rest is as for `gae`.

    Returns:
        advantages: [T, N] r + gamma * v_{t+1} - V(s_t), not normalized.
        targets: [T, N] v_t.
    """
    td_errors = rewards + gamma * next_values * ~terminated - values
    rhos, cs = ratios.clamp(max=rho_bar), ratios.clamp(max=c_bar)
    goes_on, nothing = ~(terminated | truncated), torch.zeros_like(rewards[0])
    corrections = reverse_scan(rhos * td_errors, gamma * cs * goes_on, nothing)
    ahead = gamma * shift_back(corrections, nothing) * goes_on
    return td_errors + ahead, values + corrections


def normalize(advantages: Tensor) -> Tensor:
    """Scale [B] advantages to mean 0 and standard deviation 1; equal ones become 0."""
    centred = advantages - advantages.mean()
    return centred / (centred.square().mean().sqrt() + 1e-8)


def _gae(trajectories: Trajectories, settings: GradientSettings) -> tuple[Tensor, Tensor]:
    decays = {"gamma": settings.gamma, "gae_lambda": settings.gae_lambda}
    advantages = gae(*trajectories.valued, trajectories.ratios, **decays)
    return advantages, advantages + trajectories.values


def _n_step(trajectories: Trajectories, settings: GradientSettings) -> tuple[Tensor, Tensor]:
    num_steps = settings.bootstrap_steps
    assert num_steps != "inf", "all rewards are reward_to_go"
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
"""Returns as they were played, [T, N]: a baseline is subtracted from them."""

ADVANTAGES = {"n_step": _n_step, "gae": _gae, "vtrace": _vtrace}
"""Advantages already, for they contain V, [T, N]; and the critic's targets, [T, N]."""


def estimate(trajectories: Trajectories, settings: GradientSettings) -> tuple[Tensor, Tensor]:
    """Compute the Psi that the settings name.

    Returns:
        advantages: [T, N] the weight of each step's log-probability, not normalized.
        returns: [T, N] what V(s_t) should have been, the critic's target.
    """
    psi = settings.advantage
    if psi == "n_step" and settings.bootstrap_steps == "inf":
        psi = "reward_to_go"
    if psi in ADVANTAGES:
        return ADVANTAGES[psi](trajectories, settings)
    credit = RETURNS[psi](trajectories, settings)
    baseline = BASELINES[settings.baseline](credit, trajectories, settings)
    returns = credit if psi == "reward_to_go" else _reward_to_go(trajectories, settings)
    return credit - baseline, returns
