"""What a correct PPO consists of, detail by detail: the list is the names of the tests.

Numbers and groups are those of Huang et al. 2022, "The 37 Implementation Details of Proximal Policy
Optimization"; the last group is what vector envs and several processes add to it. Every test asks
the classes that train; the exhaustive tests of each part are in the folder of its name.
"""

import dataclasses
import math
from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.wrappers import TimeLimit
from torch import Tensor, nn
from torch.distributions import Categorical, Normal
from torch.testing import assert_close

from distpg.config.config import Config
from distpg.envs.describe import describe_action, describe_obs
from distpg.envs.make import EnvSource, find_env, make_vector_env
from distpg.envs.native import NativeVectorEnv
from distpg.errors import RunError
from distpg.gradient.diagnostics import approx_kl
from distpg.gradient.losses import SURROGATES, Coefficients, SurrogateInputs, value_loss
from distpg.learner.learner import Learner
from distpg.policy.distributions import DiagonalGaussian, MultiCategorical
from distpg.policy.images import ImageEncoder
from distpg.policy.normalizer import LeafNormalizer
from distpg.records import Batch, Rollout, Weights
from distpg.rollout.worker import RolloutWorker
from distpg.spaces import ActionSpec, Leaf, ObsSpec
from tests.environments import AnyKind, Counting, Echo, PaysOne, Remembers
from tests.settings import config_of

SMALL: dict[str, Any] = {
    "num_workers": 0,
    "num_envs": 2,
    "num_steps": 8,
    "hidden_sizes": (16,),
    # measuring an update runs the network, too; here its passes are counted
    "gradient_stats_every": 0,
}
WHOLE: dict[str, Any] = {"num_epochs": 1, "minibatch_size": None}
"""One gradient from the whole batch."""
CARTPOLE = find_env("CartPole-v1", {})
PENDULUM = find_env("Pendulum-v1", {})
ENDLESS = find_env(Counting, {"lengths": [10**6]})
WALK = find_env("tests.environments:Remembers-v0", {})
"""A random walk: pays where it stands, terminates where it leaves, is cut after 12 steps."""


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Act as every process that acts does."""
    torch.set_num_threads(1)


class Run:
    """A learner and the slots that play for it."""

    def __init__(self, source: EnvSource, **settings: Any) -> None:
        self.config = config_of({**SMALL, "minibatch_size": None, **settings})
        self.slots = [RolloutWorker(self.config, source, n) for n in range(self.config.slots)]
        self.learner = self.make_learner()

    def make_learner(self, **settings: Any) -> Learner:
        """Make another learner for the same envs; some settings may differ."""
        envs = self.slots[0].envs
        config = dataclasses.replace(self.config, **settings)
        return Learner(config, envs.obs_spec, envs.action_spec)

    def collect(self) -> list[Rollout]:
        """Play with the learner's weights."""
        weights = self.learner.weights()
        return [slot.collect(weights, weights.version).rollout for slot in self.slots]

    def iterate(self) -> dict[str, float]:
        """Collect and update; return the statistics."""
        return self.learner.update(self.collect())[1].scalars

    def values(self, obs: np.ndarray) -> np.ndarray:
        """Ask the critic for V of raw observations."""
        with torch.no_grad():
            normalized = self.learner.policy.normalizer({"obs": torch.from_numpy(obs)})
            return self.learner.model.values(normalized).double().numpy()


def assert_same(one: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray]) -> None:
    assert one.keys() == other.keys()
    for name, array in one.items():
        np.testing.assert_array_equal(array, other[name], err_msg=name)


def assert_near(one: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray]) -> None:
    for name, array in one.items():
        np.testing.assert_allclose(array, other[name], rtol=0, atol=1e-6, err_msg=name)


def differ(one: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray]) -> bool:
    return any(not np.array_equal(array, other[name]) for name, array in one.items())


def everything(learner: Learner) -> dict[str, np.ndarray]:
    """Return all that an update changes."""
    state = learner.state()
    return {**state.policy.arrays, **state.arrays}


def paying(rollout: Rollout, rewards: np.ndarray) -> Rollout:
    return dataclasses.replace(rollout, rewards=rewards.astype(np.float32))


def watch_steps(learner: Learner) -> list[dict[str, np.ndarray]]:
    """Return a list that every step of the optimizer will add its gradient to."""
    steps: list[dict[str, np.ndarray]] = []

    move = learner.optimizer.move

    def note() -> None:
        gradients = {n: p.grad for n, p in learner.model.named_parameters() if p.grad is not None}
        steps.append({name: gradient.numpy().copy() for name, gradient in gradients.items()})
        move()

    learner.optimizer.move = note
    return steps


def watch_minibatches(learner: Learner) -> list[list[tuple[float, ...]]]:
    """Return a list that every minibatch will add its observations to."""
    seen: list[list[tuple[float, ...]]] = []

    def note(_: nn.Module, inputs: tuple[dict[str, Tensor]]) -> None:
        seen.append([tuple(row) for row in inputs[0]["obs"].tolist()])

    learner.model.register_forward_pre_hook(note)
    return seen


def norm(arrays: Mapping[str, np.ndarray]) -> float:
    return math.sqrt(sum(float(np.square(array).sum()) for array in arrays.values()))


# --- core ----------------------------------------------------------------------------------------


