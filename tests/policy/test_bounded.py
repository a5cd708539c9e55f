"""Distributions within bounds, against sums over fine grids and against torch's own, in float64."""

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from hypothesis import given
from hypothesis import strategies as st
from torch import Generator, Tensor
from torch.distributions import Normal, TransformedDistribution
from torch.distributions.transforms import TanhTransform
from torch.testing import assert_close

from distpg import InputError
from distpg.envs.describe import describe_action
from distpg.policy.action_units import BOUNDED as UNITS
from distpg.policy.actor_critic import Policy
from distpg.policy.architecture import Architecture
from distpg.policy.bounded import Beta, SquashedGaussian
from distpg.policy.distributions import limit_log_std
from distpg.spaces import Leaf, ObsSpec

BOUNDED = {"squashed_gaussian": SquashedGaussian, "beta": Beta}
every_family = pytest.mark.parametrize("family", BOUNDED)

# Two parameters of each: mean and log deviation, or the outputs that a Beta is made from.
PARAMETERS = [(0.0, 0.0), (1.3, -1.0), (-0.8, 0.4), (3.0, -2.0), (-5.0, -4.0), (6.0, 2.0)]
every_pair = pytest.mark.parametrize("pair", PARAMETERS, ids=str)

CELLS = 400_000


def make(family: str, pair: tuple[float, float]) -> SquashedGaussian | Beta:
    """Make a distribution of one component, for a batch that broadcasts."""
    first, second = torch.tensor(pair, dtype=torch.float64).unsqueeze(-1)
    return BOUNDED[family](first, second)


def grid(family: str) -> tuple[Tensor, Tensor, Tensor]:
    """Cut the interval of the actions into cells.

    Returns:
        Actions as sampled, [CELLS, 1]; where they lie within [0, 1]; the widths of the cells.
    """
    ends = torch.linspace(0, 1, CELLS + 1, dtype=torch.float64)
    if family == "beta":
        middles = (ends[1:] + ends[:-1]) / 2
        return middles.unsqueeze(-1), middles, ends.diff()
    ends = 100 * ends - 50
    u = (ends[1:] + ends[:-1]) / 2
    # tanh a - tanh b, which are both 1 but for some digits
    widths = ends.diff().sinh() / (ends[1:].cosh() * ends[:-1].cosh())
    return u.unsqueeze(-1), (1 + u.tanh()) / 2, widths


@every_family
@every_pair
def test_the_density_has_a_sum_of_1(family: str, pair: tuple[float, float]) -> None:
    actions, _, widths = grid(family)
    density = make(family, pair).log_prob(actions).exp()
    assert float((density * widths).sum()) == pytest.approx(1, abs=1e-5)


@every_family
@every_pair
def test_an_interval_is_drawn_as_often_as_the_density_says(
    family: str, pair: tuple[float, float]
) -> None:
    actions, unit, widths = grid(family)
    distribution = make(family, pair)
    density = distribution.log_prob(actions).exp() * widths
    first, second = torch.tensor(pair).unsqueeze(-1)
    draws = BOUNDED[family](first.expand(20_000, 1), second.expand(20_000, 1))
    to_unit, _ = UNITS[family]
    drawn = to_unit(draws.sample(Generator().manual_seed(0)).double().numpy())
    for low, high in ((0.0, 0.3), (0.3, 0.5), (0.5, 0.97), (0.97, 1.0)):
        expected = float(density[(unit > low) & (unit < high)].sum())
        found = float(((drawn > low) & (drawn < high)).mean())
        # four standard errors, and what the sum is off by
        error = 4 * math.sqrt(max(expected * (1 - expected), 0) / 20_000) + 1e-5
        assert found == pytest.approx(expected, abs=error)


@every_family
@pytest.mark.parametrize("pair", PARAMETERS[:4], ids=str)
def test_the_entropy_is_minus_the_mean_of_the_log_density(
    family: str, pair: tuple[float, float]
) -> None:
    actions, _, widths = grid(family)
    distribution = make(family, pair)
    logprobs = distribution.log_prob(actions)
    expected = -float((logprobs.exp() * logprobs * widths).sum())
    assert float(distribution.entropy()) == pytest.approx(expected, abs=3e-5)


