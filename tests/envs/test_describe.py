"""What gymnasium's spaces become: leaves of an observation, and one kind of action."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector.utils import batch_space, iterate

from distpg import InputError
from distpg.envs.describe import describe_action, describe_obs
from tests.environments import KINDS, SUPPORTED

OBS_SPACES = [KINDS[kind][0] for kind in SUPPORTED]
ACTION_SPACES = [KINDS[kind][1] for kind in SUPPORTED]


def leaf_kinds(space: gym.Space[Any]) -> dict[str, tuple[str, str, tuple[int, ...]]]:
    return {x.name: (x.kind, x.dtype, x.shape) for x in describe_obs(space, "Env-v0").leaves}


@pytest.mark.parametrize(
    ("space", "leaves"),
    [
        (spaces.Box(-1, 1, (3,)), {"obs": ("vector", "float32", (3,))}),
        (spaces.Box(-1, 1, (2, 3), np.float64), {"obs": ("vector", "float32", (2, 3))}),
        (spaces.Box(-1, 1, ()), {"obs": ("vector", "float32", ())}),
        (spaces.Box(0, 255, (8, 9, 3), np.uint8), {"obs": ("image", "uint8", (8, 9, 3))}),
        (spaces.Box(0, 255, (4, 84, 84), np.uint8), {"obs": ("image", "uint8", (4, 84, 84))}),
        (spaces.Box(0, 255, (8, 9), np.uint8), {"obs": ("image", "uint8", (8, 9))}),
        (spaces.Box(0, 255, (128,), np.uint8), {"obs": ("vector", "uint8", (128,))}),
        (spaces.Box(0, 9, (2,), np.int32), {"obs": ("vector", "int32", (2,))}),
        (spaces.Discrete(5), {"obs": ("categories", "int64", ())}),
        (spaces.MultiDiscrete([2, 3]), {"obs": ("categories", "int64", (2,))}),
        (spaces.MultiBinary((2, 2)), {"obs": ("vector", "int8", (2, 2))}),
        (
            KINDS["nested obs"][0],
            {
                "image": ("image", "uint8", (12, 10, 3)),
                "place/0": ("categories", "int64", ()),
                "place/1": ("vector", "float32", (2,)),
            },
        ),
    ],
    ids=str,
)
def test_an_observation_is_described_by_its_leaves(
    space: gym.Space[Any], leaves: dict[str, Any]
) -> None:
    assert leaf_kinds(space) == leaves


def test_the_values_that_categories_take_are_described() -> None:
    (leaf,) = describe_obs(spaces.Discrete(5, start=-2), "Env-v0").leaves
    assert (leaf.sizes, leaf.starts) == ((5,), (-2,))
    table = spaces.MultiDiscrete(np.array([[2, 3], [4, 5]]), start=np.array([[0, 1], [2, 3]]))
    (leaf,) = describe_obs(table, "Env-v0").leaves
    assert (leaf.sizes, leaf.starts, leaf.shape) == ((2, 3, 4, 5), (0, 1, 2, 3), (2, 2))


@pytest.mark.parametrize("space", OBS_SPACES, ids=SUPPORTED)
def test_samples_flatten_to_what_is_described_alone_and_in_a_batch(space: gym.Space[Any]) -> None:
    spec = describe_obs(space, "Env-v0")
    space.seed(0)
    samples = [space.sample() for _ in range(3)]
    batch = batch_space(space, 3)
    together = spec.flatten(gym.vector.utils.concatenate(space, samples, batch.sample()))
    assert spec.batch_shape(together) == (3,)
    for row, sample in enumerate(samples):
        alone = spec.flatten(sample)
        assert spec.batch_shape(alone) == ()
        for leaf in spec.leaves:
            assert alone[leaf.name].dtype == np.dtype(leaf.dtype)
            np.testing.assert_array_equal(together[leaf.name][row], alone[leaf.name])


@pytest.mark.parametrize("space", ACTION_SPACES, ids=SUPPORTED)
def test_stored_actions_become_ones_that_the_env_accepts(space: gym.Space[Any]) -> None:
    spec = describe_action(space, "Env-v0")
    draw = np.random.default_rng(0)
    shape = (20, *spec.stored_shape)
    if spec.kind == "continuous":
        stored = draw.normal(0, 5, shape).astype(np.float32)
    elif spec.kind == "binary":
        stored = draw.integers(0, 2, shape)
    else:
        stored = draw.integers(
            0, spec.sizes[0] if spec.kind == "categorical" else spec.sizes, shape
        )
    given = list(iterate(batch_space(space, 20), spec.to_env(stored)))
    assert len(given) == 20
    for action in given:
        assert space.contains(action), f"{action!r} is not in {space}"
    if spec.kind in ("categorical", "multi_categorical"):
        # every action can be reached
        assert len({np.asarray(action).tobytes() for action in given}) == np.prod(spec.sizes)


def test_bounds_are_kept_infinite_or_not() -> None:
    spec = describe_action(
        spaces.Box(np.array([-np.inf, -0.5], np.float32), np.array([3, np.inf], np.float32)), ""
    )
    assert (spec.low, spec.high) == ((-np.inf, -0.5), (3.0, np.inf))
    moved = spec.to_env(np.array([[-1e9, -9.0], [9.0, 1e9]], np.float32))
    assert moved.tolist() == [[-1e9, -0.5], [3.0, 1e9]]


@pytest.mark.parametrize(
    "space",
    [
        spaces.Text(3),
        spaces.Dict({"fine": spaces.Discrete(2), "words": spaces.Text(3)}),
        spaces.Sequence(spaces.Discrete(2)),
    ],
    ids=str,
)
def test_an_unsupported_observation_is_named_with_what_is_supported(space: gym.Space[Any]) -> None:
    with pytest.raises(InputError, match=r"--env-id: Env-v0 .*(Text|Sequence).*supported: Box"):
        describe_obs(space, "Env-v0")


@pytest.mark.parametrize(
    "space",
    [spaces.Dict({"a": spaces.Discrete(2)}), spaces.Text(3), spaces.Box(0, 9, (2,), np.int32)],
    ids=str,
)
def test_an_unsupported_action_is_named_with_what_is_supported(space: gym.Space[Any]) -> None:
    with pytest.raises(InputError, match=r"--env-id: Env-v0 .*supported: Discrete"):
        describe_action(space, "Env-v0")


@pytest.mark.parametrize("space", [spaces.Dict({}), spaces.Tuple([]), spaces.Box(0, 1, (0,))])
def test_an_observation_that_holds_nothing_is_refused(space: gym.Space[Any]) -> None:
    with pytest.raises(InputError, match="--env-id: Env-v0"):
        describe_obs(space, "Env-v0")
