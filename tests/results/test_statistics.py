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


def test_the_difference_from_a_mean_without_spread_has_ours() -> None:
    ours = [1.0, 2.0, 3.0, 4.0, 5.0]
    mean, interval = difference_of_means(ours, MeanEstimate(1.0, (1.0, 1.0)), 3)
    assert mean == 2
    assert interval == pytest.approx((2 - 1.96324, 2 + 1.96324), abs=1e-4)
    assert difference_of_means([7.0], MeanEstimate(5.0, (4.0, 6.0)), 3) == (2, None)
    assert difference_of_means([6.0, 8.0], MeanEstimate(5.0, None), 1) == (2, None)
    same = MeanEstimate(1000.0, (1000.0, 1000.0))
    assert difference_of_means([1000.0, 1000.0], same, 3) == (0, (0, 0))


def test_the_interquartile_mean_leaves_out_a_quarter_at_each_end() -> None:
    # of 1 to 7 and 100, over runs and tasks together, 3 to 6 are left
    value, interval = interquartile_mean([[1.0, 3.0, 5.0, 7.0], [2.0, 4.0, 6.0, 100.0]])
    low, high = interval or (0.0, 0.0)
    assert value == 4.5
    assert 1 <= low < value < high < 100
    # a quarter of six is one and a half: 2 and 5 count half, 3 and 4 whole
    assert interquartile_mean([[1.0, 2.0, 3.0], [4.0, 5.0, 60.0]])[0] == 3.5


@pytest.mark.parametrize("shape", [(4, 1), (5, 8), (3, 4)])
def test_with_as_many_runs_of_each_task_it_is_rliables(shape: tuple[int, int]) -> None:
    scores = np.random.default_rng(0).normal(size=shape)
    _, metrics = import_rliable()
    assert interquartile_mean(scores.T.tolist())[0] == pytest.approx(metrics.aggregate_iqm(scores))


def test_tasks_have_the_same_weight_whatever_their_number_of_runs() -> None:
    # the second task's half of the weight is eight runs: of 0 0 0 0 | 4 ... 4, from the quarter to
    # the three quarters, half is 0 and half 4
    value, interval = interquartile_mean([[0.0, 0.0], [4.0] * 8])
    assert (value, interval) == (2, (2, 2))
    many = interquartile_mean([[1.0, 2.0, 3.0] * 5, [4.0, 5.0, 60.0]])
    assert many[0] == pytest.approx(3.5)


def test_runs_are_resampled_within_their_task() -> None:
    # one task has no spread: the lower half of the scores is always its 0
    assert interquartile_mean([[0.0] * 4, [1.0] * 4]) == (0.5, (0.5, 0.5))
    # one run of a task has no interval
    assert interquartile_mean([[0.0], [1.0, 1.0]]) == (0.5, None)


def test_an_interval_is_a_function_of_the_scores_and_leaves_the_generator() -> None:
    scores = np.random.default_rng(0).normal(size=(7, 5))
    np.random.seed(3)
    expected = np.random.random()
    np.random.seed(3)
    once = interquartile_mean(scores.tolist())
    assert np.random.random() == expected
    assert interquartile_mean(scores.tolist()) == once
    assert interquartile_mean((scores + 1).tolist())[0] == pytest.approx(once[0] + 1)


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
