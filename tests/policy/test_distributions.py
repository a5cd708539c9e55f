import math
from collections.abc import Callable

import pytest
import torch
from torch import Generator, Tensor
from torch.nn.functional import softplus
from torch.testing import assert_close

from distpg.policy import distributions
from distpg.policy.bounded import Beta
from distpg.policy.distributions import (
    Bernoulli,
    Categorical,
    DiagonalGaussian,
    Distribution,
    MultiCategorical,
)

SIZES = (2, 3, 4)
LOG_STD = torch.tensor([0.3, -0.7])

MAKE: dict[str, tuple[int, Callable[[Tensor], Distribution]]] = {
    "categorical": (5, Categorical),
    "multi_categorical": (sum(SIZES), lambda outputs: MultiCategorical(outputs, SIZES)),
    "binary": (3, Bernoulli),
    "continuous": (2, lambda outputs: DiagonalGaussian(outputs, LOG_STD)),
    "beta": (4, lambda outputs: Beta(*outputs.chunk(2, -1))),
}
"""For each kind, how many outputs of a network it takes, and how it is made from them."""

every_kind = pytest.mark.parametrize("kind", MAKE)
every_batch_shape = pytest.mark.parametrize("batch_shape", [(), (4,), (2, 3)])


def outputs_of(kind: str, batch_shape: tuple[int, ...] = (4,), seed: int = 1) -> Tensor:
    return 2 * torch.randn(*batch_shape, MAKE[kind][0], generator=Generator().manual_seed(seed))


def reference(kind: str, outputs: Tensor) -> list[torch.distributions.Distribution]:
    """List torch's own distributions of the components; the last of two axes is theirs to sum."""
    if kind == "categorical":
        return [torch.distributions.Categorical(logits=outputs)]
    if kind == "multi_categorical":
        return [torch.distributions.Categorical(logits=part) for part in outputs.split(SIZES, -1)]
    if kind == "binary":
        bits = torch.distributions.Bernoulli(logits=outputs)
        return [torch.distributions.Independent(bits, 1)]
    if kind == "beta":
        alpha, beta = (1 + softplus(outputs)).chunk(2, -1)
        betas = torch.distributions.Beta(alpha, beta)
        return [torch.distributions.Independent(betas, 1)]
    normals = torch.distributions.Normal(outputs, LOG_STD.exp().expand_as(outputs))
    return [torch.distributions.Independent(normals, 1)]


@every_kind
@every_batch_shape
def test_log_prob_is_that_of_torch(kind: str, batch_shape: tuple[int, ...]) -> None:
    outputs = outputs_of(kind, batch_shape)
    ours = MAKE[kind][1](outputs)
    for seed in range(5):
        actions = ours.sample(Generator().manual_seed(seed))
        theirs = reference(kind, outputs)
        if kind == "multi_categorical":
            parts = zip(theirs, actions.unbind(-1), strict=True)
            expected = sum(part.log_prob(action) for part, action in parts)
        else:
            expected = theirs[0].log_prob(actions if kind != "binary" else actions.float())
        assert_close(ours.log_prob(actions), expected)
        assert ours.log_prob(actions).shape == batch_shape


@every_kind
@every_batch_shape
def test_entropy_is_that_of_torch(kind: str, batch_shape: tuple[int, ...]) -> None:
    outputs = outputs_of(kind, batch_shape)
    if kind == "binary":
        expected = torch.distributions.Bernoulli(logits=outputs).entropy().sum(-1)
    else:
        expected = sum(part.entropy() for part in reference(kind, outputs))
    assert_close(MAKE[kind][1](outputs).entropy(), expected)


def torchs_kl(kind: str, one: Tensor, other: Tensor) -> Tensor:
    if kind == "multi_categorical":
        pairs = zip(reference(kind, one), reference(kind, other), strict=True)
        return torch.stack([torch.distributions.kl_divergence(p, q) for p, q in pairs]).sum(0)
    (p,), (q,) = reference(kind, one), reference(kind, other)
    return torch.distributions.kl_divergence(p, q)


@every_kind
@every_batch_shape
def test_kl_is_that_of_torch(kind: str, batch_shape: tuple[int, ...]) -> None:
    one, other = outputs_of(kind, batch_shape), outputs_of(kind, batch_shape, seed=2)
    make = MAKE[kind][1]
    found = make(one).kl(make(other))
    assert found.shape == batch_shape
    assert_close(found, torchs_kl(kind, one, other))
    assert (found > 0).all()
    assert not torch.allclose(found, make(other).kl(make(one))) or kind == "continuous"


@every_kind
def test_kl_from_itself_is_0_and_flat_there(kind: str) -> None:
    outputs = outputs_of(kind).double()
    moving = outputs.clone().requires_grad_()
    make = MAKE[kind][1]
    found = make(outputs).kl(make(moving))
    found.sum().backward()
    assert moving.grad is not None
    assert_close(found, torch.zeros_like(found), rtol=0, atol=1e-7)
    assert_close(moving.grad, torch.zeros_like(moving), rtol=0, atol=1e-7)