def test_core_01_segments_of_fixed_length_go_on_where_the_last_one_ended() -> None:
    run = Run(ENDLESS, num_slots=2, num_envs=3, num_steps=5)
    rows = [np.concatenate([r.obs["obs"] for r in run.collect()], 1) for _ in range(3)]
    for k, obs in enumerate(rows):
        assert obs.shape == (5 + 1, 2 * 3, 4)
        # the third number counts the steps of the episode
        np.testing.assert_array_equal(obs[:, :, 2], np.arange(5 * k, 5 * k + 6)[:, None] + [0] * 6)
    np.testing.assert_array_equal(rows[1][0], rows[0][-1])
    np.testing.assert_array_equal(rows[2][0], rows[1][-1])


def scaled_gram(layer: nn.Linear, gain: float) -> Tensor:
    """W W^T / gain^2 of the shorter side, which is the identity where W is orthogonal."""
    weight = layer.weight.detach() / gain
    return weight @ weight.T if len(weight) < weight.shape[1] else weight.T @ weight


@pytest.mark.parametrize("source", [CARTPOLE, PENDULUM], ids=lambda source: source.name)
def test_core_02_orthogonal_initialization_with_gain_sqrt_2_and_001_and_1_for_the_heads(
    source: EnvSource,
) -> None:
    run = Run(source, hidden_sizes=(16, 8))
    model = run.learner.model
    layers = [layer for layer in model.modules() if isinstance(layer, nn.Linear)]
    gains = {id(model.policy.head): 0.01, id(model.critic["head"]): 1.0}
    assert len(layers) == 6
    for layer in layers:
        gram = scaled_gram(layer, gains.get(id(layer), math.sqrt(2)))
        assert_close(gram, torch.eye(len(gram)), rtol=0, atol=1e-5)
        assert layer.bias is not None
        assert not layer.bias.any()
    acting = model.policy({"obs": torch.from_numpy(run.collect()[0].obs["obs"])})
    if isinstance(acting, DiagonalGaussian):
        assert float(acting.mean.abs().max()) < 0.05
    else:
        assert float(acting.entropy().min()) > 0.999 * math.log(2)


def test_core_03_adam_has_epsilon_1e_5() -> None:
    learner = Run(CARTPOLE, learning_rate=1e-3).learner
    part, gradient = learner.optimizer.parts["policy"]
    before = part.clone()
    gradient.fill_(1e-5)
    learner.optimizer.move()
    # the first step is rate * g / (|g| + epsilon)
    torch.testing.assert_close(before - part, torch.full_like(part, 0.5e-3), rtol=1e-3, atol=1e-7)


def test_core_04_the_learning_rate_falls_linearly_to_0_and_resumes_where_it_was() -> None:
    run = Run(ENDLESS, lr_schedule="linear", learning_rate=0.01, total_steps=64)
    rates: list[float] = []
    # an iteration has 16 samples
    for _ in range(3):
        rates.append(run.iterate()["train/learning_rate"])
        assert run.learner.optimizer.rate == rates[-1]
        state, run.learner = run.learner.state(), run.make_learner()
        run.learner.load(state)
    rates += [run.iterate()["train/learning_rate"] for _ in range(2)]
    assert rates == pytest.approx([0.01, 0.0075, 0.005, 0.0025, 0])


def forward_view(
    rewards: np.ndarray, values: np.ndarray, *, terminated: bool, gamma: float, lam: float
) -> np.ndarray:
    """Average the n-step returns of an episode of K steps, [K] rewards and [K+1] values.

    As the lambda-return is defined (Sutton and Barto 2018, eq. 12.3).
    """
    bootstrap = values.copy()
    bootstrap[-1] *= not terminated
    total = len(rewards)
    targets = np.zeros(total)
    for t in range(total):
        n_step = [
            sum(gamma**k * rewards[t + k] for k in range(n)) + gamma**n * bootstrap[t + n]
            for n in range(1, total - t + 1)
        ]
        chances = [(1 - lam) * lam**k for k in range(len(n_step) - 1)] + [lam ** (len(n_step) - 1)]
        targets[t] = np.dot(chances, n_step)
    return targets


@pytest.mark.parametrize("lam", [0.0, 0.8, 1.0], ids=["TD", "GAE", "Monte Carlo"])
def test_core_05_the_critic_learns_the_lambda_return_cut_at_the_end_of_episodes(lam: float) -> None:
    run = Run(WALK, **WHOLE, num_steps=30, num_envs=3, gamma=0.9, gae_lambda=lam)
    run.iterate()
    (rollout,) = run.collect()
    done = rollout.terminated | rollout.truncated
    assert rollout.terminated.any()
    assert (done & ~rollout.terminated).any()
    assert not done[-1].all(), "no segment ends within an episode"
    values, errors = run.values(rollout.obs["obs"]), list[float]()
    for env in range(3):
        first = 0
        for t in range(30):
            if not rollout.valid[t, env]:
                first = t + 1
            elif done[t, env] or t == 29:
                here, ahead = slice(first, t + 1), slice(first, t + 2)
                targets = forward_view(
                    rollout.rewards[here, env].astype(np.float64),
                    values[ahead, env],
                    terminated=bool(rollout.terminated[t, env]),
                    gamma=0.9,
                    lam=lam,
                )
                errors += list(targets - values[here, env])
    assert len(errors) == rollout.valid.sum()
    stats = run.learner.update([rollout])[1].scalars
    # the loss before the first step, over the whole batch
    assert stats["train/value_loss"] == pytest.approx(np.square(errors).mean(), rel=1e-5)


