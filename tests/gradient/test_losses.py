import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from distpg.gradient.losses import (
    SURROGATES,
    Coefficients,
    SurrogateInputs,
    clipped_loss,
    log_prob_loss,
    ratio_loss,
    value_loss,
)
from distpg.policy.distributions import Categorical

LOGITS = torch.tensor([0.4, -1.0, 0.3], dtype=torch.float64)
ACTIONS = [0, 2, 2, 1]
ADVANTAGES = torch.tensor([1.0, -2.0, 0.5, 3.0], dtype=torch.float64)


def softmax_gradient(
    loss: str,
    log_ratio: Tensor | float = 0.0,
    importance: Tensor | float = 1.0,
    kl_coef: float = 1.0,
) -> Tensor:
    """Gradient of a policy loss on four samples with respect to the logits."""
    logits = LOGITS.clone().requires_grad_()
    logprobs = logits.log_softmax(0)[ACTIONS]
    acted = logprobs.detach() - log_ratio
    weights = torch.ones(4, dtype=torch.float64) * importance
    # the behaviour policy had the same logits, but for what the surrogate says it moved
    kl = Categorical(LOGITS.expand(4, 3)).kl(Categorical(logits.expand(4, 3)))
    scored = SurrogateInputs(logprobs, logprobs - acted, ADVANTAGES, weights, kl)
    now = Coefficients(clip=0.2, kl=kl_coef, entropy=0.0)
    (gradient,) = torch.autograd.grad(SURROGATES[loss](scored, now), logits)
    return gradient


def test_log_prob_loss_by_hand() -> None:
    # the weighted log-probabilities are -1, 6 and 0
    loss = log_prob_loss(torch.tensor([1.0, 2.0, 4.0]), torch.tensor([-1.0, 3.0, 0.0]))
    assert float(loss) == pytest.approx(-5 / 3)


def test_the_gradient_of_log_prob_loss_is_minus_the_mean_of_weighted_scores() -> None:
    # for a softmax, grad log pi(a) = one-hot(a) - pi
    scores = torch.eye(3, dtype=torch.float64)[ACTIONS] - LOGITS.softmax(0)
    expected = -sum(weight * score for weight, score in zip(ADVANTAGES, scores, strict=True)) / len(
        ACTIONS
    )
    assert_close(softmax_gradient("log_prob"), expected)


@pytest.mark.parametrize("surrogate", SURROGATES)
def test_at_the_parameters_that_acted_every_gradient_is_that_of_log_prob_loss(
    surrogate: str,
) -> None:
    assert softmax_gradient("log_prob").abs().max() > 0.1
    assert_close(softmax_gradient(surrogate), softmax_gradient("log_prob"))


@pytest.mark.parametrize("surrogate", ["kl_adaptive", "kl_fixed"])
@pytest.mark.parametrize("kl_coef", [1e-3, 1.0, 1e3])
def test_at_the_parameters_that_acted_the_penalty_has_no_gradient(
    kl_coef: float, surrogate: str
) -> None:
    found = softmax_gradient(surrogate, kl_coef=kl_coef)
    assert_close(found, softmax_gradient("log_prob"), rtol=0, atol=1e-12)


def test_ratio_loss_by_hand() -> None:
    # ratios 1.5, 0.5 and 1 with advantages 2, -4 and 6: -(3 - 2 + 6) / 3
    log_ratio = torch.tensor([1.5, 0.5, 1.0]).log()
    loss = ratio_loss(log_ratio, torch.tensor([2.0, -4.0, 6.0]))
    assert float(loss) == pytest.approx(-7 / 3)


@pytest.mark.parametrize("log_ratios", [[0.0] * 4, [2.0] * 4, [-1.5, 0.3, 2.0, -0.1]])
def test_the_detached_ratio_has_log_probs_gradient_wherever_the_parameters_are(
    log_ratios: list[float],
) -> None:
    log_ratio = torch.tensor(log_ratios, dtype=torch.float64)
    found = softmax_gradient("detached_ratio", log_ratio)
    assert_close(found, softmax_gradient("log_prob", log_ratio))
    # neither knows how far the policy has moved
    assert_close(found, softmax_gradient("log_prob"))


