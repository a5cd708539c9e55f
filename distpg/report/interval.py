"""The confidence interval of a mean, by Student's t distribution."""

import functools
import math
import statistics
from collections.abc import Sequence


def mean_interval(values: Sequence[float], level: float = 0.95) -> float | None:
    """Return half the width of the confidence interval of the mean of independent values.

    The mean plus and minus it holds the true mean with the probability `level`, if the values are
    normal. None for less than two values.
    """
    if len(values) < 2:
        return None
    error = statistics.stdev(map(float, values)) / math.sqrt(len(values))
    return t_quantile(level, len(values) - 1) * error


@functools.cache
def t_quantile(level: float, degrees: int) -> float:
    """Return the t for which |T| <= t has a probability, 0 < level < 1, by bisection."""
    low, high = 0.0, 1.0
    while t_probability(high, degrees) < level:
        high *= 2
    while (middle := (low + high) / 2) not in (low, high):
        low, high = (middle, high) if t_probability(middle, degrees) < level else (low, middle)
    return high


def t_probability(t: float, degrees: int) -> float:
    """Return P(|T| <= t) for T of Student's distribution with so many degrees of freedom.

    A finite series (Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.3 and 26.7.4).
    """
    angle = math.atan(t / math.sqrt(degrees))
    cosine = math.cos(angle)
    odd = degrees % 2
    term, total = (cosine if odd else 1.0), 0.0
    for power in range(odd, degrees - 1, 2):
        total += term
        term *= cosine**2 * (power + 1) / (power + 2)
    series = math.sin(angle) * total
    return 2 / math.pi * (angle + series) if odd else series