def test_core_06_every_sample_is_visited_once_an_epoch_in_an_order_of_its_own() -> None:
    source = find_env(Counting, {"lengths": [4, 6]})
    run = Run(
        source, num_envs=3, num_steps=11, minibatch_size=12, num_epochs=3, normalize_obs=False
    )
    (rollout,) = run.collect()
    samples = Counter(tuple(row) for row in rollout.obs["obs"][:-1][rollout.valid].tolist())
    assert set(samples.values()) == {1}, "observations do not tell the samples apart"
    assert 24 < len(samples) < 33, "no row is a reset"
    seen = watch_minibatches(run.learner)
    run.learner.update([rollout])
    assert [len(rows) for rows in seen] == [12, 12, len(samples) - 24] * 3
    epochs = [seen[k] + seen[k + 1] + seen[k + 2] for k in (0, 3, 6)]
    assert all(Counter(epoch) == samples for epoch in epochs)
    assert len({tuple(epoch) for epoch in [*epochs, list(samples)]}) == 4


def test_core_07_advantages_are_normalized_over_the_whole_batch_not_over_a_minibatch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = Run(WALK, num_envs=4, num_steps=20, minibatch_size=8, num_epochs=1)
    clip, seen = SURROGATES["clip"], list[Tensor]()

    def spy(inputs: SurrogateInputs, now: Coefficients) -> Tensor:
        seen.append(inputs.advantages)
        return clip(inputs, now)

    monkeypatch.setitem(SURROGATES, "clip", spy)
    run.iterate()
    batch = torch.cat(seen)
    assert float(batch.mean()) == pytest.approx(0, abs=1e-6)
    assert float(batch.std(correction=0)) == pytest.approx(1, abs=1e-5)
    assert len(seen) >= 9
    assert max(abs(float(minibatch.mean())) for minibatch in seen) > 0.1


@pytest.mark.parametrize(
    ("ratio", "advantage", "clip", "pushes"),
    [
        (1.0, 2.0, 0.2, True),
        (1.0, -2.0, 0.2, True),
        (1.3, 2.0, 0.2, False),
        (1.3, 2.0, 0.4, True),
        (1.3, -2.0, 0.2, True),
        (0.7, 2.0, 0.2, True),
        (0.7, -2.0, 0.2, False),
        (0.7, -2.0, 0.4, True),
    ],
)
def test_core_08_the_clipped_surrogate_pushes_no_ratio_further_out(
    ratio: float, advantage: float, clip: float, pushes: bool
) -> None:
    logprobs = torch.tensor([math.log(0.3 * ratio)], requires_grad=True)
    nothing = torch.zeros(1)
    log_ratio = logprobs - math.log(0.3)
    inputs = SurrogateInputs(logprobs, log_ratio, torch.tensor([advantage]), nothing + 1, nothing)
    SURROGATES["clip"](inputs, Coefficients(clip=clip, kl=0.0, entropy=0.0)).backward()
    assert logprobs.grad is not None
    # minus the gradient of ratio x advantage
    assert float(logprobs.grad) == pytest.approx(-ratio * advantage if pushes else 0.0)


def test_core_09_value_clipping_is_off_by_default_and_clips_the_change_of_v() -> None:
    assert Config().value_clip is None
    # V was 1 and is 3; held within 0.5 of it: 1.5
    old = torch.tensor([1.0])
    for target, loss, gradient in ((10.0, 8.5**2, 0.0), (1.2, 1.8**2, 3.6), (-5.0, 8**2, 16.0)):
        values = torch.tensor([3.0], requires_grad=True)
        found = value_loss(values, torch.tensor([target]), old, 0.5)
        found.backward()
        assert values.grad is not None
        assert (float(found), float(values.grad)) == pytest.approx((loss, gradient))


def test_core_09_with_value_clipping_a_large_error_still_has_its_whole_gradient() -> None:
    run = Run(ENDLESS, **WHOLE, max_grad_norm=1e9)
    rollouts = run.collect()
    learners = [run.make_learner(value_clip=clip) for clip in (None, 1e-6)]
    steps = [watch_steps(learner) for learner in learners]
    for learner in learners:
        # rewards grow to 70: errors are far larger than the clip range, V has not moved yet
        assert learner.update(rollouts)[1].scalars["train/value_loss"] > 1000
    (free,), (clipped,) = steps
    assert norm(free) > 10
    assert_same(free, clipped)


def test_core_10_the_loss_is_that_of_the_policy_minus_entropy_plus_value_loss() -> None:
    run = Run(
        ENDLESS,
        **WHOLE,
        num_envs=1,
        num_steps=4,
        gamma=0.0,
        normalize_advantages=False,
        ent_coef=0.3,
        vf_coef=0.7,
    )
    (rollout,) = run.collect()
    # with gamma 0 a step is worth its reward: 10 x step + action
    paid = np.array([0, 10, 20, 30]) + rollout.actions[:, 0]
    advantages = paid - run.values(rollout.obs["obs"])[:-1, 0]
    chances = np.exp([logprobs_of_all(run, row) for row in rollout.obs["obs"][:-1, 0]])
    entropy = -(chances * np.log(chances)).sum(1).mean()
    stats = run.learner.update([rollout])[1].scalars
    # before the first step every ratio is 1
    expected = {
        "train/policy_gradient_loss": -advantages.mean(),
        "train/entropy_loss": -entropy,
        "train/value_loss": np.square(advantages).mean(),
        "train/loss": -advantages.mean() - 0.3 * entropy + 0.7 * np.square(advantages).mean(),
    }
    assert {name: stats[name] for name in expected} == pytest.approx(expected, rel=1e-4)