def test_the_detached_ratios_loss_is_minus_the_mean_of_the_advantages() -> None:
    logprobs = torch.tensor([-0.5, -2.0, -1.0, -3.0], dtype=torch.float64)
    none = torch.zeros(0, dtype=torch.float64)
    scored = SurrogateInputs(
        logprobs, logprobs * 0 + 1, ADVANTAGES, torch.ones_like(logprobs), none
    )
    now = Coefficients(clip=0.2, kl=1.0, entropy=0.0)
    # 1 - 2 + 0.5 + 3 = 2.5
    assert float(SURROGATES["detached_ratio"](scored, now)) == pytest.approx(-2.5 / 4)


def test_importance_weighted_by_the_steps_own_ratio_has_the_ratio_loss_gradient() -> None:
    log_ratio = torch.tensor([0.3, -0.7, 1.2, 0.05], dtype=torch.float64)
    weighted = softmax_gradient("importance", log_ratio, importance=log_ratio.exp())
    # of that loss with a penalty too small to count
    unclipped = softmax_gradient("kl_fixed", log_ratio, kl_coef=1e-30)
    assert_close(weighted, unclipped)
    assert float((weighted - softmax_gradient("log_prob")).abs().max()) > 0.01


def test_importance_weights_scale_the_gradient_sample_by_sample() -> None:
    assert_close(softmax_gradient("importance", 0.4, importance=2.0), 2 * softmax_gradient("clip"))
    only = torch.tensor([0.0, 0.0, 1.0, 0.0], dtype=torch.float64)
    # a softmax's score of its third action, times the weight 0.5, over 4 samples
    score = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64) - LOGITS.softmax(0)
    assert_close(softmax_gradient("importance", importance=only), -0.5 * score / 4)


@pytest.mark.parametrize("surrogate", ["kl_adaptive", "kl_fixed"])
def test_the_kl_penalty_has_the_gradient_of_torchs_divergence(surrogate: str) -> None:
    acting_logits = torch.randn(4, 3, generator=torch.Generator().manual_seed(0)).double()
    logits = LOGITS.clone().requires_grad_()
    current = Categorical(logits.expand(4, 3))
    actions = torch.tensor(ACTIONS)
    old = Categorical(acting_logits)
    scored = SurrogateInputs(
        logprobs=current.log_prob(actions),
        log_ratio=current.log_prob(actions) - old.log_prob(actions),
        advantages=ADVANTAGES,
        importance=torch.ones_like(ADVANTAGES),
        kl=old.kl(current),
    )
    theirs = torch.distributions.Categorical(logits=logits.expand(4, 3))
    acting = torch.distributions.Categorical(logits=acting_logits)
    ratios = (theirs.log_prob(actions) - acting.log_prob(actions)).exp()
    divergence = torch.distributions.kl_divergence(acting, theirs).mean()
    expected_loss = 3.0 * divergence - (ratios * ADVANTAGES).mean()
    loss = SURROGATES[surrogate](scored, Coefficients(clip=0.2, kl=3.0, entropy=0.0))
    assert_close(loss, expected_loss)
    (expected,) = torch.autograd.grad(expected_loss, logits)
    (found,) = torch.autograd.grad(loss, logits)
    assert_close(found, expected)


def test_away_from_ratio_1_within_the_clip_range_the_gradient_is_weighted_by_the_ratio() -> None:
    # one step of log ratio 0.1 for all: e^0.1 = 1.105 is inside of 1 +- 0.2
    assert_close(softmax_gradient("clip", 0.1), math.exp(0.1) * softmax_gradient("log_prob"))


def test_clipped_loss_by_hand() -> None:
    # ratios 1.5, 0.5, 1.1, 0.5 with advantages 2, 2, -1, -4 and clip range 0.2:
    # min(3, 2.4) = 2.4;  min(1, 1.6) = 1;  min(-1.1, -1.1) = -1.1;  min(-2, -3.2) = -3.2
    # the loss is -(2.4 + 1 - 1.1 - 3.2) / 4 = 0.225
    log_ratio = torch.tensor([1.5, 0.5, 1.1, 0.5]).log()
    advantages = torch.tensor([2.0, 2.0, -1.0, -4.0])
    assert float(clipped_loss(log_ratio, advantages, clip_coef=0.2)) == pytest.approx(0.225)