@every_family
@pytest.mark.parametrize("other", PARAMETERS[:4], ids=str)
@pytest.mark.parametrize("pair", PARAMETERS[:3], ids=str)
def test_kl_is_the_mean_difference_of_the_log_densities(
    family: str, pair: tuple[float, float], other: tuple[float, float]
) -> None:
    actions, _, widths = grid(family)
    one, another = make(family, pair), make(family, other)
    logprobs = one.log_prob(actions)
    mean = float((logprobs.exp() * widths * (logprobs - another.log_prob(actions))).sum())
    found = float(one.kl(another))  # pyright: ignore[reportArgumentType]
    assert found == pytest.approx(mean, rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("mean", [0.0, 0.3, -1.0, 3.0, -10.0, 40.0])
@pytest.mark.parametrize("log_std", [-9.0, -5.0, -2.0, -0.5, 0.0, 1.0, 2.0, 4.0])
def test_the_squashed_entropy_and_its_gradient_are_the_integrals(
    log_std: float, mean: float
) -> None:
    std, z = math.exp(log_std), torch.linspace(-12, 12, 200_001, dtype=torch.float64)
    weights = (-0.5 * z.square()).softmax(0)
    u = mean + std * z
    # log(1 - tanh^2) = -2 log cosh, and d/du of it is -2 tanh
    log_slopes = 2 * math.log(2) - 2 * torch.logaddexp(u, -u)
    value = 0.5 * math.log(2 * math.pi * math.e) + log_std + log_slopes @ weights
    gradient = -2 * u.tanh() @ weights, 1 - 2 * (u.tanh() * std * z) @ weights
    for dtype, error in ((torch.float64, 2e-8), (torch.float32, 2e-6)):
        given = [torch.tensor([x], dtype=dtype, requires_grad=True) for x in (mean, log_std)]
        found = SquashedGaussian(*given).entropy()
        slopes = torch.autograd.grad(found, given)
        assert float(found.detach()) == pytest.approx(float(value), rel=error, abs=error)
        for one, expected in zip(slopes, gradient, strict=True):
            assert float(one) == pytest.approx(float(expected), rel=error, abs=error)


@pytest.mark.parametrize("outputs", [(-300.0, -300.0), (-40.0, 9.0), (1e4, 2.0), (1e6, 1e6)])
def test_the_entropy_of_an_extreme_beta_is_the_integral(outputs: tuple[float, float]) -> None:
    given = torch.tensor(outputs, dtype=torch.float64)
    alpha, beta = (1 + torch.nn.functional.softplus(given)).tolist()
    # over the log-odds, where no digits are lost beside 0 and 1
    middle, reach = math.log(alpha / beta), 15 * math.sqrt(1 / alpha + 1 / beta) + 30 / alpha
    odds = torch.linspace(middle - reach, middle + reach, 400_001, dtype=torch.float64)
    logs, rests = (torch.nn.functional.logsigmoid(x) for x in (odds, -odds))
    density = alpha * logs + beta * rests
    total = density.logsumexp(0) + math.log(float(odds[1] - odds[0]))
    log_density = (alpha - 1) * logs + (beta - 1) * rests - total
    expected = -float(density.softmax(0) @ log_density)
    first, second = given.float().unsqueeze(-1)
    assert float(Beta(first, second).entropy()) == pytest.approx(expected, rel=1e-6, abs=1e-6)


def test_the_squashed_entropy_is_differentiable_and_draws_nothing() -> None:
    mean = torch.tensor([[0.5, -2.0]], dtype=torch.float64, requires_grad=True)
    log_std = torch.tensor([[0.2, -1.0]], dtype=torch.float64, requires_grad=True)
    before = torch.get_rng_state()

    def entropy(mean: Tensor, log_std: Tensor) -> Tensor:
        return SquashedGaussian(mean, log_std).entropy()

    assert torch.autograd.gradcheck(entropy, (mean, log_std))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    "log_std",
    [torch.tensor([0.3, -0.7]), torch.linspace(-2, 0, 8).reshape(4, 2)],
    ids=["A", "BA"],
)
def test_a_squashed_gaussian_is_torchs(log_std: Tensor) -> None:
    mean, log_std = torch.linspace(-2, 2, 8).reshape(4, 2).double(), log_std.double()
    ours = SquashedGaussian(mean, log_std)
    theirs = TransformedDistribution(Normal(mean, log_std.exp()), TanhTransform())
    u = ours.sample(Generator().manual_seed(0))
    assert_close(ours.log_prob(u), theirs.log_prob(u.tanh()).sum(-1))
    assert ours.entropy().shape == (4,)