def logprobs_of_all(run: Run, obs: np.ndarray) -> list[float]:
    """Return log pi(a|s) for each of three actions."""
    with torch.no_grad():
        acting = run.learner.policy({"obs": torch.from_numpy(obs).expand(3, -1)})
        return acting.log_prob(torch.arange(3)).tolist()


def test_core_11_the_norm_of_the_whole_gradient_is_cut_to_a_half() -> None:
    run = Run(ENDLESS, **WHOLE)
    rollouts = run.collect()
    free = run.make_learner(max_grad_norm=1e9)
    (cut_steps, free_steps) = (watch_steps(learner) for learner in (run.learner, free))
    stats = run.learner.update(rollouts)[1].scalars
    free.update(rollouts)
    (cut,), (whole,) = cut_steps, free_steps
    assert norm(whole) > 10
    assert norm(cut) == pytest.approx(0.5, rel=1e-5)
    # one factor for all parameters, and the norm before the cut is what is reported
    assert_near(cut, {name: gradient * 0.5 / norm(whole) for name, gradient in whole.items()})
    assert stats["gradient/norm"] == pytest.approx(norm(whole), rel=1e-5)


def test_core_12_what_tells_of_trouble_is_there_from_the_first_update() -> None:
    stats = Run(CARTPOLE, minibatch_size=8).iterate()
    for name in (
        "policy_gradient_loss",
        "value_loss",
        "entropy_loss",
        "approx_kl",
        "clip_fraction",
        "explained_variance",
        "learning_rate",
    ):
        assert math.isfinite(stats[f"train/{name}"])
    # (r - 1) - log r for r of 1/2 and 2: -1/2 + log 2 and 1 - log 2
    assert float(approx_kl(torch.tensor([0.5, 2.0]).log())) == pytest.approx(0.25)


@pytest.mark.parametrize("image", [False, True], ids=["vector", "image"])
def test_core_13_actor_and_critic_share_nothing_but_the_convolutions_of_images(image: bool) -> None:
    space = spaces.Box(0, 255, (8, 8, 1), np.uint8) if image else spaces.Box(-1, 1, (3,))
    obs_spec = describe_obs(space, "any")
    config = Config(**SMALL, minibatch_size=None, learner_threads=1)
    model = Learner(config, obs_spec, describe_action(spaces.Discrete(2), "any")).model
    model.values(
        {"obs": torch.from_numpy(np.ones((3, *space.shape), space.dtype))}
    ).sum().backward()
    of_policy = {n: p for n, p in model.named_parameters() if n.startswith("policy.")}
    moved = {
        name
        for name, parameter in of_policy.items()
        if parameter.grad is not None and bool((parameter.grad != 0).any())
    }
    assert moved == {name for name in of_policy if image and name.startswith("policy.encoder.")}
    assert bool(moved) == image


# --- continuous actions --------------------------------------------------------------------------


def gaussian(run: Run, rollout: Rollout) -> DiagonalGaussian:
    """Return the distributions that the actions of a rollout were drawn from."""
    with torch.no_grad():
        acting = run.learner.policy({"obs": torch.from_numpy(rollout.obs["obs"][:-1])})
    assert isinstance(acting, DiagonalGaussian)
    return acting


def test_continuous_01_actions_are_drawn_from_normal_distributions() -> None:
    run = Run(PENDULUM, num_envs=4, num_steps=200)
    (rollout,) = run.collect()
    acting = gaussian(run, rollout)
    z = (torch.from_numpy(rollout.actions) - acting.mean) / acting.log_std.exp()
    # four standard errors of 800 draws
    assert abs(float(z.mean())) < 4 / math.sqrt(800)
    assert float(z.std()) == pytest.approx(1, abs=4 / math.sqrt(1600))
    for deviations, share in ((1, 0.6827), (2, 0.9545)):
        error = math.sqrt(share * (1 - share) / 800)
        assert float((z.abs() < deviations).float().mean()) == pytest.approx(share, abs=4 * error)


def test_continuous_02_the_log_deviation_is_a_parameter_that_no_state_changes_and_starts_at_0() -> (
    None
):
    run = Run(PENDULUM)
    log_std = run.learner.policy.log_std
    assert isinstance(log_std, nn.Parameter)
    assert log_std.tolist() == [0.0]
    run.iterate()
    assert log_std.tolist() != [0.0], "it is not learned"
    far = run.learner.policy({"obs": torch.tensor([[1.0, 0.0, 0.0], [-1.0, 0.0, 8.0]])})
    deviations = Normal(0.0, log_std.detach().exp())
    assert far.entropy().tolist() == pytest.approx(deviations.entropy().tolist() * 2)


