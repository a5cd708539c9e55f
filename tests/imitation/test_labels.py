"""How an expert is asked."""

from typing import Any

import numpy as np
import pytest

from distpg.imitation import labels
from distpg.imitation.labels import ask
from distpg.imitation.sources import FunctionExpert
from tests.imitation.experts import on_diamond_hill
from tests.imitation.test_cloner import table

SEEN = {"obs": np.array([5, 2, 4, 5, 4])}


def test_an_expert_may_write_into_what_it_is_shown() -> None:
    def wipes(obs: Any) -> Any:
        said = on_diamond_hill(obs)
        obs[:] = 0
        return said

    before = SEEN["obs"].copy()
    assert ask(FunctionExpert("wipes", wipes), table().policy, SEEN).tolist() == [0, 1, 1, 0, 1]
    np.testing.assert_array_equal(SEEN["obs"], before)


def test_many_observations_are_asked_about_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(labels, "CHUNK", 2)
    sizes: list[int] = []

    def counts(obs: Any) -> Any:
        sizes.append(len(obs))
        return on_diamond_hill(obs)

    assert ask(FunctionExpert("counts", counts), table().policy, SEEN).tolist() == [0, 1, 1, 0, 1]
    assert sizes == [2, 2, 1]
