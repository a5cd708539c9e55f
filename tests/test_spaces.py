import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distpg.errors import InputError
from distpg.spaces import ActionSpec, Leaf, ObsSpec, spaces_from_json, spaces_to_json

INF = float("inf")
NESTED = ObsSpec(
    (
        Leaf("arm/angles", ("arm", "angles"), (2,), "float32", "vector"),
        Leaf("arm/parts/0", ("arm", "parts", 0), (), "int64", "categories", (3,), (1,)),
        Leaf("arm/parts/1", ("arm", "parts", 1), (4, 4), "uint8", "image"),
    )
)


def nested_obs(*batch_shape: int) -> dict[str, Any]:
    return {
        "arm": {
            "parts": (np.full(batch_shape, 2), np.full((*batch_shape, 4, 4), 200, np.uint8)),
            "angles": np.full((*batch_shape, 2), 0.5, np.float64),
        }
    }


def test_flatten_takes_the_leaves_out_of_nested_dicts_and_tuples() -> None:
    flat = NESTED.flatten(nested_obs(5))
    assert list(flat) == [leaf.name for leaf in NESTED.leaves]
    assert flat["arm/angles"].tolist() == [[0.5, 0.5]] * 5
    assert flat["arm/parts/0"].tolist() == [2] * 5
    assert flat["arm/parts/1"].shape == (5, 4, 4)
    assert (flat["arm/parts/1"] == 200).all()


def test_flatten_gives_each_leaf_its_type() -> None:
    flat = NESTED.flatten(nested_obs(5))
    assert [str(array.dtype) for array in flat.values()] == ["float32", "int64", "uint8"]


def test_flatten_takes_a_plain_array_as_the_only_leaf() -> None:
    spec = ObsSpec((Leaf("obs", (), (3,), "float32", "vector"),))
    flat = spec.flatten(np.arange(3, dtype=np.float64))
    assert flat["obs"].dtype == np.float32
    assert flat["obs"].tolist() == [0, 1, 2]


def test_nest_puts_the_leaves_back() -> None:
    nested = NESTED.nest(NESTED.flatten(nested_obs(5)))
    expected = nested_obs(5)
    assert nested.keys() == {"arm"}
    assert nested["arm"].keys() == {"parts", "angles"}
    assert isinstance(nested["arm"]["parts"], tuple)
    for part, other in zip(nested["arm"]["parts"], expected["arm"]["parts"], strict=True):
        np.testing.assert_array_equal(part, other)
    np.testing.assert_array_equal(nested["arm"]["angles"], expected["arm"]["angles"])


def test_nest_returns_the_only_leaf_as_a_plain_array() -> None:
    spec = ObsSpec((Leaf("obs", (), (3,), "float32", "vector"),))
    obs = np.zeros((2, 3), np.float32)
    assert spec.nest({"obs": obs}) is obs


@pytest.mark.parametrize("batch_shape", [(), (5,), (2, 3)])
def test_batch_shape_is_what_stands_before_the_leaves_own_axes(
    batch_shape: tuple[int, ...],
) -> None:
    assert NESTED.batch_shape(NESTED.flatten(nested_obs(*batch_shape))) == batch_shape


def test_batch_shape_refuses_a_leaf_of_another_shape_and_names_it() -> None:
    flat = NESTED.flatten(nested_obs(5)) | {"arm/angles": np.zeros((5, 3), np.float32)}
    with pytest.raises(InputError, match=r"'arm/angles' has shape \(5, 3\); \(2,\) is expected"):
        NESTED.batch_shape(flat)


def test_batch_shape_refuses_a_leaf_with_too_few_axes() -> None:
    flat = NESTED.flatten(nested_obs()) | {"arm/parts/1": np.zeros(4, np.uint8)}
    with pytest.raises(InputError, match="arm/parts/1"):
        NESTED.batch_shape(flat)


def test_batch_shape_refuses_leaves_of_different_batches() -> None:
    flat = NESTED.flatten(nested_obs(5)) | {"arm/angles": np.zeros((6, 2), np.float32)}
    with pytest.raises(InputError, match="batch axes"):
        NESTED.batch_shape(flat)


def test_continuous_actions_are_clipped_to_their_own_bounds_for_the_env() -> None:
    spec = ActionSpec("continuous", (3,), "float32", low=(-1.0, -2.0, -INF), high=(1.0, 0.5, INF))
    sampled = np.array([[0.25, 3.0, 1e9], [-7.0, -7.0, -1e9]], np.float32)
    given_to_env = spec.to_env(sampled)
    assert given_to_env.tolist() == [[0.25, 0.5, 1e9], [-1, -2, -1e9]]
    assert given_to_env.dtype == np.float32
    assert sampled.tolist() == [[0.25, 3, 1e9], [-7, -7, -1e9]]


