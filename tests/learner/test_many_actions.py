"""Policies of many actions: what is computed row by row, so that no table of a batch is kept."""

from typing import Any

import numpy as np
import pytest

from distpg.learner import minibatches
from distpg.rollout import buffer
from tests.learner.runs import Run, parameters, seen


@pytest.mark.parametrize("algo", ["ppo", "ppo_kl", "trpo"])
def test_an_update_in_small_passes_is_that_of_one(
    algo: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings: dict[str, Any] = {"algo": algo, "gradient_stats_every": 1, "num_epochs": 1}
    whole = Run(**settings)
    rollouts = whole.collect()
    monkeypatch.setattr(minibatches, "NUMBERS", 6)
    monkeypatch.setattr(buffer, "OUTPUTS", 9)
    parts = Run(**settings)
    for one, other in zip(rollouts, parts.collect(), strict=True):
        np.testing.assert_allclose(other.logprobs, one.logprobs, atol=1e-6)
    kept = seen(parts.learner, rollouts)[0].parameters
    assert kept.shape == (32, 0 if algo == "ppo" else 2)
    expected, found = (run.learner.update(rollouts)[1].scalars for run in (whole, parts))
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-3, abs=1e-5), name
    one, other = (parameters(run.learner.weights()) for run in (whole, parts))
    for name, array in one.items():
        np.testing.assert_allclose(other[name], array, atol=1e-5, err_msg=name)
