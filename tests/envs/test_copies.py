"""Copies of an environment: what they return is what it says, or one error with its place."""

import asyncio
import dataclasses
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from types import MappingProxyType
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces

from distpg.envs.copies import Copies
from distpg.envs.describe import describe_obs
from distpg.envs.make import find_env, make_vector_env
from distpg.errors import EnvError, InputError
from distpg.policy.actor_critic import Policy
from distpg.policy.architecture import Architecture
from distpg.rollout.worker import RolloutWorker
from distpg.run.preflight import check_env
from tests.environments import Info, Stepped
from tests.settings import config_of

PLAIN = spaces.Box(-1, 1, (2,), np.float32)
ZERO = np.zeros(2, np.float32)


class Scripted(gym.Env[Any, Any]):
    """Returns what it was given, from its second step on."""

    def __init__(self, **returned: Any) -> None:
        self.observation_space = returned.pop("space", PLAIN)
        self.action_space = spaces.Discrete(2)
        self.first = returned.pop("first", ZERO)
        self.returned = returned

    def reset(self, *, seed: int | None = None, options: Info | None = None) -> tuple[Any, Info]:
        super().reset(seed=seed)
        self.steps = 0
        return self.first, self.info()

    def step(self, action: Any) -> Stepped:
        self.steps += 1
        plain = {"obs": self.first, "reward": 1.0, "terminated": False, "truncated": False}
        outcome = plain | (self.returned if self.steps > 1 else {})
        return (*(outcome[name] for name in plain), self.info())  # pyright: ignore[reportReturnType]

    def info(self) -> Info:
        return self.returned.get("info", dict)()


def copies(num_envs: int = 2, **returned: Any) -> Copies:
    """Copies that have taken a step, the next of which returns what is given."""
    envs = make_vector_env(find_env(Scripted, returned), num_envs)
    assert isinstance(envs, Copies)
    envs.reset(list(range(num_envs)))
    envs.step(np.zeros(num_envs, np.int64))
    return envs


NO_ACTION = np.zeros(2, np.int64)


@pytest.mark.parametrize(
    ("reward", "number"),
    [
        (np.array([3.0]), 3),
        (np.array(3.0), 3),
        ([3], 3),
        (np.int64(3), 3),
        (np.float16(0.5), 0.5),
        (True, 1),
        (Decimal("0.5"), 0.5),
        (Fraction(1, 4), 0.25),
        (torch.tensor([2.0]), 2),
    ],
    ids=repr,
)
def test_a_reward_is_the_number_that_it_is(reward: Any, number: float) -> None:
    assert copies(reward=reward).step(NO_ACTION).rewards.tolist() == [number] * 2


@pytest.mark.parametrize(
    ("flag", "value"),
    [(np.bool_(True), True), (np.array([True]), True), ([False], False), (1, True), (0, False)],
    ids=repr,
)
@pytest.mark.parametrize("name", ["terminated", "truncated"])
def test_a_flag_is_the_bool_that_it_is(name: str, flag: Any, value: bool) -> None:
    step = copies(**{name: flag}).step(NO_ACTION)
    assert getattr(step, name).tolist() == [value] * 2


def test_copies_may_return_different_dtypes_and_any_value_of_float32() -> None:
    envs = copies(4)
    wide, narrow = np.array([0.1, -np.inf]), np.array([3e38, 3e38], np.float32)
    rows = [wide, narrow, -wide, [1, np.nan]]
    for turn in range(4):
        for env, row in enumerate(rows):
            guarded: Any = envs.guards[(env + turn) % 4].env
            guarded.returned = {"obs": row}
        found = envs.step(np.zeros(4, np.int64)).obs["obs"]
        np.testing.assert_array_equal(np.roll(found, -turn, 0), np.array(rows, np.float32))


WRONG: list[tuple[str, Any, str]] = [
    *(("reward", x, "the reward is .*not a number") for x in (None, "1", [1, 2], 1 + 0j, {})),
    ("reward", 1e39, r"the reward is 1e\+39, which is too large for float32"),
    *(("terminated", x, "terminated is .*not a bool") for x in (None, "", 0.5, [True, False])),
    ("truncated", None, "truncated is None, which is not a bool"),
    ("obs", None, "'obs' is None: not an array of numbers"),
    ("obs", np.zeros(3), r"'obs' has shape \[3\]; \[2\] is expected"),
    ("obs", np.zeros((1, 2)), r"'obs' has shape \[1, 2\]"),
    ("obs", 0.0, r"'obs' has shape \[\]"),
    ("obs", ["1", "2"], "not an array of numbers"),
    ("obs", np.zeros(2, complex), "not an array of numbers"),
    ("obs", np.array([0, 1e300]), r"contains 1e\+300 as float64, which float32 cannot represent"),
    ("reward", torch.ones((), requires_grad=True), "the reward is tensor"),
    ("reward", Fraction(10**400), "the reward is Fraction"),
    ("info", lambda: {"action_mask": [1, 0]}, "the info has an action_mask, but had none"),
]


