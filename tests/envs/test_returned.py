"""What a vector implementation returns is read copy by copy."""

from typing import Any

import numpy as np
import pytest

from distpg.envs.returned import flags_of, rewards_of
from distpg.errors import EnvError


@pytest.mark.parametrize(
    "values",
    [[1.5, 2], np.array([1.5, 2]), np.array([[1.5], [2]]), np.array([1.5, 2], object), (1.5, "2")],
    ids=str,
)
def test_rewards_are_one_number_for_each_copy(values: Any) -> None:
    if isinstance(values, tuple):
        with pytest.raises(EnvError, match="the reward is '2'") as caught:
            rewards_of(values, 2)
        assert caught.value.env == 1
    else:
        assert rewards_of(values, 2).tolist() == [1.5, 2]


@pytest.mark.parametrize("values", [1.0, None, [1.0], np.ones((1, 2)), np.ones(3)], ids=str)
def test_another_number_of_rewards_is_named(values: Any) -> None:
    with pytest.raises(EnvError, match="not one entry for each copy"):
        rewards_of(values, 2)


@pytest.mark.parametrize(
    "values",
    [np.array([1, 1e39]), np.array([1, 1j]), np.array([1, None]), np.array(["1", "x"])],
    ids=str,
)
def test_what_is_not_a_reward_is_named(values: Any) -> None:
    with pytest.raises(EnvError, match="the reward is"):
        rewards_of(values, 2)


@pytest.mark.parametrize(
    "values", [[True, False], np.array([1, 0]), np.array([[True], [False]])], ids=str
)
def test_flags_are_one_bool_for_each_copy(values: Any) -> None:
    assert flags_of(values, "terminated", 2).tolist() == [True, False]


@pytest.mark.parametrize("values", [["False", "True"], [None, True], [0.5, 1]], ids=str)
def test_what_is_not_a_flag_is_named(values: Any) -> None:
    with pytest.raises(EnvError, match=r"truncated is .* which is not a bool") as caught:
        flags_of(values, "truncated", 2)
    assert caught.value.env == 0
