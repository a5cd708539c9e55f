"""Histograms of a batch: counts by hand, and that counting changes nothing."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from distpg.envs.make import find_env
from distpg.learner.histograms import NUM_BINS, count
from tests.environments import Echo
from tests.envs.test_masks import Strict
from tests.learner.runs import Run, assert_same_state, seen, targets_of


def test_numbers_are_counted_in_bins_of_equal_width() -> None:
    bins = count(np.array([0.0, 0.5, 29.5, 30.0, np.nan, np.inf]))
    assert bins.shape == (NUM_BINS, 3)
    np.testing.assert_allclose(bins[:, 0], np.arange(30))
    np.testing.assert_allclose(bins[:, 1], np.arange(1, 31))
    assert bins[:, 2].tolist() == [2, *[0] * 28, 2]
    assert count(np.array([np.nan])).shape == (0, 3)


@pytest.mark.parametrize("value", [0.0, -3.0, 1e-45, 1e30, 3e38])
def test_equal_numbers_have_bins_around_them(value: float) -> None:
    bins = count(np.full(7, value, np.float32))
    assert bins[:, 2].sum() == 7
    assert (bins[:, 1] > bins[:, 0]).all()
    assert bins[0, 0] < np.float32(value) < bins[-1, 1]


def test_neighbours_in_float32_are_counted_apart() -> None:
    bins = count(np.array([1.0, np.nextafter(np.float32(1), np.float32(2))], np.float32))
    assert (bins[0, 2], bins[-1, 2]) == (1, 1)


def test_integers_have_a_bin_each() -> None:
    bins = count(np.array([2, 4, 4], np.int64), integer=True)
    assert bins.tolist() == [[1.5, 2.5, 1], [2.5, 3.5, 0], [3.5, 4.5, 2]]
    assert len(count(np.arange(100), integer=True)) == NUM_BINS


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"algo": "trpo", "num_epochs": 1},
        {"algo": "reinforce", "num_epochs": 1},
        {"surrogate": "importance", "advantage": "vtrace"},
        {"recurrent": "gru", "num_steps": 40},
        {"env_id": "Pendulum-v1", "action_distribution": "beta"},
        {"env_id": "Pendulum-v1", "normalize_rewards": True},
        {"source": replace(find_env(Strict, {"kind": "several"}), masks="info")},
    ],
    ids=lambda settings: str(settings)[:60],
)
def test_counting_changes_nothing(settings: dict[str, Any]) -> None:
    counting, silent = (Run(**settings, histogram_every=every) for every in (2, 0))
    trained = 0
    for version in range(3):
        (_, one), (_, other) = (run.learner.update(run.collect()) for run in (counting, silent))
        assert other.histograms == {}
        assert (one.histograms == {}) == (version == 1)
        for tag, bins in one.histograms.items():
            assert bins[:, 2].sum() == counting.learner.trained_steps - trained, tag
        trained = counting.learner.trained_steps
    assert_same_state(counting.learner.state(), silent.learner.state())


def test_what_is_counted_is_what_the_update_learns_from() -> None:
    run = Run(num_steps=40, histogram_every=1, normalize_advantages=True)
    rollouts = run.collect()
    samples, trajectories = seen(run.make_learner(), rollouts)
    targets = targets_of(run.make_learner(), samples, trajectories)
    _, update = run.learner.update(rollouts)
    numbers = {
        "actions": samples.actions,
        "advantages": targets.advantages,
        "returns": targets.returns,
        "values": samples.values,
    }
    for name, values in numbers.items():
        bins = update.histograms[f"batch/{name}"]
        middles = bins[:, :2].mean(1)
        mean = (middles * bins[:, 2]).sum() / len(samples)
        assert mean == pytest.approx(float(values.double().mean()), abs=bins[0, 1] - bins[0, 0])
        ends = (float(values.min()), float(values.max()))
        wider = 0.5 if name == "actions" else 0.0
        assert (bins[0, 0] + wider, bins[-1, 1] - wider) == pytest.approx(ends)


def test_actions_are_counted_as_the_environment_gets_them() -> None:
    # it observes them
    run = Run(source=find_env(Echo, {}), num_steps=40, histogram_every=1)
    rollouts = run.collect()
    _, update = run.learner.update(rollouts)
    given = np.concatenate([rollout.obs["obs"][1:].reshape(-1, 2) for rollout in rollouts])
    assert update.histograms.keys() > {"batch/actions/0", "batch/actions/1"}
    for dimension, column in enumerate(given.T):
        bins = update.histograms[f"batch/actions/{dimension}"]
        assert (bins[0, 0], bins[-1, 1]) == (column.min(), column.max())
        # many are clipped to a bound
        at_bound = (column == column.min()).sum()
        assert bins[0, 2] >= at_bound > 10


@pytest.mark.parametrize(("size", "expected"), [(1, 1), (2, 2), (8, 8), (9, 1)])
def test_each_dimension_is_counted_apart_unless_there_are_many(size: int, expected: int) -> None:
    source = find_env(Echo, {"low": [-1.0] * size, "high": [1.0] * size})
    run = Run(source=source, histogram_every=1)
    _, update = run.learner.update(run.collect())
    actions = [bins for tag, bins in update.histograms.items() if tag.startswith("batch/actions")]
    assert len(actions) == expected
    assert {bins[:, 2].sum() for bins in actions} == {run.learner.trained_steps * size / expected}
