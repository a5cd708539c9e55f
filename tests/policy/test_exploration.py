"""State-dependent exploration: its density, its noise, and how long a matrix is held."""

import dataclasses
import itertools
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import Generator, Tensor

from distpg import InputError, evaluate, load_policy, train
from distpg.envs.describe import describe_action, describe_obs
from distpg.envs.make import find_env
from distpg.learner.learner import Learner
from distpg.policy.actor_critic import Policy
from distpg.policy.agent import Agent
from distpg.policy.architecture import Architecture
from distpg.policy.distributions import DiagonalGaussian
from distpg.policy.exploration import StateDependentExploration
from distpg.records import Rollout
from distpg.rollout.worker import RolloutWorker
from tests.learner.runs import Run
from tests.settings import config_of

SEEN = describe_obs(spaces.Box(-1, 1, (3,), np.float32), "any")
TORQUES = describe_action(spaces.Box(-2, 2, (2,), np.float32), "any")
GSDE: dict[str, Any] = {"num_envs": 3, "hidden_sizes": (8,), "action_distribution": "gsde"}
LOG_STD = torch.tensor([[0.1, -0.5], [-1.0, 0.3], [0.4, -0.2], [-0.6, 0.0]])
"""Of 4 features and 2 actions."""


def outputs_of(*batch_shape: int, seed: int = 0) -> Tensor:
    """Draw the means and features."""
    return torch.randn(*batch_shape, 2 + 4, generator=Generator().manual_seed(seed))