@every_kind
def test_the_gradient_of_kl_is_that_of_torch(kind: str) -> None:
    one, other = outputs_of(kind), outputs_of(kind, seed=2).requires_grad_()
    make = MAKE[kind][1]
    (found,) = torch.autograd.grad(make(one).kl(make(other)).sum(), other)
    (expected,) = torch.autograd.grad(torchs_kl(kind, one, other).sum(), other)
    assert_close(found, expected, rtol=1e-4, atol=1e-5)


# Gaussians whose deviation is the same in all states, [A], and of each state's own, [B, A].
OWN_LOG_STD = torch.tensor([[0.3, -0.7], [0.0, 1.1], [-1.5, 0.4], [0.6, 0.6]])
log_stds = pytest.mark.parametrize("log_std", [LOG_STD, OWN_LOG_STD], ids=["[A]", "[B, A]"])


def torchs_normal(mean: Tensor, log_std: Tensor) -> torch.distributions.Distribution:
    return torch.distributions.Independent(torch.distributions.Normal(mean, log_std.exp()), 1)


@log_stds
def test_a_gaussian_is_torchs_whatever_the_shape_of_its_deviations(log_std: Tensor) -> None:
    mean = outputs_of("continuous")
    ours, theirs = DiagonalGaussian(mean, log_std), torchs_normal(mean, log_std)
    actions = ours.sample(Generator().manual_seed(0))
    assert actions.shape == mean.shape
    assert_close(ours.log_prob(actions), theirs.log_prob(actions))
    assert_close(ours.entropy(), theirs.entropy())
    assert ours.entropy().shape == (4,)


@log_stds
@pytest.mark.parametrize("other_log_std", [LOG_STD - 0.4, OWN_LOG_STD.flip(0)], ids=["A", "BA"])
def test_kl_of_gaussians_is_torchs_whatever_the_shapes_of_their_deviations(
    log_std: Tensor, other_log_std: Tensor
) -> None:
    mean, other_mean = outputs_of("continuous"), outputs_of("continuous", seed=2)
    found = DiagonalGaussian(mean, log_std).kl(DiagonalGaussian(other_mean, other_log_std))
    one, other = torchs_normal(mean, log_std), torchs_normal(other_mean, other_log_std)
    assert found.shape == (4,)
    assert_close(found, torch.distributions.kl_divergence(one, other))


def test_kl_by_hand() -> None:
    # 3/4 log(3/4 / 1/2) + 1/4 log(1/4 / 1/2)
    one, even = torch.tensor([0.75, 0.25]).log(), torch.zeros(2)
    expected = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    assert float(Categorical(one).kl(Categorical(even))) == pytest.approx(expected)
    # two bits of logit log 3 are as likely to be 1 as 3/4
    bits = torch.full((2,), math.log(3))
    assert float(Bernoulli(bits).kl(Bernoulli(even))) == pytest.approx(2 * expected)
    # deviations 1 and 2, means 3 apart: log(2 / 1) + (1 + 3^2) / (2 * 2^2) - 1/2
    narrow = DiagonalGaussian(torch.tensor([3.0]), torch.zeros(1))
    wide = DiagonalGaussian(torch.zeros(1), torch.tensor([math.log(2)]))
    assert float(narrow.kl(wide)) == pytest.approx(math.log(2) + 10 / 8 - 0.5)


@every_kind
@every_batch_shape
def test_actions_without_noise_have_the_shape_of_samples_of_which_none_is_likelier(
    kind: str, batch_shape: tuple[int, ...]
) -> None:
    distribution = MAKE[kind][1](outputs_of(kind, batch_shape))
    greedy = distribution.greedy()
    best = distribution.log_prob(greedy)
    for seed in range(50):
        actions = distribution.sample(Generator().manual_seed(seed))
        assert actions.shape == greedy.shape
        assert actions.dtype == greedy.dtype
        # that of a Beta distribution is its mean
        assert kind == "beta" or (distribution.log_prob(actions) <= best).all()


def test_modes_by_hand() -> None:
    logits = torch.tensor([[0.1, -2.0, 3.0, 0.5, 0.4], [9.0, 0.0, 1.0, 2.0, 3.0]])
    assert Categorical(logits).greedy().tolist() == [2, 0]
    assert MultiCategorical(logits, (2, 3)).greedy().tolist() == [[0, 0], [0, 2]]
    assert Bernoulli(logits).greedy().tolist() == [[1, 0, 1, 1, 1], [1, 0, 1, 1, 1]]
    mean = torch.tensor([[0.5, -7.0]])
    assert DiagonalGaussian(mean, LOG_STD).greedy().tolist() == mean.tolist()


