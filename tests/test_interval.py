"""Confidence intervals of a mean."""

import math

import pytest

from distpg.report.interval import mean_interval, t_probability, t_quantile


@pytest.mark.parametrize(
    ("degrees", "quantile"),
    [(1, 12.706), (2, 4.303), (3, 3.182), (4, 2.776), (9, 2.262), (10, 2.228), (99, 1.984)],
)
def test_quantiles_are_those_of_the_tables(degrees: int, quantile: float) -> None:
    assert t_quantile(0.95, degrees) == pytest.approx(quantile, abs=5e-4)
    assert t_probability(t_quantile(0.95, degrees), degrees) == pytest.approx(0.95, abs=1e-12)


def test_two_degrees_of_freedom_have_a_closed_form() -> None:
    # P(|T| <= t) = t / sqrt(2 + t^2)
    assert t_probability(1.5, 2) == pytest.approx(1.5 / math.sqrt(4.25), rel=1e-12)


def test_the_interval_of_a_mean() -> None:
    # the standard deviation of 1, 2, 3, 4 is sqrt(5 / 3), of their mean half of it
    expected = 3.1824463 * math.sqrt(5 / 3) / 2
    assert mean_interval([1.0, 2.0, 3.0, 4.0]) == pytest.approx(expected, rel=1e-7)
    assert mean_interval([7.0, 7.0]) == 0
    assert mean_interval([7.0]) is None
