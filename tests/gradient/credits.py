"""Each Psi as a function of paths and of its own settings."""

from torch import Tensor

from distpg.gradient.advantages import gae, n_step, vtrace
from distpg.gradient.paths import Paths
from distpg.gradient.returns import reward_to_go, total_return


def gae_of(paths: Paths, gamma: float, gae_lambda: float) -> Tensor:
    return gae(*paths.valued, paths.ratios, gamma=gamma, gae_lambda=gae_lambda)


def n_step_of(paths: Paths, gamma: float, num_steps: int) -> Tensor:
    return n_step(*paths.valued, paths.ratios, gamma=gamma, num_steps=num_steps)


def vtrace_of(
    paths: Paths, gamma: float, rho_bar: float = 1.0, c_bar: float = 1.0
) -> tuple[Tensor, Tensor]:
    assert paths.ratios is not None
    return vtrace(*paths.valued, paths.ratios, gamma=gamma, rho_bar=rho_bar, c_bar=c_bar)


def reward_to_go_of(paths: Paths, gamma: float) -> Tensor:
    return reward_to_go(*paths.unvalued, paths.ratios, gamma=gamma)


def total_return_of(paths: Paths, gamma: float) -> Tensor:
    return total_return(*paths.unvalued, paths.valid, paths.ratios, gamma=gamma)