def test_continuous_03_log_probabilities_are_summed_over_the_components_of_an_action() -> None:
    run = Run(find_env(Echo, {}))
    (rollout,) = run.collect()
    acting, actions = gaussian(run, rollout), torch.from_numpy(rollout.actions)
    assert actions.shape == (8, 2, 2)
    parts = [Normal(acting.mean[..., k], 1.0).log_prob(actions[..., k]) for k in range(2)]
    assert_close(torch.from_numpy(rollout.logprobs), parts[0] + parts[1])


def test_continuous_04_actor_and_critic_are_two_networks_of_the_same_shape() -> None:
    model = Run(PENDULUM, hidden_sizes=(64, 64)).learner.model
    of_actor, of_critic = (list(m.parameters()) for m in (model.policy, model.critic))
    assert not {id(one) for one in of_actor} & {id(one) for one in of_critic}
    hidden = [[p.shape for p in side if p.shape[0] == 64] for side in (of_actor, of_critic)]
    assert hidden[0] == hidden[1] == [(64, 3), (64,), (64, 64), (64,)]


def test_continuous_05_what_is_clipped_goes_to_the_env_alone() -> None:
    # bounds that most draws are beyond; the env observes what it was given
    run = Run(find_env(Echo, {"low": [-0.1, 0.0], "high": [0.1, 0.2]}), num_steps=40)
    (rollout,) = run.collect()
    acting, drawn = gaussian(run, rollout), torch.from_numpy(rollout.actions)
    given = torch.from_numpy(rollout.obs["obs"][1:])
    assert float(given.min()) == pytest.approx(-0.1)
    assert float(given.max()) == pytest.approx(0.2)
    assert float((drawn != given).float().mean()) > 0.8
    assert_close(acting.log_prob(drawn), torch.from_numpy(rollout.logprobs))
    assert float((acting.log_prob(given) - acting.log_prob(drawn)).abs().max()) > 1


def test_continuous_06_observations_are_scaled_by_their_running_mean_and_deviation() -> None:
    run = Run(PENDULUM, num_steps=20)
    rollouts = [run.collect()[0]]
    run.learner.update(rollouts)
    rollouts += run.collect()
    run.learner.update(rollouts[1:])
    raw = np.concatenate([rollout.obs["obs"][:-1][rollout.valid] for rollout in rollouts])
    scaled = run.learner.policy.normalizer({"obs": torch.from_numpy(raw)})["obs"]
    assert_close(scaled.mean(0), torch.zeros(3), rtol=0, atol=1e-5)
    assert_close(scaled.std(0, correction=0), torch.ones(3), rtol=1e-5, atol=0)
    assert not np.allclose(raw.std(0), 1, atol=0.05)


def test_continuous_07_scaled_observations_are_cut_to_10() -> None:
    run = Run(PENDULUM)
    run.iterate()
    far = np.array([[1e6] * 3, [-1e6] * 3, [1e9] * 3], np.float32)
    scaled = run.learner.policy.normalizer({"obs": torch.from_numpy(far)})["obs"]
    assert scaled.tolist() == [[10] * 3, [-10] * 3, [10] * 3]
    assert run.values(far)[0] == run.values(far)[2]


def test_continuous_08_rewards_are_divided_by_the_deviation_of_the_discounted_return() -> None:
    run = Run(find_env(lambda: TimeLimit(PaysOne(), 3), {}), **WHOLE, gamma=0.5)
    scaling = run.make_learner(normalize_rewards=True)
    (rollout,) = run.collect()
    assert rollout.valid.sum() == 12
    # each episode of rewards 1, 1, 1 has the running returns 1, 1.5, 1.75; no mean is subtracted
    deviation = np.std([1, 1.5, 1.75])
    scaling.update([rollout])
    run.learner.update([paying(rollout, rollout.rewards / deviation)])
    for name in ("critic/head.bias", "optimizer/exp_avg/critic"):
        found, expected = (everything(learner)[name] for learner in (scaling, run.learner))
        np.testing.assert_allclose(found, expected, rtol=1e-5)
    plain = run.make_learner()
    plain.update([rollout])
    assert differ(everything(plain), everything(run.learner))


def test_continuous_09_scaled_rewards_are_cut_to_10() -> None:
    run = Run(ENDLESS, **WHOLE, num_steps=250, gamma=0.0)
    scaling = run.make_learner(normalize_rewards=True)
    (rollout,) = run.collect()
    spike = np.zeros((250, 2))
    spike[7, 1] = 1000
    scaled = scaling.reward_scale.scale(Batch.join([paying(rollout, spike)], torch.device("cpu")))
    # one of 500 returns is not 0: uncut it would be 1 / sqrt(p (1 - p)) = 22.4
    assert sorted(set(scaled.flatten().tolist())) == [0, 10]


# --- Atari ---------------------------------------------------------------------------------------


class Game(NamedTuple):
    """Three copies of Breakout as they were played."""

    frames_at_reset: list[int]
    obs: np.ndarray
    """[T+1, N, 4, 84, 84]"""
    terminated: np.ndarray
    """[T, N]"""
    needs_reset: np.ndarray
    """[T, N]"""
    specs: tuple[ObsSpec, ActionSpec]


