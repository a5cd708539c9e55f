"""Intervals, against numbers worked out by hand."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from distpg.results.statistics import (
    MeanEstimate,
    band,
    difference_of_means,
    import_rliable,
    interquartile_mean,
    mean_and_interval,
    mean_of_runs,
    middle_of_runs,
)

ROOT = Path(__file__).parents[2]


def test_the_interval_of_five_numbers() -> None:
    mean, interval = mean_and_interval([1, 2, 3, 4, 5])
    # standard error sqrt(2.5 / 5); the t of 4 degrees is 2.77645
    assert mean == 3
    assert interval == pytest.approx((3 - 1.96324, 3 + 1.96324), abs=1e-4)


def test_one_number_has_no_interval() -> None:
    assert mean_and_interval([7.0]) == (7.0, None)


def test_the_difference_of_two_means_has_the_spread_of_both() -> None:
    # standard errors squared 1/3 and 4/3; Welch's degrees (5/3)^2 / (1/18 + 16/18) = 50/17, whose t
    # is 3.2188
    theirs = mean_and_interval([2.0, 4.0, 6.0])
    mean, interval = difference_of_means([4.0, 5.0, 6.0], theirs, 3)
    assert mean == 1
    half = 3.2188 * (5 / 3) ** 0.5
    assert interval == pytest.approx((1 - half, 1 + half), abs=1e-3)


def test_the_difference_from_an_exact_value_has_our_spread() -> None:
    ours = [1.0, 2.0, 3.0, 4.0, 5.0]
    for exact in (MeanEstimate(1.0, None), MeanEstimate(1.0, (1.0, 1.0))):
        mean, interval = difference_of_means(ours, exact, 3)
        assert mean == 2
        assert interval == pytest.approx((2 - 1.96324, 2 + 1.96324), abs=1e-4)
    assert difference_of_means([7.0], MeanEstimate(5.0, (4.0, 6.0)), 3) == (2, None)
    same = MeanEstimate(1000.0, (1000.0, 1000.0))
    assert difference_of_means([1000.0, 1000.0], same, 3) == (0, (0, 0))


def test_the_interquartile_mean_leaves_out_a_quarter_at_each_end() -> None:
    # of 1 to 7 and 100, over runs and tasks together, 3 to 6 are left
    scores = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0], [7.0, 100.0]])
    value, interval = interquartile_mean(scores)
    low, high = interval or (0.0, 0.0)
    assert value == 4.5
    assert 1 <= low < value < high < 100


def test_runs_are_resampled_within_their_task() -> None:
    # one task has no spread: the lower half of the scores is always its 0
    scores = np.array([[0.0, 1.0]] * 4)
    assert interquartile_mean(scores) == (0.5, (0.5, 0.5))
    # one run of each has no interval
    assert interquartile_mean(scores[:1]) == (0.5, None)


def test_an_interval_is_a_function_of_the_scores_and_leaves_the_generator() -> None:
    scores = np.random.default_rng(0).normal(size=(5, 7))
    np.random.seed(3)
    expected = np.random.random()
    np.random.seed(3)
    once = interquartile_mean(scores)
    assert np.random.random() == expected
    assert interquartile_mean(scores) == once
    assert interquartile_mean(scores + 1)[0] == pytest.approx(once[0] + 1)


def test_a_band_holds_the_mean_of_the_curves() -> None:
    curves = np.array([[0.0, 1.0, 2.0], [0.0, 3.0, 4.0], [0.0, 2.0, 9.0]])
    mean, low, high = band(curves, mean_of_runs)
    np.testing.assert_allclose(mean, [0, 2, 5])
    assert (low[0], high[0]) == (0, 0)
    # all three of the same run are in 1 of 27 samples, so more often than in 2.5%
    assert (low[1], high[1]) == (1, 3)
    assert (low <= mean).all()
    assert (mean <= high).all()


@pytest.mark.parametrize("runs", [1, 2, 3, 4, 5, 8, 11])
def test_the_middle_of_the_runs_is_rliables_interquartile_mean_at_each_point(runs: int) -> None:
    curves = np.random.default_rng(runs).normal(size=(runs, 6))
    _, metrics = import_rliable()
    expected = [metrics.aggregate_iqm(point) for point in curves.T]
    np.testing.assert_allclose(middle_of_runs(curves), expected)


def test_one_curve_has_no_interval() -> None:
    mean, low, high = band(np.array([[1.0, 2.0]]), mean_of_runs)
    assert mean.tolist() == [1, 2]
    assert np.isnan([low, high]).all()


def test_a_missing_package_is_one_line_with_the_command() -> None:
    code = (
        "import sys\n"
        "sys.modules['rliable'] = None\n"
        "from distpg.cli import main\n"
        "sys.exit(main(['reproduce', 'rllib']))"
    )
    words = [sys.executable, "-c", code]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "rliable" in line
    assert "pip install 'distpg[results]'" in line
    assert not (ROOT / "runs" / "reproduce" / "rllib").exists()
