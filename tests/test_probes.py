"""Probe environments: five games so small that what is to be learned is known exactly.

Each adds one thing to the one before it, so that the first that fails tells where to look: the
critic's loss, its observations, discounting, the policy's gradient, or both together.
"""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import Tensor

from distpg.envs.make import find_env
from distpg.learner.learner import Learner
from distpg.progress import Progress
from distpg.rollout.in_process import InProcessWorkers
from distpg.train import StopCondition, train_loop
from tests.environments import Info, Stepped
from tests.iterations import no_evaluation
from tests.settings import config_of


class Probe(gym.Env[Any, Any]):
    """One number to see, two actions, and a game of one step that says nothing."""

    num_steps = 1

    def __init__(self) -> None:
        self.observation_space = spaces.Box(-1, 1, (1,), np.float32)
        self.action_space = spaces.Discrete(2)
        self.count, self.sign = 0, 1.0

    def reset(self, *, seed: int | None = None, options: Info | None = None) -> tuple[Any, Info]:
        super().reset(seed=seed)
        self.count, self.sign = 0, float(self.np_random.choice([-1.0, 1.0]))
        return self._observe(), {}

    def step(self, action: Any) -> Stepped:
        self.count += 1
        done = self.count == self.num_steps
        return self._observe(), self.pay(float(2 * action - 1), done=done), done, False, {}

    def _observe(self) -> Any:
        return np.array([self.see()], np.float32)

    def see(self) -> float:
        """Say what is observed."""
        return 0.0

    def pay(self, direction: float, *, done: bool) -> float:
        """Say what an action of -1 or 1 pays."""
        raise NotImplementedError


class Constant(Probe):
    """Pays 1."""

    def pay(self, direction: float, *, done: bool) -> float:
        return 1.0


class Observed(Probe):
    """Shows a sign and pays it."""

    def see(self) -> float:
        return self.sign

    def pay(self, direction: float, *, done: bool) -> float:
        return self.sign


class Delayed(Probe):
    """Pays 1 at the end of its second step; the step is what is seen."""

    num_steps = 2

    def see(self) -> float:
        return float(self.count)

    def pay(self, direction: float, *, done: bool) -> float:
        return float(done)


class Chosen(Probe):
    """Pays 1 for the second action, and takes 1 for the first."""

    def pay(self, direction: float, *, done: bool) -> float:
        return direction


class ObservedAndChosen(Probe):
    """Shows a sign, and pays 1 for the action of that sign; takes 1 for the other."""

    def see(self) -> float:
        return self.sign

    def pay(self, direction: float, *, done: bool) -> float:
        return direction * self.sign


class Pictured(ObservedAndChosen):
    """Shows the sign as the half of a picture that is lit."""

    def __init__(self) -> None:
        super().__init__()
        self.observation_space = spaces.Box(0, 255, (36, 36, 1), np.uint8)

    def _observe(self) -> Any:
        return picture(self.sign)


def picture(sign: float) -> np.ndarray:
    """Light the right half for +1, the left one for -1."""
    lit = np.zeros((36, 36, 1), np.uint8)
    lit[:, 18:] = 255
    return lit if sign > 0 else lit[:, ::-1].copy()


GAMMA = 0.5
SETTINGS: dict[str, Any] = {
    "num_workers": 0,
    "num_envs": 16,
    "hidden_sizes": (16,),
    "gamma": GAMMA,
    "learning_rate": 0.02,
}
"""Of all presets: a short horizon, and steps larger than a real task would bear."""
BY_PRESET: dict[str, dict[str, Any]] = {
    "ppo": {"num_steps": 8, "num_epochs": 4, "total_steps": 3000},
    "ppo_kl": {"num_steps": 8, "num_epochs": 4, "total_steps": 3000},
    "trpo": {"num_steps": 8, "max_kl": 0.05, "cg_damping": 0.01, "total_steps": 6000},
    "npg": {"num_steps": 8, "max_kl": 0.05, "cg_damping": 0.01, "total_steps": 6000},
    "a2c": {"num_steps": 8, "total_steps": 6000},
    "reinforce": {"total_steps": 2500},
}
SLOW = {"npg", "ppo_kl", "trpo"}
"""A natural gradient takes its time; ppo_kl is ppo with another surrogate."""
PRESETS = [pytest.param(algo, marks=[pytest.mark.slow] * (algo in SLOW)) for algo in BY_PRESET]
with_a_critic = pytest.mark.parametrize("algo", PRESETS[:-1])
every_preset = pytest.mark.parametrize("algo", PRESETS)


class Learned:
    """What a run of a preset on a probe came to."""

    def __init__(self, algo: str, probe: type[Probe], **settings: Any) -> None:
        config = config_of({"algo": algo, **SETTINGS, **BY_PRESET[algo], **settings})
        workers = InProcessWorkers(config, find_env(probe, {}))
        envs = workers.slots[0].envs
        self.learner = Learner(config, envs.obs_spec, envs.action_spec)
        stop = StopCondition(config.total_steps)
        train_loop(workers, self.learner, stop, no_evaluation, [], Progress())

    def seen(self, *obs: float) -> dict[str, Tensor]:
        return {"obs": torch.tensor(obs).view(-1, 1)}

    @torch.no_grad()
    def values(self, *obs: float) -> list[float]:
        """Return V of observations."""
        normalized = self.learner.policy.normalizer(self.seen(*obs))
        return self.learner.model.values(normalized).tolist()

    @torch.no_grad()
    def chances(self, *obs: float) -> list[float]:
        """Return the probabilities of the second action."""
        acting = self.learner.policy(self.seen(*obs))
        return acting.log_prob(torch.ones(len(obs), dtype=torch.int64)).exp().tolist()


@with_a_critic
def test_the_value_of_what_always_pays_1_is_1(algo: str) -> None:
    assert Learned(algo, Constant).values(0) == pytest.approx([1], abs=0.03)


@with_a_critic
def test_the_value_is_that_of_what_is_observed(algo: str) -> None:
    assert Learned(algo, Observed).values(-1, 1) == pytest.approx([-1, 1], abs=0.03)


@with_a_critic
def test_the_value_of_what_pays_later_is_discounted(algo: str) -> None:
    assert Learned(algo, Delayed).values(0, 1) == pytest.approx([GAMMA, 1], abs=0.03)


@every_preset
def test_the_action_that_pays_is_chosen(algo: str) -> None:
    learned = Learned(algo, Chosen)
    assert learned.chances(0)[0] > 0.98
    if learned.learner.model.critic:
        assert learned.values(0) == pytest.approx([1], abs=0.1)


@every_preset
def test_the_action_that_pays_for_what_is_observed_is_chosen(algo: str) -> None:
    learned = Learned(algo, ObservedAndChosen)
    low, high = learned.chances(-1, 1)
    assert low < 0.02
    assert high > 0.98
    if learned.learner.model.critic:
        assert learned.values(-1, 1) == pytest.approx([1, 1], abs=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_a_picture_tells_which_action_pays_in_either_precision(precision: str) -> None:
    learned = Learned(
        "ppo", Pictured, precision=precision, learning_rate=5e-4, total_steps=6000, num_epochs=2
    )
    obs = {"obs": torch.from_numpy(np.stack([picture(sign) for sign in (-1, 1)]))}
    with torch.no_grad():
        chances = learned.learner.policy(obs).log_prob(torch.ones(2, dtype=torch.int64)).exp()
        values = learned.learner.model.values(obs)
    assert chances.tolist() == pytest.approx([0, 1], abs=0.1)
    assert values.tolist() == pytest.approx([1, 1], abs=0.25)
