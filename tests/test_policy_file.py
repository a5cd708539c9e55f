"""A policy on disk: the same bytes for the same policy, and nothing but a policy is read."""

import dataclasses
import json
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st

from distpg import InputError, load_policy
from distpg.policy.actor_critic import Policy
from distpg.policy.architecture import Architecture
from distpg.policy.file import policy_bytes, read_policy
from distpg.records import Weights
from distpg.spaces import ActionSpec, Leaf, ObsSpec, spaces_from_json, spaces_to_json

OBS = ObsSpec(
    (
        Leaf("place/0", ("place", 0), (2,), "float32", "vector"),
        Leaf("kind", ("kind",), (), "int64", "categories", (3,), (-1,)),
    )
)
ACTION = ActionSpec("continuous", (2,), "float32", low=(-np.inf, -0.5), high=(np.inf, 2.0))
PARTS = Architecture((5,), "tanh", normalize_obs=True)


def some_weights() -> Weights:
    draw = np.random.default_rng(0)
    arrays = Policy(OBS, ACTION, PARTS).weights(0).arrays
    drawn = {
        name: np.asarray(np.abs(draw.normal(size=x.shape)), x.dtype) for name, x in arrays.items()
    }
    return Weights(12, drawn)


WEIGHTS = some_weights()
CONTENT = policy_bytes(WEIGHTS, spaces_to_json(OBS, ACTION), PARTS)


def write(folder: Path, content: bytes) -> Path:
    file = folder / "policy.safetensors"
    file.write_bytes(content)
    return file


def test_the_same_policy_is_the_same_bytes() -> None:
    backwards = Weights(12, dict(reversed(list(WEIGHTS.arrays.items()))))
    spaces = dict(reversed(list(spaces_to_json(OBS, ACTION).items())))
    assert policy_bytes(backwards, spaces, PARTS) == CONTENT


def test_a_policy_is_read_back_with_its_spaces_and_architecture(tmp_path: Path) -> None:
    file = read_policy(write(tmp_path, CONTENT))
    assert (file.obs_spec, file.action_spec, file.architecture) == (OBS, ACTION, PARTS)
    assert file.weights.version == 12
    assert file.weights.arrays.keys() == WEIGHTS.arrays.keys()
    for name, array in WEIGHTS.arrays.items():
        np.testing.assert_array_equal(file.weights.arrays[name], array)
        assert file.weights.arrays[name].dtype == array.dtype


def test_a_policy_from_before_a_choice_of_its_distribution_is_read_as_what_it_was(
    tmp_path: Path,
) -> None:
    size = struct.unpack("<Q", CONTENT[:8])[0]
    header = json.loads(CONTENT[8 : 8 + size])
    described = json.loads(header["__metadata__"]["distpg"])
    later = ("action_distribution", "log_std", "precision", "image_encoder", "encoder")
    for name in (*later, "action_scale", "sde_sample_freq", "log_std_init"):
        del described["architecture"][name]
    header["__metadata__"]["distpg"] = json.dumps(described)
    older = json.dumps(header).encode()
    content = struct.pack("<Q", len(older)) + older + CONTENT[8 + size :]
    assert read_policy(write(tmp_path, content)).architecture == PARTS


def test_pictures_of_format_1_are_read_as_they_were(tmp_path: Path) -> None:
    leaves = [
        {"name": name, "path": [name], "shape": shape, "dtype": "uint8", "kind": "image"}
        for name, shape in {"flat": [6, 7], "last": [7, 8, 3], "first": [3, 8, 7]}.items()
    ]
    spaces = spaces_to_json(OBS, ACTION) | {"obs": leaves}
    shown, _ = spaces_from_json(spaces)
    assert [leaf.layout for leaf in shown.leaves] == ["HW", "HWC", "CHW"]
    assert [leaf.scale for leaf in shown.leaves] == [255, 255, 255]
    described = {"format": 1, "policy_version": 0, "spaces": spaces}
    described["architecture"] = dataclasses.asdict(PARTS)
    weights = Policy(shown, ACTION, PARTS).weights(0).arrays
    metadata = {"distpg": json.dumps(described)}
    file = write(tmp_path, safetensors.numpy.save(dict(weights), metadata))
    assert read_policy(file).obs_spec == shown
    obs = {leaf.name: np.zeros(leaf.shape, np.uint8) for leaf in shown.leaves}
    assert load_policy(file).act(obs).shape == (2,)