def test_the_middle_and_half_range_of_bounds_by_hand() -> None:
    largest = float(np.finfo(np.float32).max)
    low = (100.0, -1.0, 3.0, -INF, 0.0, -largest, -1e300, 0.0)
    high = (200.0, 1.0, 3.0, 5.0, INF, largest, 1e300, largest)
    spec = ActionSpec("continuous", (8,), "float64", low=low, high=high)
    middle, half = spec.middle_and_half
    assert middle.tolist() == [150, 0, 3, 0, 0, 0, 0, 0]
    assert half.tolist() == [50, 1, 0, 1, 1, 1, 1, 1]
    assert spec.is_bounded.tolist() == [True] * 3 + [False] * 5
    assert spec.is_scaled
    half_precision = ActionSpec("continuous", (1,), "float16", low=(-65504.0,), high=(65504.0,))
    usual = ActionSpec("continuous", (2,), "float32", low=(-1.0, -INF), high=(1.0, 3.0))
    assert not half_precision.is_scaled
    assert not usual.is_scaled


def test_continuous_actions_get_the_shape_and_type_of_the_env() -> None:
    spec = ActionSpec("continuous", (2, 3), "float64", low=(-1.0,) * 6, high=(1.0,) * 6)
    assert spec.stored_shape == (6,)
    assert spec.stored_dtype == np.float32
    given_to_env = spec.to_env(np.arange(12, dtype=np.float32).reshape(2, 6) / 20)
    assert given_to_env.shape == (2, 2, 3)
    assert given_to_env.dtype == np.float64
    np.testing.assert_allclose(given_to_env[1], [[0.3, 0.35, 0.4], [0.45, 0.5, 0.55]], rtol=1e-6)


def test_a_continuous_action_without_axes_is_stored_as_one_number() -> None:
    spec = ActionSpec("continuous", (), "float32", low=(-1.0,), high=(1.0,))
    assert spec.stored_shape == (1,)
    assert spec.to_env(np.array([[2.0], [0.5]], np.float32)).tolist() == [1, 0.5]


def test_a_choice_is_counted_from_its_start_for_the_env() -> None:
    spec = ActionSpec("categorical", (), "int32", (4,), (-2,))
    assert spec.stored_shape == ()
    assert spec.stored_dtype == np.int64
    given_to_env = spec.to_env(np.array([0, 3]))
    assert given_to_env.tolist() == [-2, 1]
    assert given_to_env.dtype == np.int32


def test_several_choices_are_counted_each_from_its_own_start() -> None:
    spec = ActionSpec("multi_categorical", (2, 2), "int64", (2, 3, 4, 5), (0, 10, 0, -1))
    assert spec.stored_shape == (4,)
    given_to_env = spec.to_env(np.array([[1, 2, 3, 4], [0, 0, 0, 0]]))
    assert given_to_env.tolist() == [[[1, 12], [3, 3]], [[0, 10], [0, -1]]]
    assert given_to_env.dtype == np.int64


def test_bits_get_the_type_of_the_env() -> None:
    spec = ActionSpec("binary", (2, 2), "int8")
    assert spec.stored_shape == (4,)
    given_to_env = spec.to_env(np.array([[1, 0, 0, 1]]))
    assert given_to_env.tolist() == [[[1, 0], [0, 1]]]
    assert given_to_env.dtype == np.int8


@pytest.mark.parametrize("batch_shape", [(), (3,), (2, 3)])
@pytest.mark.parametrize(
    "spec",
    [
        ActionSpec("categorical", (), "int64", (4,), (0,)),
        ActionSpec("multi_categorical", (2,), "int64", (2, 3), (0, 0)),
        ActionSpec("binary", (3,), "int8"),
        ActionSpec("continuous", (1,), "float32", low=(-1.0,), high=(1.0,)),
    ],
    ids=lambda spec: spec.kind,
)
def test_any_axes_may_stand_before_an_action(
    spec: ActionSpec, batch_shape: tuple[int, ...]
) -> None:
    actions = np.zeros((*batch_shape, *spec.stored_shape), spec.stored_dtype)
    assert spec.to_env(actions).shape == (*batch_shape, *spec.shape)


bounds = st.floats(allow_nan=False)


@given(low=st.lists(bounds, min_size=1, max_size=4), data=st.data())
def test_spaces_make_a_round_trip_through_json(low: list[float], data: st.DataObject) -> None:
    high = data.draw(st.lists(bounds, min_size=len(low), max_size=len(low)))
    action = ActionSpec("continuous", (len(low),), "float32", low=tuple(low), high=tuple(high))
    # plain JSON knows no infinities
    written = json.dumps(spaces_to_json(NESTED, action), allow_nan=False)
    assert spaces_from_json(json.loads(written)) == (NESTED, action)


@pytest.mark.parametrize(
    "action",
    [
        ActionSpec("categorical", (), "int64", (4,), (-2,)),
        ActionSpec("multi_categorical", (2, 2), "int64", (2, 3, 4, 5), (0, 10, 0, -1)),
        ActionSpec("binary", (3,), "int8"),
        ActionSpec("continuous", (2,), "float64", low=(-INF, 0.1), high=(INF, 1.0)),
    ],
    ids=lambda spec: spec.kind,
)
def test_every_kind_of_action_makes_a_round_trip_through_json(action: ActionSpec) -> None:
    written = json.dumps(spaces_to_json(NESTED, action), allow_nan=False)
    read = spaces_from_json(json.loads(written))
    assert read == (NESTED, action)
    assert hash(read) == hash((NESTED, action))


