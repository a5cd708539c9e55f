import math
from itertools import product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from distpg.gradient.diagnostics import (
    approx_kl,
    effective_sample_size,
    explained_variance,
    gradient_noise,
    kl_term,
)

LOGITS = torch.tensor([0.4, -1.0, 0.3], dtype=torch.float64)


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=20))
def test_approx_kl_is_never_negative(log_ratios: list[float]) -> None:
    for dtype in (torch.float32, torch.float64):
        assert float(approx_kl(torch.tensor(log_ratios, dtype=dtype))) >= 0


def test_approx_kl_of_small_steps_has_its_digits() -> None:
    # x^2 / 2 to first order, of which exp(x) - 1 - x keeps nothing in float32
    for small in (1e-3, 1e-4):
        assert float(approx_kl(torch.tensor([small]))) == pytest.approx(small**2 / 2, rel=0.1)


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


def test_effective_sample_size_by_hand() -> None:
    # weights 1, 2, 3: 36 / (3 * 14)
    assert float(effective_sample_size(torch.tensor([1.0, 2.0, 3.0]))) == pytest.approx(6 / 7)


@given(count=st.integers(1, 50), weight=st.floats(0.01, 100))
def test_equal_weights_leave_all_samples_effective(count: int, weight: float) -> None:
    weights = torch.full((count,), weight, dtype=torch.float64)
    assert float(effective_sample_size(weights)) == pytest.approx(1)


@given(count=st.integers(1, 50), weight=st.floats(0.01, 100))
def test_where_one_sample_has_all_the_weight_it_alone_is_effective(
    count: int, weight: float
) -> None:
    weights = torch.zeros(count, dtype=torch.float64)
    weights[count // 2] = weight
    assert float(effective_sample_size(weights)) == pytest.approx(1 / count)


@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=20), st.floats(0.1, 10))
def test_the_effective_share_is_between_one_sample_and_all_whatever_the_unit(
    weights: list[float], unit: float
) -> None:
    tensor = torch.tensor(weights, dtype=torch.float64)
    share = float(effective_sample_size(tensor))
    assert 1 / len(weights) - 1e-9 <= share <= 1 + 1e-9
    assert float(effective_sample_size(unit * tensor)) == pytest.approx(share)


@pytest.mark.parametrize("sizes", [(1, 1), (1, 2), (1, 2, 1)], ids=str)
def test_gradient_noise_is_unbiased_for_parts_of_any_size(sizes: tuple[int, ...]) -> None:
    # a sample's gradient is (3, 0) with probability 1/4, else (1, 2): mean (1.5, 1.5),
    # of squared norm 4.5; trace of the covariance (9 + 3 * 5) / 4 - 4.5 = 1.5
    gradients = torch.tensor([[3.0, 0.0], [1.0, 2.0]], dtype=torch.float64)
    expected = torch.zeros(2, dtype=torch.float64)
    for drawn in product((0, 1), repeat=sum(sizes)):
        chance = math.prod((0.25, 0.75)[outcome] for outcome in drawn)
        parts = gradients[list(drawn)].split(sizes)
        found = gradient_noise(torch.stack([x.mean(0) for x in parts]), torch.tensor(sizes) * 1.0)
        expected += chance * torch.stack(found)
    assert expected.tolist() == pytest.approx([4.5, 1.5])


def test_gradients_that_agree_are_signal_alone() -> None:
    signal, noise = gradient_noise(torch.tensor([[3.0, 4.0]] * 3), torch.tensor([5.0, 1.0, 2.0]))
    assert float(signal) == pytest.approx(25)
    assert float(noise) == pytest.approx(0, abs=1e-5)


def test_the_kl_term_by_hand() -> None:
    # twice the largest advantage, 3, times the root of half the divergence, 0.1
    assert float(kl_term(torch.tensor(0.02), torch.tensor([1.0, -3.0]))) == pytest.approx(0.6)
    # an estimate of no divergence may be negative by rounding
    assert float(kl_term(torch.tensor(-1e-9), torch.tensor([1.0]))) == 0