@pytest.mark.parametrize("mask", [[0.0, -1e9], [1.0, 0.5]])
def test_a_mask_in_float64_has_entries_of_0_or_1(mask: list[float]) -> None:
    space = spaces.Dict({"obs": PLAIN, "action_mask": spaces.Box(-np.inf, np.inf, (2,))})
    allowed = {"obs": ZERO, "action_mask": np.ones(2)}
    envs = copies(space=space, first=allowed)
    guarded: Any = envs.guards[1].env
    guarded.returned = {"obs": allowed | {"action_mask": np.array(mask)}}
    with pytest.raises(EnvError, match="its entries must be 0 or 1"):
        envs.step(NO_ACTION)


@pytest.mark.parametrize("info", [None, "late", 3, MappingProxyType({"x": 1})], ids=repr)
def test_an_info_of_any_type_is_accepted(info: Any) -> None:
    assert copies(info=lambda: info).step(NO_ACTION).rewards.tolist() == [1, 1]


class Cancelled(Scripted):
    """Raises what `except Exception` does not catch."""

    def step(self, action: Any) -> Stepped:
        raise asyncio.CancelledError


def test_a_cancelled_task_costs_an_episode() -> None:
    envs = make_vector_env(find_env(Cancelled, {}), 2)
    envs.reset([0, 1])
    step = envs.step(NO_ACTION)
    assert step.truncated.tolist() == [True, True]
    assert "CancelledError" in step.faults[0]
    assert "test_copies.py, line" in step.faults[0]


@pytest.mark.parametrize(("name", "value", "said"), WRONG)
def test_what_is_not_allowed_ends_the_run_and_names_the_copy(
    name: str, value: Any, said: str
) -> None:
    envs = copies()
    guarded: Any = envs.guards[1].env
    guarded.returned = {name: value}
    with pytest.raises(EnvError, match=said) as caught:
        envs.step(NO_ACTION)
    assert caught.value.env == 1


@pytest.mark.parametrize(
    ("space", "obs", "said"),
    [
        (spaces.Box(0, 255, (2,), np.uint8), np.array([300, 1]), "contains 300 as int64"),
        (spaces.Box(0, 255, (2,), np.uint8), np.array([0.5, 1]), "contains 0.5 as float64"),
        (spaces.Box(-9, 9, (2,), np.int8), np.array([1, -200]), "contains -200 as int64"),
        (spaces.Discrete(4), 4, "is 4, which is out of range"),
        (spaces.Discrete(4, start=-1), 3, "is 3, which is out of range"),
        (spaces.MultiDiscrete([2, 3]), np.array([1, 3]), r"is \[1 3\], which is out of range"),
        (spaces.Dict({"a": PLAIN, "b": PLAIN}), {"a": ZERO}, "'b' is missing"),
    ],
    ids=str,
)
def test_a_number_that_its_space_cannot_hold_is_never_wrapped(
    space: Any, obs: Any, said: str
) -> None:
    first = space.sample() if isinstance(space, spaces.Dict) else np.asarray(space.sample())
    with pytest.raises(EnvError, match=said):
        copies(space=space, first=first, obs=obs).step(NO_ACTION)


def alternately(*values: Any) -> Callable[[], Info]:
    """Infos that hold these values in turn."""
    left = [*values] * 100
    return lambda: {"x": left.pop(), "y": left.pop()}


@pytest.mark.parametrize(
    "info",
    [
        alternately(np.zeros(2), np.zeros(5), np.zeros(1)),
        alternately(None, 3, "text"),
        alternately({"a": {"b": np.zeros(3)}}, 7, [1, 2]),
        alternately(object(), print, True),
    ],
)
def test_an_info_of_any_kind_is_let_be(info: Callable[[], Info]) -> None:
    envs = copies(3, info=info)
    assert [envs.step(np.zeros(3, np.int64)).rewards.tolist() for _ in range(5)] == [[1.0] * 3] * 5


BUFFER = np.zeros(2, np.float32)


