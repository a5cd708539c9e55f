import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from distpg.gradient.diagnostics import approx_kl, explained_variance
from distpg.gradient.losses import (
    SURROGATES,
    Coefficients,
    Scored,
    clipped_loss,
    log_prob_loss,
    value_loss,
)

LOGITS = torch.tensor([0.4, -1.0, 0.3], dtype=torch.float64)
ACTIONS = [0, 2, 2, 1]
ADVANTAGES = torch.tensor([1.0, -2.0, 0.5, 3.0], dtype=torch.float64)


def softmax_gradient(loss: str, log_ratio: Tensor | float = 0.0) -> Tensor:
    """Gradient of a policy loss on four samples with respect to the logits."""
    logits = LOGITS.clone().requires_grad_()
    logprobs = logits.log_softmax(0)[ACTIONS]
    acted = logprobs.detach() - log_ratio
    nothing = torch.zeros(4, dtype=torch.float64)
    scored = Scored(logprobs, acted, ADVANTAGES, torch.ones_like(nothing), nothing)
    now = Coefficients(clip=0.2, kl=1.0, entropy=0.0)
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


def test_at_ratio_1_the_clipped_gradient_is_that_of_log_prob_loss() -> None:
    assert_close(softmax_gradient("clip"), softmax_gradient("log_prob"))


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


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=20))
def test_approx_kl_is_never_negative(log_ratios: list[float]) -> None:
    assert float(approx_kl(torch.tensor(log_ratios, dtype=torch.float64))) >= -1e-15


def test_approx_kl_is_0_where_nothing_has_moved() -> None:
    assert float(approx_kl(torch.zeros(7))) == 0


def test_approx_kl_is_unbiased_for_the_divergence_from_the_acting_policy() -> None:
    acting = torch.distributions.Categorical(logits=LOGITS)
    logits = torch.tensor([0.1, 0.2, -0.3], dtype=torch.float64)
    current = torch.distributions.Categorical(logits=logits)
    log_ratio = current.logits - acting.logits
    expected = sum(
        float(chance * approx_kl(one.view(1)))
        for chance, one in zip(acting.probs, log_ratio, strict=True)
    )
    exact = float(torch.distributions.kl_divergence(acting, current))
    assert exact > 0.05
    assert expected == pytest.approx(exact, rel=1e-12)
    reverse = float(torch.distributions.kl_divergence(current, acting))
    assert expected != pytest.approx(reverse, rel=1e-3)


def test_explained_variance_by_hand() -> None:
    # returns 1, 3: variance 1; errors 0, 1: variance 1/4
    found = explained_variance(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 3.0]))
    assert float(found) == pytest.approx(0.75)


def test_perfect_values_explain_all_the_variance() -> None:
    returns = torch.tensor([1.0, -2.0, 5.0])
    assert float(explained_variance(returns, returns)) == 1


def test_values_that_are_off_by_a_constant_explain_all_the_variance() -> None:
    returns = torch.tensor([1.0, -2.0, 5.0])
    assert float(explained_variance(returns + 3, returns)) == pytest.approx(1)


def test_the_mean_explains_nothing() -> None:
    returns = torch.tensor([1.0, -2.0, 4.0])
    assert float(explained_variance(torch.ones(3), returns)) == pytest.approx(0)


def test_values_of_the_wrong_sign_explain_less_than_nothing() -> None:
    # errors are twice the returns: 1 - 4
    returns = torch.tensor([1.0, -2.0, 4.0])
    assert float(explained_variance(-returns, returns)) == pytest.approx(-3)


def test_constant_returns_have_no_variance_to_explain() -> None:
    assert math.isnan(float(explained_variance(torch.tensor([1.0, 2.0]), torch.ones(2))))
