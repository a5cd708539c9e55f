"""Intervals over seeds: of a mean, a difference of means, an interquartile mean, and a curve.

Agarwal et al. 2021, Deep reinforcement learning at the edge of the statistical precipice; rliable
is their implementation.
"""

import importlib
import math
import statistics
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from distpg.extras import import_extra
from distpg.report.interval import mean_interval

RESAMPLES = 2_000
"""Of a bootstrap."""
LEVEL = 0.95
"""Probability of an interval."""


class MeanEstimate(NamedTuple):
    """A mean, and its 95% interval if there are at least two values, or two runs of each task."""

    mean: float
    interval: tuple[float, float] | None


class Band(NamedTuple):
    """A statistic of curves of K points, and its 95% interval at each of them, all [K]."""

    center: np.ndarray
    low: np.ndarray
    high: np.ndarray


def import_rliable() -> tuple[Any, Any]:
    """Import rliable's library and metrics.

    Raises:
        InputError: it is not installed.
    """
    library = import_extra("rliable.library", "results", needed_by="an interval of several runs")
    return library, importlib.import_module("rliable.metrics")


def mean_and_interval(values: Sequence[float]) -> MeanEstimate:
    """Return the mean of independent values, and its interval by Student's t distribution."""
    mean = statistics.fmean(values)
    half = mean_interval(values, LEVEL)
    return MeanEstimate(mean, None if half is None else (mean - half, mean + half))


def difference_of_means(
    values: Sequence[float], other: MeanEstimate, num_others: int
) -> MeanEstimate:
    """Return how far the mean of independent values is above another, and its 95% interval.

    By Welch's t test, in which the two may have different variances (Welch 1947, The
    generalization of Student's problem).

    Args:
        values: Of at least two seeds, or there is no interval.
        other: The other mean, with its interval by Student's t distribution; without it there is
            none of the difference.
        num_others: Number of seeds of the other mean, at least two if it has an interval.

    Raises:
        InputError: SciPy is not installed.
    """
    distance = statistics.fmean(values) - other.mean
    if len(values) < 2 or other.interval is None:
        return MeanEstimate(distance, None)
    t = import_extra("scipy.stats", "results", needed_by="an interval of several runs").t
    degrees, of_others = len(values) - 1, num_others - 1
    low, high = other.interval
    variance = statistics.variance(values) / len(values)
    other_variance = ((high - low) / 2 / t.ppf((1 + LEVEL) / 2, of_others)) ** 2
    weights = variance**2 / degrees + other_variance**2 / of_others
    if weights:
        degrees = (variance + other_variance) ** 2 / weights
    half = float(t.ppf((1 + LEVEL) / 2, degrees)) * math.sqrt(variance + other_variance)
    return MeanEstimate(distance, (distance - half, distance + half))


def interquartile_mean(scores: Sequence[Sequence[float]]) -> MeanEstimate:
    """Return the mean of the middle half of the scores of tasks, each with its own number of runs.

    Each task has the same weight, which its runs share. With as many runs of each it is rliable's
    `aggregate_iqm`, but that a quarter of the scores which is no whole number is not rounded down.
    The interval is by the percentile bootstrap, which resamples the runs of each task; none if a
    task has one run.

    Args:
        scores: Of each task, those of its runs.

    Raises:
        InputError: SciPy is not installed.
    """
    value = middle_of_tasks(*map(np.array, scores))
    if min(map(len, scores)) < 2:
        return MeanEstimate(value, None)
    stats = import_extra("scipy.stats", "results", needed_by="an interval of several runs")
    low, high = stats.bootstrap(
        scores,
        middle_of_tasks,
        vectorized=False,
        n_resamples=RESAMPLES,
        confidence_level=LEVEL,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    return MeanEstimate(value, (float(low), float(high)))


def middle_of_tasks(*scores: np.ndarray) -> float:
    """Return the mean of the middle half of the scores of tasks of equal weight."""
    values = np.concatenate(scores)
    weights = np.concatenate([np.full(len(own), 1 / len(own) / len(scores)) for own in scores])
    order = values.argsort()
    ends = weights[order].cumsum().clip(0.25, 0.75)
    in_the_middle = np.diff(ends, prepend=0.25)
    return float(values[order] @ in_the_middle / 0.5)


def band(curves: np.ndarray, center: Callable[[np.ndarray], np.ndarray]) -> Band:
    """Return a statistic of [R, K] curves, of R runs at K points; R = 1 has no interval (NaN).

    Args:
        curves: The runs, all at the same points.
        center: From [R, K] curves to the statistic [K], such as `mean_of_runs`.
    """
    if len(curves) < 2:
        nowhere = np.full(curves.shape[1], np.nan)
        return Band(center(curves), nowhere, nowhere)
    return bootstrap(curves, center)


def mean_of_runs(curves: np.ndarray) -> np.ndarray:
    """Return the mean [K] of [R, K] curves."""
    return curves.mean(0)


def middle_of_runs(curves: np.ndarray) -> np.ndarray:
    """Return the interquartile mean [K] of [R, K] curves, rliable's `aggregate_iqm` at each point.

    It leaves out a quarter of the runs at each end, rounded down: none of up to three.
    """
    cut = len(curves) // 4
    return np.sort(curves, axis=0)[cut : len(curves) - cut].mean(0)


def bootstrap(scores: np.ndarray, statistic: Callable[[np.ndarray], np.ndarray]) -> Band:
    """Return a statistic [N] of [R, K] scores, and its interval by the stratified bootstrap.

    The same scores have the same interval.
    """
    library, _ = import_rliable()
    # rliable 1.2 draws from NumPy's global generator whatever it is given
    before = np.random.get_state()
    np.random.seed(0)
    try:
        points, intervals = library.get_interval_estimates(
            {"": scores}, statistic, reps=RESAMPLES, confidence_interval_size=LEVEL
        )
    finally:
        np.random.set_state(before)
    low, high = intervals[""]
    return Band(points[""], low, high)
