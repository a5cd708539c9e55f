"""Each copy has a number of its own, and keeps it."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import distpg
from distpg import Config, InputError
from distpg.envs.copies import Copies
from distpg.envs.make import find_env, make_vector_env
from distpg.envs.numbering import Copy, current_copy, fill
from distpg.rollout.in_process import InProcessWorkers
from tests.environments import Counting


class Numbered(Counting):
    """Has a number, as a simulator has a port; raises in its second step, once."""

    made: list[tuple[Copy | None, Any]]

    def __init__(self, number: Any = None) -> None:
        super().__init__(lengths=[5])
        self.made.append((distpg.current_copy(), number))

    def step(self, action: Any) -> Any:
        if self.count == 1 and len(self.made) == 2:
            raise ValueError("the line is dead")
        return super().step(action)


@pytest.fixture(autouse=True)
def made() -> list[tuple[Copy | None, Any]]:
    Numbered.made = []
    return Numbered.made


@pytest.mark.parametrize(
    ("value", "filled"),
    [
        ("{copy}", 3),
        ("{copy+100}", 103),
        ("sim-{copy}.log", "sim-3.log"),
        ("{copy}{copy+1}", "34"),
        ({"a": ["{copy}", {"b": "{copy}"}]}, {"a": [3, {"b": 3}]}),
        ("{copies} {} {other}", "{copies} {} {other}"),
        (7, 7),
    ],
)
def test_a_placeholder_is_filled_with_the_number(value: Any, filled: Any) -> None:
    assert fill(value, 3) == filled


@pytest.mark.parametrize("value", ["{Copy}", "{copy-1}", "{copy+ 1}", "x{copy*2}", "{ copy }"])
def test_what_is_almost_a_placeholder_is_refused(value: str) -> None:
    with pytest.raises(InputError, match="a placeholder is"):
        fill([value], 3)


def test_all_copies_of_a_run_have_different_numbers(made: list[tuple[Copy, Any]]) -> None:
    config = Config(
        num_workers=0, num_slots=3, num_envs=2, eval_every=1, env_kwargs={"number": "{copy+10}"}
    )
    InProcessWorkers(config, find_env(Numbered, config.env_kwargs)).close()
    assert [copy.number for copy, _ in made] == [*range(8)]
    assert [(copy.slot, copy.index) for copy, _ in made] == [
        *((slot, index) for slot in range(3) for index in range(2)),
        *((None, index) for index in range(2)),
    ]
    assert [number for _, number in made] == [*range(10, 18)]
    assert config.first_other_copy == 8


def test_a_copy_that_replaces_another_has_its_number(made: list[tuple[Copy, Any]]) -> None:
    envs = make_vector_env(find_env(Numbered, {"number": "{copy}"}), 2, slot=4)
    envs.reset([0, 1])
    zeros = np.zeros(2, np.int64)
    envs.step(zeros)
    assert envs.step(zeros).faults[0].startswith("ValueError: the line is dead (test_numbering.py")
    assert made == [(Copy(8, 4, 0), 8), (Copy(9, 4, 1), 9), (Copy(8, 4, 0), 8)]


def test_there_is_no_number_while_nothing_is_made() -> None:
    assert current_copy() is None


def test_copies_outside_of_a_run_are_numbered_as_they_are_made(
    made: list[tuple[Copy, Any]],
) -> None:
    for count in (1, 2):
        assert isinstance(make_vector_env(find_env(Numbered, {}), count), Copies)
    numbers = [copy.number for copy, _ in made]
    assert numbers == [*range(numbers[0], numbers[0] + 3)]


def test_a_vector_implementation_cannot_have_a_number_for_each() -> None:
    with pytest.raises(InputError, match=r"--env-kwargs: .*CartPole-v1 takes one value for all"):
        make_vector_env(find_env("CartPole-v1", {"x": "{copy}"}), 2)


class Port(gym.Env[Any, Any]):
    """Can be made once."""

    taken = False

    def __init__(self) -> None:
        self.observation_space, self.action_space = (
            Counting().observation_space,
            Counting().action_space,
        )
        if Port.taken:
            raise OSError("address already in use")
        Port.taken = True

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> Any:
        return self.observation_space.sample(), 0.0, False, False, {}

    def close(self) -> None:
        Port.taken = False


def test_a_port_that_is_taken_is_answered_with_what_to_write(tmp_path: Any) -> None:
    config = Config(num_workers=0, num_envs=2, total_steps=1)
    with pytest.raises(InputError, match=r"already in use .*one copy could be made.*\{copy\}"):
        distpg.train(config, make_env=Port, run_dir=tmp_path / "run", quiet=True)
    # what was made before it is closed
    assert not Port.taken
