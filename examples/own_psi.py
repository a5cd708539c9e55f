"""A Psi of one's own: UPGO, its exact bias, and a run with it.

    python -m examples.own_psi

UPGO (upgoing policy update; Vinyals et al. 2019, AlphaStar) credits a step with what followed it
for as long as that went better than V expected, and with V from the first step on that did not.
That is GAE whose lambda is 1 before a good step and 0 before a bad one. Since lambda depends on the
actions it is biased, also with an exact V: on DiamondHill by 0.288 of the gradient.

The function takes GAE's place in this process, so the run has no other (num_workers=0). What stays
becomes a flag: CONTRIBUTING.md, "A new Psi, from idea to flag".
"""

from collections.abc import Callable
from unittest.mock import patch

import torch
from torch import Tensor

from distpg import Config, train
from distpg.config.settings import GradientSettings
from distpg.gradient.advantages import ADVANTAGES, gae
from distpg.gradient.returns import reverse_scan, shift_back
from distpg.gradient.trajectories import Trajectories
from distpg.proof.estimators import PLAIN, Estimator
from distpg.proof.gradients import double_precision, gradients_of, observe_all, targets_of
from distpg.proof.theory import true_gradient

Psi = Callable[[Trajectories, GradientSettings], tuple[Tensor, Tensor]]


def upgo(
    rewards: Tensor,
    values: Tensor,
    next_values: Tensor,
    terminated: Tensor,
    truncated: Tensor,
    *,
    gamma: float,
) -> Tensor:
    """Estimate advantages by upgoing returns; arguments and result are those of `gae`."""
    zeros = torch.zeros_like(rewards[0])
    td_errors = rewards + gamma * next_values * ~terminated - values
    good = shift_back(td_errors, zeros) >= 0
    return reverse_scan(td_errors, gamma * good * ~(terminated | truncated), zeros)


def psi(trajectories: Trajectories, settings: GradientSettings) -> tuple[Tensor, Tensor]:
    """Return the advantages [T, N], and the critic's targets [T, N], as with `gae`."""
    gamma, gae_lambda = settings.gamma, settings.gae_lambda
    by_gae = gae(*trajectories.valued, gamma=gamma, gae_lambda=gae_lambda)
    return upgo(*trajectories.valued, gamma=gamma), trajectories.values + by_gae


def bias(of: Psi) -> float:
    """Compare a Psi's expected gradient with the true one, on a game with few possible batches.

    Returns:
        Their distance, relative to the true gradient, if V is exact.
    """
    estimator = Estimator({"advantage": "gae", "baseline": "value", **PLAIN})
    batches, probabilities = observe_all(estimator.scene, critic=True)
    with patch.dict(ADVANTAGES, gae=of), double_precision():
        gradients = gradients_of(estimator, batches, targets_of(estimator, batches))
    truth = true_gradient(estimator).flatten()
    return float((probabilities @ gradients - truth).norm() / truth.norm())


def mean_return(of: Psi, total_steps: int) -> float:
    """Train PPO on CartPole-v1 with a Psi."""
    config = Config(num_workers=0, num_slots=2, total_steps=total_steps, learning_rate=1e-3)
    with patch.dict(ADVANTAGES, gae=of):
        return train(config, quiet=True).result["episode_return_mean"]


def main(total_steps: int = 20_000) -> None:
    """Compare it with GAE."""
    for name, of in (("gae", ADVANTAGES["gae"]), ("upgo", psi)):
        found = mean_return(of, total_steps)
        print(f"{name:4}  bias {bias(of):.3f}  return {found:.1f} after {total_steps:,} steps")


if __name__ == "__main__":
    main()
