"""How returns are written for people: with digits that fit their range."""

import math


def format_returns(*returns: float) -> list[str]:
    """Format returns alike: one decimal from 10 on, three digits of the largest below that."""
    largest = max((abs(value) for value in returns if math.isfinite(value)), default=0.0)
    decimals = (
        1 if largest in (0, math.inf) else min(9, max(1, 2 - math.floor(math.log10(largest))))
    )
    return [f"{value:z.{decimals}f}" for value in returns]


def format_interval(value: float, low: float, high: float) -> tuple[str, str]:
    """Format a return, and its interval."""
    center, start, end = format_returns(value, low, high)
    return center, f"{start} to {end}"


def format_return(value: float) -> str:
    """Format one return."""
    return format_returns(value)[0]