def test_the_mode_of_a_squashed_gaussian_is_the_median_of_its_actions() -> None:
    distribution = SquashedGaussian(torch.full((20_001, 1), 0.7), torch.tensor([0.5]))
    drawn = distribution.sample(Generator().manual_seed(0)).tanh()
    assert float(drawn.median()) == pytest.approx(math.tanh(0.7), abs=0.02)
    assert float(distribution.greedy()[0, 0]) == pytest.approx(0.7)


@pytest.mark.parametrize("u", [0.0, 20.0, -20.0, 400.0, -400.0, 1e4])
def test_a_squashed_action_at_a_bound_has_a_finite_log_probability_and_gradient(u: float) -> None:
    mean, log_std = (torch.zeros(1, 1, requires_grad=True) for _ in range(2))
    logprob = SquashedGaussian(mean, log_std).log_prob(torch.tensor([[u]]))
    logprob.backward()
    # at +-20, N(u) + 2 |u| - 2 log 2
    if abs(u) == 20:
        expected = -200 - 0.5 * math.log(2 * math.pi) + 40 - 2 * math.log(2)
        assert float(logprob) == pytest.approx(expected)
    assert logprob.isfinite().all()
    for parameter in (mean, log_std):
        assert parameter.grad is not None
        assert parameter.grad.isfinite().all()


@pytest.mark.parametrize("outputs", [(-300.0, -300.0), (-40.0, 9.0), (1e4, -1e4), (1e6, 1e6)])
def test_any_outputs_make_a_beta_whose_draws_are_inside_and_finite(
    outputs: tuple[float, float],
) -> None:
    alpha, beta = (torch.full((2000, 1), x).requires_grad_() for x in outputs)
    distribution = Beta(alpha, beta)
    drawn = distribution.sample(Generator().manual_seed(0))
    assert drawn.dtype == torch.float32
    for actions in (drawn, distribution.greedy().detach()):
        assert ((actions > 0) & (actions < 1)).all()
        logprobs, entropy = distribution.log_prob(actions), distribution.entropy()
        total = (logprobs + entropy).sum()
        gradients = torch.autograd.grad(total, (alpha, beta), retain_graph=True)
        assert all(x.isfinite().all() for x in (logprobs, entropy, *gradients))


def test_a_concentrated_beta_keeps_its_digits_in_float32() -> None:
    outputs = torch.tensor([[5000.0, 9000.0], [300.0, 200.0]])
    alpha, beta = (1 + outputs.double()).unbind(-1)
    exact = torch.distributions.Beta(alpha, beta)
    narrow = Beta(outputs[:, :1], outputs[:, 1:])
    actions = narrow.sample(Generator().manual_seed(0))
    found = narrow.log_prob(actions)
    assert found.dtype == torch.float32
    assert_close(found.double(), exact.log_prob(actions[:, 0].double()), rtol=0, atol=1e-6)
    assert_close(narrow.entropy().double(), exact.entropy(), rtol=0, atol=1e-6)


def test_a_beta_without_noise_is_its_mean_by_hand() -> None:
    # softplus of log(e^x - 1) is x: alpha = 1 + 3, beta = 1 + 1
    outputs = torch.tensor([3.0, 1.0]).expm1().log()
    assert float(Beta(*outputs.unsqueeze(-1)).greedy()) == pytest.approx(4 / 6)
    uniform = torch.tensor([-1e4])
    assert float(Beta(uniform, uniform).greedy()) == 0.5
    # almost uniform, with its mode at 1
    flat = Beta(torch.tensor([-10.0]), torch.tensor([-100.0]))
    assert float(flat.greedy()) == pytest.approx(0.5, abs=1e-4)


def test_the_deviation_of_a_beta_is_torchs() -> None:
    outputs = torch.linspace(-3, 3, 8).double()
    alpha, beta = (1 + torch.nn.functional.softplus(outputs)).chunk(2)
    theirs = torch.distributions.Beta(alpha, beta)
    assert_close(Beta(*outputs.chunk(2)).std(), theirs.stddev)


def test_log_deviations_of_a_state_start_at_0_and_stay_within_their_limits() -> None:
    outputs = torch.tensor([0.0, -1e4, 1e4, -2.0, 2.0])
    found = limit_log_std(outputs)
    assert found[:3].tolist() == pytest.approx([0, -5, 2], abs=1e-6)
    assert -5 < found[3] < 0 < found[4] < 2
    far = torch.tensor([-12.0, 12.0], requires_grad=True)
    limit_log_std(far).sum().backward()
    assert far.grad is not None
    assert (far.grad > 0).all(), "nothing leads back"


