"""What a series of numbers says of itself: a sparkline, when it reaches a target."""

import math
from collections.abc import Sequence
from datetime import timedelta
from itertools import pairwise
from statistics import linear_regression

BARS = "▁▂▃▄▅▆▇█"
MIN_POINTS = 3
"""Points from which on a line is extrapolated."""
MAX_AHEAD_S = 1e8
"""Three years; what takes longer is not predicted."""


class History:
    """Values of a whole run, thinned: at most `size` of them, at equal distances."""

    def __init__(self, size: int = 512) -> None:
        """Initialize; `size` is even."""
        self.size = size
        self.every = 1
        """One of so many values is kept."""
        self.count = 0
        self.values: list[float] = []

    def add(self, value: float) -> None:
        """Add the next value."""
        if self.count % self.every == 0:
            if len(self.values) == self.size:
                self.values = self.values[::2]
                self.every *= 2
            self.values.append(value)
        self.count += 1


def sparkline(values: Sequence[float], width: int) -> str:
    """Draw values as bars between the least and the largest, at most `width` of them.

    More values than that are drawn as means of consecutive groups.
    """
    values = [value for value in values if math.isfinite(value)]
    bars = min(width, len(values))
    edges = [number * len(values) // bars for number in range(bars + 1)] if bars else []
    groups = [values[start:end] for start, end in pairwise(edges)]
    means = [sum(group) / len(group) for group in groups]
    low, high = min(means, default=0.0), max(means, default=0.0)
    step = (high - low) / (len(BARS) - 1) or 1.0
    return "".join(BARS[round((mean - low) / step)] for mean in means)


def seconds_to(target: float, times_s: Sequence[float], values: Sequence[float]) -> float | None:
    """Extrapolate the line of least squares through values to the target.

    Args:
        target: The value to reach.
        times_s: When each value was measured, in seconds.
        values: The values; the last one is now.

    Returns:
        Seconds from the last value on, 0 if the line is there already; None if it does not rise.
    """
    if len(values) < MIN_POINTS or times_s[0] == times_s[-1]:
        return None
    slope, intercept = linear_regression(times_s, values)
    left = target - (intercept + slope * times_s[-1])
    if not slope > 0:
        return None
    seconds = max(0.0, left / slope)
    return seconds if seconds < MAX_AHEAD_S else None


def format_seconds(seconds: float) -> str:
    """Format seconds as hours, minutes and seconds, and days if there are any."""
    return str(timedelta(seconds=round(seconds)))