class Shared(Scripted):
    """Observes a number of its own, in a buffer that all copies write to."""

    def reset(self, *, seed: int | None = None, options: Info | None = None) -> tuple[Any, Info]:
        self.own = float(seed or 0)
        super().reset(seed=seed)
        BUFFER[:] = self.own
        return BUFFER, {}

    def step(self, action: Any) -> Stepped:
        BUFFER[:] = self.own + 0.5
        return BUFFER, 0.0, False, False, {}


def test_copies_that_share_a_buffer_have_each_its_own_observation() -> None:
    envs = make_vector_env(find_env(Shared, {}), 3)
    assert envs.reset([1, 2, 3])["obs"][:, 0].tolist() == [1, 2, 3]
    assert envs.step(np.zeros(3, np.int64)).obs["obs"][:, 0].tolist() == [1.5, 2.5, 3.5]


@pytest.mark.parametrize(
    "bad",
    [
        {"reward": torch.tensor(torch.nan)},
        {"reward": [np.inf]},
        {"obs": [np.nan, 0.0]},
        {"obs": np.array([0, np.inf])},
    ],
    ids=lambda bad: next(iter(bad)),
)
def test_nan_and_inf_of_any_type_cost_their_episode_if_so_configured(bad: dict[str, Any]) -> None:
    source = dataclasses.replace(find_env(Scripted, bad), drop_bad=True)
    envs = make_vector_env(source, 2)
    envs.reset([0, 1])
    envs.step(NO_ACTION)
    step = envs.step(NO_ACTION)
    assert sorted(step.faults) == [0, 1]
    assert step.truncated.all()
    assert not step.obs["obs"].any()


class Exits(Scripted):
    def step(self, action: Any) -> Stepped:
        raise SystemExit(3)


def test_an_environment_that_calls_exit_is_named() -> None:
    envs = make_vector_env(find_env(Exits, {}), 2)
    envs.reset([0, 1])
    with pytest.raises(EnvError, match=r"the environment called sys.exit\(3\)"):
        envs.step(NO_ACTION)


class Learns(Scripted):
    """Takes a step of gradient descent with each of its own."""

    def step(self, action: Any) -> Stepped:
        weight = torch.zeros(1, requires_grad=True)
        (weight * 3).sum().backward()
        assert weight.grad is not None
        return ZERO, float(weight.grad), False, False, {}


def test_an_environment_may_use_autograd() -> None:
    config = config_of(
        {"num_workers": 0, "num_slots": 1, "num_envs": 2, "num_steps": 4, "minibatch_size": 8}
    )
    worker = RolloutWorker(config, find_env(Learns, {}), 0)
    specs = worker.envs.obs_spec, worker.envs.action_spec
    weights = Policy(*specs, Architecture.of(config)).weights(0)
    collected = worker.collect(weights, 0)
    assert (collected.rollout.rewards == 3).all()
    assert not collected.stats.faults


def test_two_leaves_never_share_a_name() -> None:
    nested = spaces.Dict({"a": spaces.Dict({"b": PLAIN}), "a/b": PLAIN, "a~1b": PLAIN})
    spec = describe_obs(nested, "X-v0")
    assert [leaf.name for leaf in spec.leaves] == ["a/b", "a~1b", "a~01b"]
    obs = {"a": {"b": np.ones(2)}, "a/b": -np.ones(2), "a~1b": np.zeros(2)}
    assert [spec.read(obs)[leaf.name][0] for leaf in spec.leaves] == [1, -1, 0]
    with pytest.raises(InputError, match="X-v0 has two observations of the name 'obs'"):
        describe_obs(spaces.Dict({"": PLAIN, "obs": PLAIN}), "X-v0")


class Deep(Scripted):
    """Has its mask in a dict within its observation."""

    def __init__(self) -> None:
        inner = spaces.Dict({"place": PLAIN, "action_mask": spaces.MultiBinary(2)})
        obs = {"inner": {"place": ZERO, "action_mask": np.array([0, 1], np.int8)}}
        super().__init__(space=spaces.Dict({"inner": inner}), first=obs)


def test_a_mask_may_be_at_any_depth() -> None:
    source, obs_spec, _ = check_env(find_env(Deep, {}), 60)
    assert [(leaf.name, leaf.kind) for leaf in obs_spec.leaves] == [
        ("action_mask", "mask"),
        ("inner/place", "vector"),
    ]
    config = config_of(
        {"num_workers": 0, "num_slots": 1, "num_envs": 2, "num_steps": 30, "minibatch_size": 60}
    )
    worker = RolloutWorker(config, source, 0)
    weights = Policy(*check_env(source, 60)[1:], Architecture.of(config)).weights(0)
    assert (worker.collect(weights, 0).rollout.actions == 1).all()