SEEN = ObsSpec((Leaf("obs", (), (3,), "float32", "vector"),))
PLAIN = Architecture((8,), "tanh", normalize_obs=False)
FAMILIES: list[dict[str, str]] = [
    {"log_std": "state"},
    {"action_distribution": "squashed_gaussian"},
    {"action_distribution": "squashed_gaussian", "log_std": "state"},
    {"action_distribution": "beta"},
]


def make_policy(space: spaces.Box, **choices: Any) -> Policy:
    return Policy(SEEN, describe_action(space, "any"), dataclasses.replace(PLAIN, **choices))


@pytest.mark.parametrize("choices", FAMILIES, ids=str)
def test_outputs_and_parameters_make_the_same_distribution(choices: dict[str, str]) -> None:
    policy = make_policy(spaces.Box(-1, 1, (2,)), **choices)
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.normal_(generator=Generator().manual_seed(0))
    obs = {"obs": torch.linspace(-2, 2, 24).reshape(8, 3)}
    direct, parameters = policy(obs), policy.parameters_at(obs)
    assert parameters.shape == (8, 4)
    rebuilt = policy.rebuild(parameters)
    actions = direct.sample(Generator().manual_seed(0))
    assert actions.shape == direct.greedy().shape == (8, 2)
    assert torch.equal(rebuilt.log_prob(actions), direct.log_prob(actions))
    assert_close(rebuilt.kl(direct), torch.zeros(8), rtol=0, atol=1e-6)
    assert policy.mean_std(parameters) > 0


@pytest.mark.parametrize("choices", FAMILIES, ids=str)
def test_a_new_policy_acts_broadly_around_the_middle(choices: dict[str, str]) -> None:
    policy = make_policy(spaces.Box(-1, 3, (2,)), **choices)
    distribution = policy({"obs": torch.linspace(-2, 2, 24).reshape(8, 3)})
    middle = policy.to_bounds(distribution.greedy().detach().numpy())
    squashes = "action_distribution" in choices
    np.testing.assert_allclose(middle, 1.0 if squashes else 0.0, atol=0.1)
    drawn = policy.to_bounds(distribution.sample(Generator().manual_seed(0)).detach().numpy())
    assert drawn.std() > 0.5


edges = st.floats(-1e6, 1e6, width=32)
stored = st.floats(-50, 50, width=32) | st.sampled_from([-1e30, -9.0, 9.0, 1e30])


@every_family
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@given(ends=st.tuples(edges, edges), wider=st.booleans(), given_actions=st.lists(stored))
def test_no_action_leaves_the_bounds_in_their_own_type(
    family: str, dtype: Any, ends: tuple[float, float], wider: bool, given_actions: list[float]
) -> None:
    # thirds have no end in binary, so that what is laid out between them is rounded
    low, high = sorted(dtype(end / 3) for end in ends)
    if wider:
        low, high = dtype(-1e38), dtype(1e38)
    space = spaces.Box(np.array([low, -1], dtype), np.array([high, dtype(0.1)]), dtype=dtype)
    policy = make_policy(space, action_distribution=family)
    draws = policy({"obs": torch.zeros(50, 3)}).sample(Generator().manual_seed(0)).detach().numpy()
    extremes = np.array(given_actions, np.float32)
    if family == "beta":
        tiny, almost = np.nextafter(np.array([0, 1], np.float32), np.array([1, 0], np.float32))
        extremes = np.clip(np.abs(extremes) / 50, tiny, almost)
    extremes = np.stack([extremes, extremes[::-1]], -1).reshape(-1, 2)
    sampled = np.concatenate([draws, extremes])
    kept = sampled.copy()
    received = policy.action_spec.to_env(policy.to_bounds(sampled))
    np.testing.assert_array_equal(sampled, kept)
    for action in received:
        assert space.contains(action), f"{action!r} is not in {space}"