@pytest.fixture(scope="module")
def breakout() -> Game:
    """Stand still for ten steps, then fire again and again, so that balls are lost."""
    envs = make_vector_env(find_env("ALE/Breakout-v5", {}), 3)
    assert isinstance(envs, NativeVectorEnv)
    first, info = envs.envs.reset(seed=np.arange(3))  # pyright: ignore[reportArgumentType]
    actions = [0] * 10 + [t % 2 for t in range(50)]
    obs, steps = [np.array(first)], [envs.step(np.full(3, actions[0]))]
    for action in actions[1:]:
        obs.append(steps[-1].obs["obs"].copy())
        steps.append(envs.step(np.full(3, action)))
    obs.append(steps[-1].obs["obs"].copy())
    return Game(
        frames_at_reset=info["episode_frame_number"].tolist(),
        obs=np.array(obs),
        terminated=np.array([step.terminated for step in steps]),
        needs_reset=np.array([step.needs_reset for step in steps]),
        specs=(envs.obs_spec, envs.action_spec),
    )


def test_atari_01_a_game_starts_after_up_to_30_steps_of_doing_nothing(breakout: Game) -> None:
    # and one that fires
    assert all(1 <= frames <= 31 for frames in breakout.frames_at_reset)
    assert len(set(breakout.frames_at_reset)) == 3


def test_atari_02_an_action_lasts_4_frames_of_which_the_last_2_are_seen_as_their_maximum() -> None:
    kwargs = {"noop_max": 0, "repeat_action_probability": 0.0}
    frame_by_frame = {**kwargs, "frameskip": 1, "maxpool": False}
    # Asteroids draws what moves on every other frame
    envs, single = (
        make_vector_env(find_env("ALE/Asteroids-v5", one), 1) for one in (kwargs, frame_by_frame)
    )
    envs.reset([0])
    single.reset([0])
    for action in range(5):
        chosen = np.full(1, action)
        seen = envs.step(chosen).obs["obs"][0, -1]
        before, last = [single.step(chosen).obs["obs"][0, -1].copy() for _ in range(4)][-2:]
        np.testing.assert_array_equal(seen, np.maximum(before, last))
        assert not np.array_equal(seen, before)
        assert not np.array_equal(seen, last)


def test_atari_03_a_lost_life_terminates_and_the_game_plays_on(breakout: Game) -> None:
    assert breakout.terminated.any(0).all()
    assert (breakout.terminated.sum(0) < 5).all()
    assert not breakout.needs_reset.any()


def test_atari_04_a_game_that_waits_for_the_fire_button_is_started(breakout: Game) -> None:
    # nobody has pressed it since, and still something moves: the ball
    standing = breakout.obs[4:11, :, -1]
    assert (standing != standing[0]).any((0, 2, 3)).all()


def test_atari_05_pictures_are_84_by_84_and_grey(breakout: Game) -> None:
    leaf = breakout.specs[0].leaves[0]
    assert (leaf.shape[1:], leaf.dtype, leaf.kind) == ((84, 84), "uint8", "image")
    assert breakout.obs.dtype == np.uint8
    assert len(np.unique(breakout.obs)) > 10, "more shades than black and white"


def test_atari_06_the_sign_of_rewards_is_learned_from_and_the_score_stays_true() -> None:
    # rewards of 10 x step + action, learned from as those of an Atari game are
    run = Run(find_env(Counting, {"lengths": [4]}), **WHOLE, env_id="ALE/Breakout-v5")
    weights = run.learner.weights()
    collected = run.slots[0].collect(weights, 0)
    rollout = collected.rollout
    assert rollout.rewards.max() >= 30
    assert collected.stats.episode_returns.min() >= 60
    plain = run.make_learner(sign_rewards="off")
    plain.update([paying(rollout, np.sign(rollout.rewards))])
    run.learner.update([rollout])
    assert_same(everything(run.learner), everything(plain))


def test_atari_07_four_pictures_are_stacked_the_newest_last(breakout: Game) -> None:
    assert breakout.obs.shape[2] == 4
    np.testing.assert_array_equal(breakout.obs[1:, :, :-1], breakout.obs[:-1, :, 1:])
    assert (breakout.obs[1:, :, -1] != breakout.obs[:-1, :, -1]).any()


def test_atari_08_the_network_is_natures_and_actor_and_critic_share_it(breakout: Game) -> None:
    config = Config(**{**SMALL, "env_id": "ALE/Breakout-v5", "learner_threads": 1}, **WHOLE)
    model = Learner(config, *breakout.specs).model
    # 32 of 8x8 by 4, 64 of 4x4 by 2, 64 of 3x3 by 1, then 512; each with a bias
    layers = [(4 * 64 + 1) * 32, (32 * 16 + 1) * 64, (64 * 9 + 1) * 64, (64 * 49 + 1) * 512]
    assert sum(one.numel() for one in model.policy.encoder.parameters()) == sum(layers)
    assert [one.numel() for one in model.critic.parameters()] == [512, 1]
    convolutions = [m for m in model.policy.encoder.modules() if isinstance(m, nn.Conv2d)]
    assert [(m.kernel_size[0], m.stride[0]) for m in convolutions] == [(8, 4), (4, 2), (3, 1)]