@given(
    ratio=st.floats(0.05, 3),
    advantage=st.sampled_from([-2.0, -0.1, 0.1, 2.0]),
    clip_coef=st.sampled_from([0.1, 0.2, 0.3]),
)
def test_the_gradient_ends_where_the_ratio_has_moved_the_way_that_the_advantage_pushes(
    ratio: float, advantage: float, clip_coef: float
) -> None:
    if min(abs(ratio - 1 - clip_coef), abs(ratio - 1 + clip_coef)) < 1e-6:
        return
    log_ratio = torch.tensor([math.log(ratio)], dtype=torch.float64, requires_grad=True)
    weights = torch.tensor([advantage], dtype=torch.float64)
    clipped_loss(log_ratio, weights, clip_coef=clip_coef).backward()
    assert log_ratio.grad is not None
    moved = (advantage > 0 and ratio > 1 + clip_coef) or (advantage < 0 and ratio < 1 - clip_coef)
    expected = 0.0 if moved else -advantage * ratio
    assert float(log_ratio.grad) == pytest.approx(expected)


def test_the_clipped_loss_never_claims_more_than_the_unclipped_one() -> None:
    log_ratio = torch.linspace(-2, 2, 41, dtype=torch.float64)
    for advantage in (-1.0, 1.0):
        weights = torch.full_like(log_ratio, advantage)
        for one, weight in zip(log_ratio, weights, strict=True):
            loss = clipped_loss(one.view(1), weight.view(1), clip_coef=0.2)
            assert float(loss) >= float(-one.exp() * weight) - 1e-12


def test_value_loss_is_the_mean_squared_error() -> None:
    # the errors are 1, 3 and 0
    loss = value_loss(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([2.0, -1.0, 3.0]))
    assert float(loss) == pytest.approx(10 / 3)


def test_value_clipping_by_hand() -> None:
    # values before 1, clip 0.5, so V is held within [0.5, 1.5]. Returns 3: V = 2 is held at 1.5:
    # max(1, 2.25); V = 1.2 is not: 3.24. Return -1: V = 2: max(9, 6.25); V = 0: max(1, 2.25)
    values = torch.tensor([2.0, 1.2, 2.0, 0.0])
    returns = torch.tensor([3.0, 3.0, -1.0, -1.0])
    loss = value_loss(values, returns, torch.ones(4), 0.5)
    assert float(loss) == pytest.approx((2.25 + 3.24 + 9 + 2.25) / 4)


@given(
    value=st.floats(-5, 5),
    old=st.floats(-5, 5),
    target=st.floats(-5, 5),
    value_clip=st.sampled_from([0.1, 0.5, 2.0]),
)
def test_a_value_that_has_moved_too_far_towards_its_target_has_no_gradient(
    value: float, old: float, target: float, value_clip: float
) -> None:
    moved = value - old
    held = old + max(-value_clip, min(value_clip, moved))
    if abs(abs(moved) - value_clip) < 1e-6 or abs(abs(value - target) - abs(held - target)) < 1e-6:
        return
    values = torch.tensor([value], dtype=torch.float64, requires_grad=True)
    olds, targets = (torch.tensor([x], dtype=torch.float64) for x in (old, target))
    value_loss(values, targets, olds, value_clip).backward()
    assert values.grad is not None
    # what went past its target is drawn back, however far it moved
    nearer = abs(value - target) < abs(held - target)
    expected = 0.0 if abs(moved) > value_clip and nearer else 2 * (value - target)
    assert float(values.grad) == pytest.approx(expected)


def test_within_the_clip_and_without_one_the_value_loss_is_plain() -> None:
    values, returns = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([2.0, -1.0, 3.0])
    plain = value_loss(values, returns)
    old = torch.tensor([1.1, 1.9, 3.2])
    assert torch.equal(value_loss(values, returns, old, None), plain)
    assert_close(value_loss(values, returns, old, 0.5), plain)
    assert float(value_loss(values, returns, old, 0.05)) > float(plain)