@every_kind
def test_the_same_seed_draws_the_same_actions_and_another_seed_others(kind: str) -> None:
    distribution = MAKE[kind][1](outputs_of(kind, (50,)))
    first = distribution.sample(Generator().manual_seed(3))
    assert torch.equal(distribution.sample(Generator().manual_seed(3)), first)
    assert not torch.equal(distribution.sample(Generator().manual_seed(4)), first)


@every_kind
def test_drawing_takes_nothing_from_the_global_generator(kind: str) -> None:
    distribution = MAKE[kind][1](outputs_of(kind))
    before = torch.get_rng_state()
    distribution.sample(Generator().manual_seed(3))
    assert torch.equal(torch.get_rng_state(), before)


DRAWS = 20_000


def chi_square(codes: Tensor, chances: Tensor) -> float:
    """Compare how often each code was drawn with how often it should be."""
    counts = torch.bincount(codes, minlength=len(chances)).double()
    expected = chances.double() * len(codes)
    return float(((counts - expected).square() / expected).sum())


# Bounds are the quantiles at 1 - 1e-4 of chi-square for one degree of freedom less than codes.


def test_a_categorical_draws_each_action_as_often_as_its_probability() -> None:
    logits = torch.tensor([0.0, 1.0, -1.0, 0.5, -2.0])
    actions = Categorical(logits.expand(DRAWS, 5)).sample(Generator().manual_seed(0))
    assert chi_square(actions, logits.softmax(0)) < 23.5


def test_choices_are_drawn_independently() -> None:
    logits = torch.tensor([0.3, -0.4, 1.0, 0.0, -1.0])
    draws = MultiCategorical(logits.expand(DRAWS, 5), (2, 3)).sample(Generator().manual_seed(0))
    joint = torch.outer(logits[:2].softmax(0), logits[2:].softmax(0)).flatten()
    assert chi_square(draws[:, 0] * 3 + draws[:, 1], joint) < 25.7


def test_bits_are_drawn_independently() -> None:
    logits = torch.tensor([0.8, -1.0])
    draws = Bernoulli(logits.expand(DRAWS, 2)).sample(Generator().manual_seed(0))
    bits = torch.stack([1 - logits.sigmoid(), logits.sigmoid()])
    joint = torch.outer(bits[:, 0], bits[:, 1]).flatten()
    assert chi_square(draws[:, 0] * 2 + draws[:, 1], joint) < 21.1


def test_rows_of_a_batch_are_drawn_independently() -> None:
    draws = Categorical(torch.zeros(DRAWS, 2, 2)).sample(Generator().manual_seed(0))
    assert chi_square(draws[:, 0] * 2 + draws[:, 1], torch.full((4,), 0.25)) < 21.1


def test_a_gaussian_has_its_mean_and_deviation_and_no_correlation() -> None:
    mean = torch.tensor([1.5, -0.5])
    draws = DiagonalGaussian(mean.expand(DRAWS, 2), LOG_STD).sample(Generator().manual_seed(0))
    std = LOG_STD.exp()
    # four standard errors of the mean, the deviation and the correlation
    assert ((draws.mean(0) - mean).abs() < 4 * std / math.sqrt(DRAWS)).all()
    assert ((draws.std(0) / std - 1).abs() < 4 / math.sqrt(2 * DRAWS)).all()
    assert abs(float(torch.corrcoef(draws.T)[0, 1])) < 4 / math.sqrt(DRAWS)
    within = ((draws - mean).abs() < std).float().mean()
    assert float(within) == pytest.approx(0.6827, abs=0.01)


def test_log_probs_stay_finite_where_the_logits_are_extreme() -> None:
    logits = torch.tensor([[200.0, -200.0]])
    bits = Bernoulli(logits)
    assert bits.log_prob(torch.tensor([[0, 1]])).tolist() == [-400]
    assert bits.entropy().isfinite().all()
    assert Categorical(logits).log_prob(torch.tensor([1])).tolist() == [-400]
    assert Categorical(logits).entropy().tolist() == [0]
    # the second action has lost 400 nats, but the first, which is certain, none
    assert Categorical(logits).kl(Categorical(torch.zeros(1, 2))).tolist() == [
        pytest.approx(math.log(2))
    ]
    assert bits.kl(Bernoulli(-logits)).tolist() == [400]


@pytest.mark.parametrize("block", [1, 3, 4, 100])
def test_many_actions_are_drawn_block_by_block_from_the_same_probabilities(
    block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(distributions, "BLOCK", block)
    logits = torch.tensor([0.3, -1.0, 2.0, torch.finfo(torch.float32).min, 1.0, -0.5, 0.0, 1.5])
    drawn = Categorical(logits.expand(2, 20_000, 8)).sample(Generator().manual_seed(0))
    assert drawn.shape == (2, 20_000)
    counts = drawn.flatten().bincount(minlength=8) / 40_000
    # four standard errors of the most frequent
    assert_close(counts, logits.softmax(-1), rtol=0, atol=0.01)
    assert counts[3] == 0