def test_atari_09_pixels_are_divided_by_255() -> None:
    encoder, seen = ImageEncoder(Leaf("obs", (), (4, 84, 84), "uint8", "image")), list[Tensor]()

    def note(_: nn.Module, inputs: tuple[Tensor]) -> None:
        seen.append(inputs[0])

    encoder.convolutions.register_forward_pre_hook(note)
    image = torch.zeros(1, 4, 84, 84, dtype=torch.uint8)
    image[0, 1], image[0, 2] = 255, 51
    encoder(image)
    levels = [torch.unique(channel).tolist() for channel in seen[0][0]]
    assert levels == [[0.0], [1.0], [pytest.approx(0.2)], [0.0]]


# --- several discrete actions at once ------------------------------------------------------------


def test_multidiscrete_01_the_components_of_an_action_are_independent() -> None:
    run = Run(find_env(AnyKind, {"kind": "multi-discrete action"}))
    (rollout,) = run.collect()
    features = run.learner.policy.encoder({"obs": torch.from_numpy(rollout.obs["obs"][:-1])})
    logits = run.learner.policy.head(features)
    acting = MultiCategorical(logits, run.slots[0].envs.action_spec.sizes)
    parts = [Categorical(logits=part) for part in logits.split((3, 2), -1)]
    actions = torch.from_numpy(rollout.actions)
    both = [part.log_prob(actions[..., k]) for k, part in enumerate(parts)]
    valid = torch.from_numpy(rollout.valid)
    assert_close(torch.from_numpy(rollout.logprobs)[valid], (both[0] + both[1]).detach()[valid])
    assert_close(acting.entropy(), parts[0].entropy() + parts[1].entropy())


# --- auxiliary -----------------------------------------------------------------------------------


def test_auxiliary_01_the_clip_range_falls_linearly_where_it_is_asked_to() -> None:
    ranges: dict[str, list[float]] = {}
    for schedule in ("constant", "linear"):
        run = Run(ENDLESS, clip_schedule=schedule, clip_coef=0.2, total_steps=32)
        # an iteration has 16 samples
        ranges[schedule] = [run.iterate()["train/clip_range"] for _ in range(3)]
    assert ranges["constant"] == [0.2] * 3
    assert ranges["linear"] == pytest.approx([0.2, 0.1, 0])


def test_auxiliary_01_the_clip_range_in_use_is_the_one_that_is_reported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = Run(ENDLESS, **WHOLE, clip_schedule="linear", clip_coef=0.2, total_steps=32)
    clip, used = SURROGATES["clip"], list[float]()

    def spy(inputs: SurrogateInputs, now: Coefficients) -> Tensor:
        used.append(now.clip)
        return clip(inputs, now)

    monkeypatch.setitem(SURROGATES, "clip", spy)
    assert [run.iterate()["train/clip_range"] for _ in range(2)] == used == [0.2, 0.1]


def test_auxiliary_03_an_update_ends_early_once_the_divergence_passes_its_target() -> None:
    settings: dict[str, Any] = {"minibatch_size": 4, "num_epochs": 5, "learning_rate": 0.02}
    free, held = Run(CARTPOLE, **settings), Run(CARTPOLE, **settings, target_kl=0.005)
    rollouts = free.collect()
    free_steps, held_steps = watch_steps(free.learner), watch_steps(held.learner)
    assert free.learner.update(rollouts)[1].scalars["train/early_stop"] == 0
    stats = held.learner.update(rollouts)[1].scalars
    assert stats["train/early_stop"] == 1
    assert len(free_steps) == 20
    assert 1 <= len(held_steps) < 20
    # what it did take are the same steps
    for one, other in zip(held_steps, free_steps, strict=False):
        assert_same(one, other)
    # the minibatch that passed 1.5 times the target is not learned from
    assert stats["train/approx_kl"] <= 1.5 * 0.005


# --- what the same authors tell to look at first -------------------------------------------------


@pytest.mark.parametrize("source", [CARTPOLE, PENDULUM], ids=lambda source: source.name)
def test_alarm_01_the_same_seed_gives_the_same_weights(source: EnvSource) -> None:
    ends: list[dict[str, np.ndarray]] = []
    for noise in (1, 2):
        torch.manual_seed(noise)
        np.random.seed(noise)
        run = Run(source, seed=3, minibatch_size=8)
        run.iterate()
        run.iterate()
        ends.append(everything(run.learner))
    assert_same(*ends)


@pytest.mark.parametrize("source", [CARTPOLE, PENDULUM, WALK], ids=lambda source: source.name)
def test_alarm_02_the_ratio_is_1_until_the_first_step_of_an_update(source: EnvSource) -> None:
    run = Run(source, minibatch_size=8)
    for _ in range(3):
        assert run.iterate()["train/on_policy_max"] <= 1e-5


# --- what vector envs and several processes add --------------------------------------------------


def one_step_walk() -> gym.Env[Any, Any]:
    return TimeLimit(Remembers(), 1)


def test_distributed_a_a_truncated_step_is_worth_v_of_its_own_successor() -> None:
    # the second row resets, so the batch is one sample, and its loss one squared error
    run = Run(find_env(one_step_walk, {}), **WHOLE, num_envs=1, num_steps=2, gamma=0.9)
    (rollout,) = run.collect()
    assert rollout.valid[:, 0].tolist() == [True, False]
    assert (rollout.truncated[0, 0], rollout.terminated[0, 0]) == (True, False)
    terminated = dataclasses.replace(
        rollout, terminated=rollout.truncated, truncated=rollout.terminated
    )
    here, final, fresh = run.values(rollout.obs["obs"])[:, 0]
    assert len({round(v, 2) for v in (0, here, final, fresh)}) == 4, "values do not tell apart"
    for played, ahead in ((rollout, 0.9 * final), (terminated, 0.0)):
        stats = run.make_learner().update([played])[1].scalars
        error = rollout.rewards[0, 0] + ahead - here
        assert stats["train/value_loss"] == pytest.approx(error**2, rel=1e-5)


