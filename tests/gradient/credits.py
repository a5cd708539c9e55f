"""Each Psi as a function of trajectories and of its own settings."""

from torch import Tensor

from distpg.gradient.advantages import gae, n_step, vtrace
from distpg.gradient.returns import reward_to_go, total_return
from distpg.gradient.trajectories import Trajectories


def gae_of(trajectories: Trajectories, gamma: float, gae_lambda: float) -> Tensor:
    return gae(*trajectories.valued, trajectories.ratios, gamma=gamma, gae_lambda=gae_lambda)


def n_step_of(trajectories: Trajectories, gamma: float, num_steps: int) -> Tensor:
    return n_step(*trajectories.valued, trajectories.ratios, gamma=gamma, num_steps=num_steps)


def vtrace_of(
    trajectories: Trajectories, gamma: float, rho_bar: float = 1.0, c_bar: float = 1.0
) -> tuple[Tensor, Tensor]:
    assert trajectories.ratios is not None
    return vtrace(
        *trajectories.valued, trajectories.ratios, gamma=gamma, rho_bar=rho_bar, c_bar=c_bar
    )


def reward_to_go_of(trajectories: Trajectories, gamma: float) -> Tensor:
    return reward_to_go(*trajectories.unvalued, trajectories.ratios, gamma=gamma)


def total_return_of(trajectories: Trajectories, gamma: float) -> Tensor:
    return total_return(
        *trajectories.unvalued, trajectories.valid, trajectories.ratios, gamma=gamma
    )