def test_why_a_leaf_is_no_picture_is_not_saved() -> None:
    leaf = Leaf("obs", (), (6, 7), "uint8", "vector", note="too small")
    (saved,) = spaces_to_json(ObsSpec((leaf,)), ACTION)["obs"]
    assert "note" not in saved


def test_a_pickle_that_was_renamed_is_refused_and_not_executed(tmp_path: Path) -> None:
    witness = tmp_path / "executed"

    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (witness,))

    file = write(tmp_path, pickle.dumps(Trap()))
    with pytest.raises(InputError, match=r"policy\.safetensors"):
        load_policy(file)
    assert not witness.exists()


@given(cut=st.integers(0, len(CONTENT) - 1))
def test_a_truncated_policy_is_refused_in_one_line(
    cut: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = write(tmp_path_factory.getbasetemp(), CONTENT[:cut])
    with pytest.raises(InputError) as raised:
        load_policy(file)
    assert str(file) in str(raised.value)
    assert "\n" not in str(raised.value)


HEADER_END = 8 + struct.unpack("<Q", CONTENT[:8])[0]


@given(at=st.integers(0, HEADER_END - 1), bit=st.integers(0, 7))
def test_a_damaged_header_is_refused_or_still_a_policy(
    at: int, bit: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    damaged = bytearray(CONTENT)
    damaged[at] ^= 1 << bit
    file = write(tmp_path_factory.getbasetemp(), bytes(damaged))
    try:
        load_policy(file)
    except InputError as error:
        assert len(str(error)) < 1000  # noqa: PT017


@pytest.mark.parametrize(
    "metadata",
    [
        None,
        {"format": "pt"},
        {"distpg": "not json"},
        {"distpg": "[]"},
        {"distpg": "{}"},
        {"distpg": json.dumps({"format": 999})},
    ],
)
def test_tensors_that_are_no_policy_of_this_format_are_refused(
    metadata: dict[str, str] | None, tmp_path: Path
) -> None:
    file = write(tmp_path, safetensors.numpy.save({"x": np.zeros(2)}, metadata))
    with pytest.raises(InputError, match=r"policy\.safetensors"):
        load_policy(file)


def test_a_policy_of_other_shapes_than_its_header_says_is_refused(tmp_path: Path) -> None:
    content = policy_bytes(
        WEIGHTS, spaces_to_json(OBS, ACTION), Architecture((6,), "tanh", normalize_obs=True)
    )
    with pytest.raises(InputError, match="differs"):
        load_policy(write(tmp_path, content))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("activation", "tanx"),
        ("action_distribution", "cauchy"),
        ("log_std", "fixed"),
        ("image_encoder", "resnet"),
        ("encoder", ["own", "Net"]),
        ("hidden_sizes", [-5]),
        ("no_such_part", 1),
    ],
)
def test_an_architecture_that_cannot_be_is_refused_by_file_and_value(
    name: str, value: Any, tmp_path: Path
) -> None:
    described = {"format": 1, "policy_version": 0, "spaces": spaces_to_json(OBS, ACTION)}
    described["architecture"] = {**dataclasses.asdict(PARTS), name: value}
    metadata = {"distpg": json.dumps(described)}
    file = write(tmp_path, safetensors.numpy.save(dict(WEIGHTS.arrays), metadata))
    with pytest.raises(InputError, match=rf"policy\.safetensors.*{name.replace('_', '.')}"):
        load_policy(file)


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing-here"):
        load_policy(tmp_path / "nothing-here")
    with pytest.raises(InputError, match="not a run directory"):
        load_policy(tmp_path)