def test_distributed_b_the_step_that_resets_is_no_transition() -> None:
    # episodes of one step: every other row resets
    run = Run(find_env(Counting, {"lengths": [1]}), num_steps=9, normalize_obs=False, **WHOLE)
    collected = run.slots[0].collect(run.learner.weights(), 0)
    seen = watch_minibatches(run.learner)
    run.learner.update([collected.rollout])
    assert collected.stats.episode_lengths.tolist() == [1] * 10
    assert run.learner.trained_steps == collected.stats.env_steps == 10
    (trained,) = seen
    # none of them is the end of an episode, from where the env would only reset
    assert [step for _, _, step, _ in trained] == [0] * 10


def test_distributed_c_all_slots_act_with_the_same_frozen_statistics_of_every_frame() -> None:
    run = Run(CARTPOLE, num_slots=3, num_steps=30, minibatch_size=64, acting="torch")
    frames: list[np.ndarray] = []
    for _ in range(3):
        known = statistics(run.learner.weights())
        rollouts = run.collect()
        for slot in run.slots:
            assert_same(statistics(slot.agent.policy.weights(0)), known)
        assert not all(rollout.valid.all() for rollout in rollouts)
        frames += [rollout.obs["obs"][:-1][rollout.valid] for rollout in rollouts]
        run.learner.update(rollouts)
        (leaf,) = run.learner.policy.normalizer.leaves.values()
        assert isinstance(leaf, LeafNormalizer)
        together = np.concatenate(frames).astype(np.float64)
        assert float(leaf.count) == len(together)
        np.testing.assert_allclose(leaf.mean.numpy(), together.mean(0), atol=1e-12)
        np.testing.assert_allclose(leaf.variance.numpy(), together.var(0), atol=1e-12)


def statistics(weights: Weights) -> dict[str, np.ndarray]:
    found = {name: a for name, a in weights.arrays.items() if name.startswith("normalizer")}
    assert found
    return found


def test_distributed_d_a_batch_of_other_weights_is_refused() -> None:
    run = Run(CARTPOLE, num_slots=2)
    stale = run.collect()
    run.learner.update(stale)
    before = everything(run.learner)
    with pytest.raises(RunError, match="slot 0 acted with version 0"):
        run.learner.update(stale)
    # another policy under the right version
    lying = [dataclasses.replace(r, policy_version=1) for r in stale]
    shifted = [dataclasses.replace(r, logprobs=r.logprobs - np.float32(0.1)) for r in lying]
    with pytest.raises(RunError, match="was not collected with this policy"):
        run.learner.update(shifted)
    assert_same(everything(run.learner), before)


def test_distributed_e_the_order_of_slots_decides_and_that_of_arrival_does_not() -> None:
    ends: list[dict[str, np.ndarray]] = []
    for arrival in ([0, 1, 2], [2, 0, 1]):
        run = Run(CARTPOLE, num_slots=3, minibatch_size=8)
        for _ in range(2):
            weights = run.learner.weights()
            played = {n: run.slots[n].collect(weights, weights.version) for n in arrival}
            run.learner.update([played[n].rollout for n in range(3)])
        ends.append(everything(run.learner))
        rollouts = run.collect()
        with pytest.raises(RunError, match="each of 3 slots once"):
            run.learner.update([rollouts[n] for n in (2, 0, 1)])
    assert_same(*ends)


@pytest.mark.parametrize("minibatch_size", [16, 5])
def test_distributed_f_gradients_added_up_over_parts_are_that_of_the_whole(
    minibatch_size: int,
) -> None:
    settings: dict[str, Any] = {"algo": "a2c", "num_steps": 20, "ent_coef": 0.01}
    run = Run(CARTPOLE, **settings, num_slots=2, max_grad_norm=1e9)
    rollouts = run.collect()
    parts = run.make_learner(minibatch_size=minibatch_size)
    whole_steps, parts_steps = watch_steps(run.learner), watch_steps(parts)
    run.learner.update(rollouts)
    parts.update(rollouts)
    (whole,), (added,) = whole_steps, parts_steps
    assert norm(whole) > 0.1
    assert_near(whole, added)


@pytest.mark.parametrize("source", [CARTPOLE, PENDULUM], ids=lambda source: source.name)
def test_distributed_g_every_env_of_every_slot_has_a_seed_of_its_own(source: EnvSource) -> None:
    run = Run(source, num_slots=3, num_envs=4)
    rollouts = run.collect()
    starts = np.concatenate([rollout.obs["obs"][0] for rollout in rollouts])
    assert len(np.unique(starts, axis=0)) == 12
    chosen = np.concatenate([rollout.actions.reshape(8, 4) for rollout in rollouts], 1)
    assert len(np.unique(chosen, axis=1).T) > 8, "slots draw the same actions"
