"""Returns as people read them."""

import pytest

from distpg.report.numbers import format_return, format_returns


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (477.31, "477.3"),
        (-100.46, "-100.5"),
        (20.0, "20.0"),
        (9.5, "9.50"),
        (0.35, "0.350"),
        (-0.0123, "-0.0123"),
        (1.5e-5, "0.0000150"),
        (0.0, "0.0"),
        (123456.78, "123456.8"),
        (float("inf"), "inf"),
        (float("nan"), "nan"),
    ],
)
def test_a_return_has_the_digits_that_fit_its_range(value: float, text: str) -> None:
    assert format_return(value) == text


def test_returns_that_are_compared_have_the_same_decimals() -> None:
    assert format_returns(0.352, 0.04, -0.1, 0.9) == ["0.352", "0.040", "-0.100", "0.900"]
    assert format_returns(1.0, 500.0) == ["1.0", "500.0"]
    assert format_returns(float("-inf"), 0.25) == ["-inf", "0.250"]