def covariance(features: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return E[(E^T f)(E^T g)^T], [2, 2], for [4] features: sum_k f_k g_k diag(sigma_k^2)."""
    deviations = LOG_STD.double().exp().numpy()
    return sum(
        (f * g * np.diag(row**2) for f, g, row in zip(features, others, deviations, strict=True)),
        np.zeros((2, 2)),
    )


def log_normal(x: np.ndarray, mean: np.ndarray, cov: np.ndarray) -> float:
    """Return the log-density of a multivariate normal."""
    _, log_det = np.linalg.slogdet(2 * np.pi * cov)
    away = x - mean
    return -0.5 * (log_det + away @ np.linalg.solve(cov, away))


@pytest.mark.parametrize("batch_shape", [(), (5,), (2, 3)])
def test_density_and_entropy_are_those_of_the_full_covariance(
    batch_shape: tuple[int, ...],
) -> None:
    outputs = outputs_of(*batch_shape)
    distribution = StateDependentExploration(outputs, LOG_STD)
    actions = distribution.sample(Generator().manual_seed(1))
    logprobs, entropies = distribution.log_prob(actions), distribution.entropy()
    assert actions.shape == (*batch_shape, 2)
    assert logprobs.shape == entropies.shape == batch_shape
    rows = np.concatenate([outputs.view(-1, 6).double(), actions.view(-1, 2).double()], 1)
    for row, logprob, entropy in zip(rows, logprobs.view(-1), entropies.view(-1), strict=True):
        mean, features, action = np.split(row, [2, 6])
        cov = covariance(features, features) + 1e-6 * np.eye(2)
        assert float(logprob) == pytest.approx(log_normal(action, mean, cov), abs=1e-4)
        _, log_det = np.linalg.slogdet(2 * np.pi * np.e * cov)
        assert float(entropy) == pytest.approx(0.5 * log_det, abs=1e-5)


def test_the_density_by_hand() -> None:
    # features 3 and 4, deviations 1/3 and 1/2: the variance is 1 + 4, and the noise sqrt(5)
    log_std = torch.tensor([[1 / 3], [1 / 2]]).log()
    distribution = StateDependentExploration(torch.tensor([[7.0, 3.0, 4.0]]), log_std)
    expected = -0.5 - 0.5 * np.log(2 * np.pi * 5)
    found = distribution.log_prob(torch.tensor([[7 + 5**0.5]]))
    assert float(found) == pytest.approx(expected, abs=1e-6)
    # twice and minus once a deviation: 7 + 3 * 2/3 - 4 * 1/2
    assert distribution.sample_from(torch.tensor([[2.0, -1.0]])).item() == pytest.approx(7.0)
    assert distribution.greedy().item() == 7.0


def test_without_features_density_and_gradient_are_finite() -> None:
    log_std = LOG_STD.clone().requires_grad_()
    logprob = StateDependentExploration(torch.zeros(6), log_std).log_prob(torch.zeros(2))
    # two deviations of 1e-3
    assert float(logprob) == pytest.approx(-np.log(2 * np.pi * 1e-6), abs=1e-4)
    (gradient,) = torch.autograd.grad(logprob, log_std)
    assert not gradient.any()


DRAWS = 100_000


def test_actions_have_the_mean_and_the_covariance_of_the_density() -> None:
    outputs = outputs_of()
    distribution = StateDependentExploration(outputs.expand(DRAWS, 6), LOG_STD)
    drawn = distribution.sample(Generator().manual_seed(0)).double().numpy()
    features = outputs[2:].double().numpy()
    expected = covariance(features, features)
    scale = np.sqrt(np.diag(expected).max())
    np.testing.assert_allclose(drawn.mean(0), outputs[:2], atol=5 * scale / DRAWS**0.5)
    np.testing.assert_allclose(np.cov(drawn.T), expected, atol=0.02 * scale**2)


def test_noise_of_one_matrix_is_alike_in_states_that_are_alike() -> None:
    here, there = outputs_of(seed=1), outputs_of(seed=2)
    one, other = (
        StateDependentExploration(outputs.expand(DRAWS, 6), LOG_STD) for outputs in (here, there)
    )
    noise = one.draw(Generator().manual_seed(0))
    away = [(each.sample_from(noise) - each.mean).double().numpy() for each in (one, other)]
    expected = covariance(here[2:].double().numpy(), there[2:].double().numpy())
    found = away[0].T @ away[1] / DRAWS
    np.testing.assert_allclose(found, expected, atol=0.05)


def gsde_policy(**choices: Any) -> Policy:
    parts = Architecture.of(config_of({**GSDE, **choices}))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Policy(SEEN, TORQUES, parts)


def test_the_variance_has_no_gradient_with_respect_to_the_features() -> None:
    policy = gsde_policy()
    obs = {"obs": torch.linspace(-1, 1, 15).view(5, 3)}
    others = {n: p for n, p in policy.named_parameters() if n != "log_std"}
    assert policy.log_std is not None
    assert policy.log_std.shape == (8, 2)
    found = policy(obs)
    actions = found.sample(Generator().manual_seed(0)).detach()
    entropy = torch.autograd.grad(
        found.entropy().sum(), [policy.log_std, *others.values()], allow_unused=True
    )
    assert entropy[0] is not None
    assert entropy[0].abs().min() > 0
    assert not any(gradient is not None and gradient.any() for gradient in entropy[1:])
    # the mean passes a gradient on, as that of a Gaussian of the same, constant, deviations
    assert isinstance(found, StateDependentExploration)
    gaussian = DiagonalGaussian(found.mean, found.log_std.detach())
    for one, other in zip(
        *(
            torch.autograd.grad(x.log_prob(actions).sum(), list(others.values()), retain_graph=True)
            for x in (found, gaussian)
        ),
        strict=True,
    ):
        assert other.any()
        torch.testing.assert_close(one, other)


def test_outputs_and_parameters_make_the_same_density() -> None:
    policy = gsde_policy(log_std_init=-0.7)
    assert policy.log_std is not None
    assert (policy.log_std == torch.tensor(-0.7)).all()
    obs = {"obs": torch.linspace(-2, 2, 24).reshape(8, 3)}
    direct, parameters = policy(obs), policy.parameters_at(obs)
    assert parameters.shape == (8, 4)
    actions = direct.sample(Generator().manual_seed(0))
    rebuilt = policy.rebuild(parameters)
    assert torch.equal(rebuilt.log_prob(actions), direct.log_prob(actions))
    torch.testing.assert_close(rebuilt.kl(direct), torch.zeros(8), rtol=0, atol=1e-6)
    features = policy.features(obs)
    expected = (features.square().sum(-1, keepdim=True) * np.exp(-1.4) + 1e-6).sqrt()
    assert policy.mean_std(parameters) == pytest.approx(float(expected.mean()))


@pytest.mark.parametrize("acting", ["numpy", "torch"])
@pytest.mark.parametrize("freq", [0, 1, 3])
def test_a_matrix_is_held_for_its_steps_and_each_env_has_its_own(acting: str, freq: int) -> None:
    config = config_of({**GSDE, "acting": acting, "sde_sample_freq": freq})
    learner = Learner(config, SEEN, TORQUES)
    agent = Agent(SEEN, TORQUES, Architecture.of(config), acting=acting)
    weights = learner.weights()
    assert (weights.acting is None) == (acting == "torch")
    # all envs are where they were
    obs = {"obs": np.full((3, 3), 0.5, np.float32)}
    nobody, state = np.zeros(3, bool), agent.first_state(3)

    def rollout(seed: int) -> np.ndarray:
        behaviour = agent.behaviour(weights, state)
        generator = behaviour.generator(seed)
        modes, _ = behaviour.act(obs, nobody)
        return np.stack([behaviour.act(obs, nobody, generator)[0] - modes for _ in range(8)])

    noise = rollout(1)
    draws = [0] * 8 if freq == 0 else [t // freq for t in range(8)]
    for t in range(8):
        for other in range(8):
            same = np.array_equal(noise[t], noise[other])
            assert same == (draws[t] == draws[other]), (t, other)
    assert len({row.tobytes() for row in noise[0]}) == 3, "envs share a matrix"
    np.testing.assert_array_equal(rollout(1), noise)
    assert not np.array_equal(rollout(2)[0], noise[0])


@pytest.mark.parametrize("acting", ["numpy", "torch"])
def test_every_rollout_draws_anew_and_goes_on_the_same_in_another_worker(acting: str) -> None:
    changes = {"hidden_sizes": (1,), "num_steps": 7, "sde_sample_freq": 5}
    config = config_of({**GSDE, **changes, "minibatch_size": 8, "acting": acting})
    source = find_env("Pendulum-v1", {})
    worker = RolloutWorker(config, source, 0)
    learner = Learner(config, worker.envs.obs_spec, worker.envs.action_spec)
    weights = learner.weights()
    first, second = worker.collect(weights, 0), worker.collect(weights, 1)
    again = RolloutWorker(config, source, 0, state=first.state).collect(weights, 1).rollout
    np.testing.assert_array_equal(again.actions, second.rollout.actions)
    np.testing.assert_array_equal(again.logprobs, second.rollout.logprobs)
    found = [matrices(learner.policy, each.rollout) for each in (first, second)]
    for matrix in found:
        np.testing.assert_allclose(matrix[:5], matrix[:1].repeat(5, 0), rtol=1e-3)
        np.testing.assert_allclose(matrix[5:], matrix[5:6].repeat(2, 0), rtol=1e-3)
    draws = [matrix[t] for matrix in found for t in (0, 5)]
    for one, other in itertools.combinations(draws, 2):
        assert np.abs(one - other).max() > 0.1


@torch.no_grad()
def matrices(policy: Policy, rollout: Rollout) -> np.ndarray:
    """Return the exploration matrix of each step and env, [T, N], of one feature and action."""
    obs = policy.normalizer({n: torch.from_numpy(x[:-1]) for n, x in rollout.obs.items()})
    noise = torch.from_numpy(rollout.actions) - policy(obs).greedy()
    return (noise / policy.features(obs)).squeeze(-1).numpy()


@pytest.mark.parametrize(
    "settings",
    [{}, pytest.param({"precision": "bf16"}, marks=pytest.mark.thorough)],
    ids=str,
)
def test_images_are_learned_from_as_they_were_played(settings: dict[str, Any]) -> None:
    run = Run(env_id="tests.policy.test_exploration:Watched", **{**GSDE, **settings})
    assert run.learner.policy.log_std is not None
    assert run.learner.policy.log_std.shape == (512, 1)
    # log pi(a|s) of worker and learner are compared
    for _ in range(2):
        assert run.iterate()["train/std"] > 0


class Watched(gym.Env[Any, Any]):
    """Shows noise; steps of 5 make an episode."""

    observation_space = spaces.Box(0, 255, (12, 10, 3), np.uint8)
    action_space = spaces.Box(-1, 1, (1,), np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.count = 0
        return self.seen(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.count += 1
        return self.seen(), float(action[0]), self.count == 5, False, {}

    def seen(self) -> np.ndarray:
        return self.np_random.integers(0, 256, (12, 10, 3), np.uint8)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = config_of({**GSDE, **SHORT, "env_id": "Pendulum-v1"})
    return train(config, run_dir=tmp_path_factory.mktemp("gsde") / "run", quiet=True).run_dir


SHORT: dict[str, Any] = {
    "num_workers": 0,
    "num_steps": 16,
    "minibatch_size": 16,
    "total_steps": 50,
    "learner_threads": 1,
}


def test_a_saved_policy_holds_its_matrix_until_it_is_reset(trained: Path) -> None:
    policy = load_policy(trained)
    obs = np.full((2, 3), 0.1, np.float32)
    mode = policy.act(obs)
    np.testing.assert_array_equal(mode[0], mode[1])
    first = policy.act(obs, stochastic=True)
    assert first[0] != first[1] != mode[1]
    for _ in range(3):
        np.testing.assert_array_equal(policy.act(obs, stochastic=True), first)
    assert policy.act(obs[0], stochastic=True).shape == (1,)
    policy.reset()
    assert not np.array_equal(policy.act(obs, stochastic=True), first)
    again = load_policy(trained)
    np.testing.assert_array_equal(again.act(obs, stochastic=True), first)
    steps = evaluate(trained, episodes=2, stochastic=True)
    assert steps.returns != evaluate(trained, episodes=2).returns


def test_a_table_that_is_looked_up_has_no_features() -> None:
    many = describe_obs(spaces.Discrete(5000), "any")
    few = describe_obs(spaces.Discrete(50), "any")
    parts = Architecture((), "tanh", normalize_obs=False, action_distribution="gsde")
    with pytest.raises(InputError, match=r"^--action-distribution: gsde needs the features"):
        Policy(many, TORQUES, parts)
    for seen, sizes in ((few, ()), (many, (4,))):
        policy = Policy(seen, TORQUES, dataclasses.replace(parts, hidden_sizes=sizes))
        drawn = policy({"obs": torch.zeros(2, dtype=torch.int64)}).sample(Generator())
        assert drawn.shape == (2, 2)


def test_of_discrete_actions_it_changes_nothing() -> None:
    choice = describe_action(spaces.Discrete(3), "any")
    policy = Policy(SEEN, choice, Architecture.of(config_of(GSDE)))
    assert policy.log_std is None
    assert (policy.num_outputs, policy.noise_steps) == (3, 1)