ACTIONS = {
    "categorical": (ActionSpec("categorical", (), "int64", (4,), (-2,)), [-2, 1]),
    "multi_categorical": (
        ActionSpec("multi_categorical", (2, 1), "int64", (3, 2), (1, -1)),
        [[[1], [0]], [[3], [-1]]],
    ),
    "binary": (ActionSpec("binary", (3,), "int8"), [[0, 1, 1], [1, 0, 0]]),
    "continuous": (
        ActionSpec("continuous", (2,), "float64", low=(-1, 0), high=(1, INF)),
        [[-1, 0], [0.5, 7]],
    ),
    "scalar": (ActionSpec("continuous", (), "float32", low=(-1,), high=(1,)), [-1, 0.25]),
}


@pytest.mark.parametrize("kind", ACTIONS)
def test_from_env_is_the_inverse_of_to_env(kind: str) -> None:
    spec, listed = ACTIONS[kind]
    actions = np.array(listed, spec.dtype)
    stored = spec.from_env(actions)
    assert stored.shape == (2, *spec.stored_shape)
    assert stored.dtype == spec.stored_dtype
    np.testing.assert_array_equal(spec.to_env(stored), actions)


def test_from_env_cuts_to_the_bounds() -> None:
    spec, _ = ACTIONS["continuous"]
    assert spec.from_env([[-3.0, -3.0], [3.0, 3.0]]).tolist() == [[-1, 0], [1, 3]]


BAD_ACTIONS: list[tuple[str, Any, str]] = [
    ("categorical", [2], "2 is not an action"),
    ("categorical", [-3], "-3 is not an action"),
    ("categorical", [0.5], "0.5 is not an action"),
    ("categorical", 1, r"shape \[\]; .* \[B\] is expected"),
    ("categorical", [[1]], r"shape \[1, 1\]; .* \[B\] is expected"),
    ("multi_categorical", [[[1], [1]]], "1 is not an action"),
    ("binary", [[0, 2, 0]], "2 is not an action"),
    ("continuous", [[0.0]], r"shape \[1, 1\]; .* \[B, 2\] is expected"),
    ("continuous", [[0.0, float("nan")]], "finite"),
    ("continuous", [["a", "b"]], "finite"),
    ("scalar", [None], "finite"),
    ("scalar", None, "actions None are not"),
]


@pytest.mark.parametrize(("kind", "actions", "said"), BAD_ACTIONS)
def test_from_env_refuses_what_is_no_action(kind: str, actions: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        ACTIONS[kind][0].from_env(actions)


CAMERA = ObsSpec(
    (
        Leaf("cam", ("cam",), (2, 2), "uint8", "image"),
        Leaf("gear", ("gear",), (), "int64", "categories", (3,), (0,)),
        Leaf("speed", ("speed",), (1,), "float32", "vector"),
    )
)
SEEN: dict[str, Any] = {"cam": np.full((2, 2), 200, np.uint8), "gear": 2, "speed": [1]}


@pytest.mark.parametrize(
    "changes",
    [{}, {"cam": [[0.0, 255.0], [1.0, 2.0]]}, {"gear": np.float64(1)}, {"speed": np.ones(1, bool)}],
    ids=str,
)
def test_what_the_type_of_an_observation_holds_is_read(changes: dict[str, Any]) -> None:
    read = CAMERA.read({**SEEN, **changes})
    assert [read[leaf.name].dtype for leaf in CAMERA.leaves] == ["uint8", "int64", "float32"]
    for name, part in {**SEEN, **changes}.items():
        np.testing.assert_array_equal(read[name], part)


@pytest.mark.parametrize(
    ("obs", "said"),
    [
        (
            {**SEEN, "cam": SEEN["cam"] / 255},
            "'cam' contains 0.78.* as float64, which uint8 cannot",
        ),
        (
            {**SEEN, "cam": SEEN["cam"].astype(np.int64) + 100},
            "'cam' contains 300 as int64, which uint8",
        ),
        ({**SEEN, "gear": 0.5}, "'gear' contains 0.5"),
        ({**SEEN, "gear": 3}, "'gear' is 3, which is out of range"),
        ({**SEEN, "speed": ["fast"]}, "'speed' is .'fast'.: not an array of numbers"),
        ({"cam": SEEN["cam"], "gear": 0}, "'speed' is missing, of 'cam', 'gear', 'speed'"),
        (SEEN["cam"], "is not an observation: 'cam' is missing, of 'cam', 'gear', 'speed'"),
        (None, "None is not an observation"),
    ],
)
def test_what_is_no_observation_is_refused_by_the_part_that_is_wrong(obs: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        CAMERA.read(obs)