@pytest.mark.parametrize("family", ["gaussian", *BOUNDED])
@given(shares=st.lists(st.tuples(*[st.floats(0, 1)] * 3), min_size=1))
def test_from_env_is_the_inverse_of_to_bounds_but_for_a_margin_at_them(
    family: str, shares: list[tuple[float, float, float]]
) -> None:
    # of usual bounds, of nearly all numbers, and of a single one
    low = np.array([-0.1, -1e38, 3], np.float32)
    high = np.array([0.7, 1e38, 3], np.float32)
    space = spaces.Box(low, high)
    policy = make_policy(space, action_distribution=family, action_scale="bounds")
    between = np.array(shares)
    actions = (low * (1 - between) + high * between).astype(np.float32).clip(low, high)
    stored = policy.from_env(actions)
    assert np.isfinite(stored).all()
    back = policy.action_spec.to_env(policy.to_bounds(stored))
    margin = 1e-7 if family == "gaussian" else 1.1e-3
    away = np.abs(back.astype(np.float64) - actions) / np.maximum(high.astype(np.float64) - low, 1)
    assert (away <= margin).all()
    distribution = policy({"obs": torch.zeros(len(actions), 3)})
    assert distribution.log_prob(torch.from_numpy(stored)).isfinite().all() or family == "gaussian"


@every_family
def test_actions_reach_from_bound_to_bound_in_order(family: str) -> None:
    space = spaces.Box(np.array([-0.1, 2.0], np.float32), np.array([0.7, 9.0], np.float32))
    policy = make_policy(space, action_distribution=family)
    reach = np.linspace(-20, 20, 101) if family == "squashed_gaussian" else np.linspace(0, 1, 101)
    sampled = np.stack([reach, reach], -1).astype(np.float32)
    received = policy.action_spec.to_env(policy.to_bounds(sampled))
    np.testing.assert_array_equal(received[[0, -1]], [space.low, space.high])
    np.testing.assert_allclose(received[50], (space.low + space.high) / 2, rtol=1e-6)
    assert (np.diff(received, axis=0) >= 0).all()


def test_the_unit_of_a_gaussian_is_half_the_range_around_the_middle() -> None:
    low, high = np.array([100, -2, -np.inf, -1]), np.array([200, 2, np.inf, 1])
    space = spaces.Box(low.astype(np.float32), high.astype(np.float32))
    policy = make_policy(space, action_scale="bounds")
    sampled = np.array([[0, 0.5, 7, 0.3], [1, -1, -7, -1], [-3, 3, 0, 2]], np.float32)
    expected = [[150, 1, 7, np.float32(0.3)], [200, -2, -7, -1], [100, 2, 0, 1]]
    given = policy.action_spec.to_env(policy.to_bounds(sampled))
    np.testing.assert_array_equal(given, np.array(expected, np.float32))
    stored = [[0, 0.5, 7, 0.3], [1, -1, -7, -1], [-1, 1, 0, 1]]
    np.testing.assert_allclose(policy.from_env(given), stored, rtol=1e-6)
    # a Gaussian without a scale, and bounds of +-1 or none, change nothing at all
    unit = make_policy(space, action_scale="unit")
    usual = make_policy(spaces.Box(low[2:], high[2:], dtype=np.float64), action_scale="bounds")
    assert unit.to_bounds(sampled) is sampled
    assert usual.to_bounds(sampled) is sampled


@every_family
def test_a_bounded_distribution_is_not_scaled_twice(family: str) -> None:
    space = spaces.Box(np.float32(100), np.float32(200), (2,))
    sampled = np.array([[0.25, 0.5]], np.float32)
    one, other = (
        make_policy(space, action_distribution=family, action_scale=scale).to_bounds(sampled)
        for scale in ("unit", "bounds")
    )
    np.testing.assert_array_equal(one, other)


@every_family
@pytest.mark.parametrize(
    "low",
    [-np.finfo(np.float32).max, -np.inf, np.array([-np.inf, 0.0])],
    ids=["largest", "both", "one"],
)
def test_without_bounds_it_is_refused_by_flag_and_space(family: str, low: Any) -> None:
    space = spaces.Box(low, 1.0, (2,), np.float32)
    expected = rf"--action-distribution: {family} .*action 0 of 2 has \[-(inf|3.40282e\+38), 1\]"
    with pytest.raises(InputError, match=expected):
        make_policy(space, action_distribution=family)
    make_policy(space, log_std="state")


@pytest.mark.parametrize("choices", FAMILIES, ids=str)
def test_discrete_actions_are_as_they_were(choices: dict[str, str]) -> None:
    actions = describe_action(spaces.Discrete(3), "any")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        chosen = Policy(SEEN, actions, dataclasses.replace(PLAIN, **choices))
        torch.manual_seed(0)
        plain = Policy(SEEN, actions, PLAIN)
    assert chosen.num_outputs == 3
    for one, other in zip(chosen.parameters(), plain.parameters(), strict=True):
        assert torch.equal(one, other)
    sampled = np.array([0, 2])
    assert chosen.to_bounds(sampled) is sampled
