"""Whatever is on the command line, in a file or in a checkpoint: it is understood, or refused."""

import contextlib
import io
import json
import shutil
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distpg import InputError, RunError, load_policy
from distpg.commands.train import TrainFlags
from distpg.config.config import Config, hints
from distpg.config.flags import read_flags
from distpg.config.values import flag
from distpg.envs.state import EnvState
from distpg.rollout.slot_state import SlotState, slots_from_bytes, slots_to_bytes
from distpg.run.checkpoint import Checkpoint, list_checkpoints, load_checkpoint
from distpg.run.directory import RunDir
from tests.faults.test_disk import trained
from tests.faults.test_hostile import header_of, replace

names = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
numbers = st.integers(-(2**200), 2**200) | st.floats(allow_nan=False)
leaves = st.none() | st.booleans() | numbers | names


def trees(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Nest values in lists and tables."""
    return st.recursive(
        values,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
        max_leaves=8,
    )


words = names | st.sampled_from(
    [*map(flag, hints()), "--config", "cartpole-ppo", "ppo", "none", "nan", "-1", "1e3", "=", "--"]
)


@given(arguments=st.lists(words, max_size=5))
def test_any_words_are_flags_or_refused_with_code_2(arguments: list[str]) -> None:
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
        try:
            config = read_flags(TrainFlags, arguments, "train").checked()
        except SystemExit as end:
            assert end.code == (0 if {"-h", "--help"} & set(arguments) else 2)  # noqa: PT017
        except InputError as error:
            assert len(str(error)) <= 750  # noqa: PT017
        else:
            assert isinstance(config, Config)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The newest checkpoint of a run, with slots."""
    run = trained(tmp_path_factory.mktemp("saved") / "run")
    return list_checkpoints(run)[-1]


def flat(checkpoint: Checkpoint) -> list[Any]:
    """Write down all that a checkpoint holds."""

    def parts(value: Any) -> Any:
        if isinstance(value, np.ndarray):
            return (value.dtype.str, value.shape, value.tobytes())
        if isinstance(value, dict):
            return {key: parts(part) for key, part in value.items()}
        if isinstance(value, list | tuple):
            return [parts(part) for part in value]
        return parts(vars(value)) if hasattr(value, "__dataclass_fields__") else value

    return [
        parts(part) for part in (checkpoint.learner, checkpoint.progress, list(checkpoint.slots))
    ]


def assert_whole_or_refused(folder: Path, expected: list[Any]) -> None:
    try:
        found = load_checkpoint(folder)
    except InputError as error:
        message = str(error)
        assert str(folder) in message
        assert len(message) <= 750
    else:
        assert flat(found) == expected


FILES = ("manifest.json", "policy.safetensors", "learner.safetensors", "slots.safetensors")


@pytest.mark.parametrize("name", FILES[1:])
@given(data=st.data())
def test_a_checkpoint_of_changed_bytes_is_refused_or_as_it_was(
    name: str, data: st.DataObject, saved: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = copied(saved, tmp_path_factory)
    content = (folder / name).read_bytes()
    at = data.draw(st.integers(0, len(content) - 1))
    kind = data.draw(st.sampled_from(["flip", "cut", "insert", "swap"]))
    if kind == "flip":
        changed = bytes([content[at] ^ data.draw(st.integers(1, 255))])
        content = content[:at] + changed + content[at + 1 :]
    elif kind == "cut":
        content = content[:at]
    elif kind == "insert":
        content = content[:at] + data.draw(st.binary(min_size=1, max_size=9)) + content[at:]
    else:
        content = (folder / data.draw(st.sampled_from(FILES))).read_bytes()
    (folder / name).write_bytes(content)
    assert_whole_or_refused(folder, flat(load_checkpoint(saved)))


def copied(saved: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.getbasetemp() / "copy" / saved.name
    shutil.rmtree(folder, ignore_errors=True)
    return Path(shutil.copytree(saved, folder))


def edit(data: st.DataObject, place: Any) -> None:
    """Put another value in some place of a JSON tree."""
    while True:
        keys = range(len(place)) if isinstance(place, list) else sorted(place)
        key = data.draw(st.sampled_from(keys))
        if not place[key] or not isinstance(place[key], dict | list):
            break
        place = place[key]
    kinds = leaves | st.integers(-1, 9) | st.just(10**9) | st.sampled_from(["vector", "image"])
    place[key] = data.draw(kinds | trees(leaves))


@given(data=st.data())
def test_a_manifest_of_any_json_gives_a_checkpoint_or_is_refused(
    data: st.DataObject, saved: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = copied(saved, tmp_path_factory)
    manifest: Any = json.loads((folder / "manifest.json").read_text())
    edit(data, manifest)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    try:
        found = load_checkpoint(folder)
    except InputError as error:
        assert str(folder) in str(error)  # noqa: PT017
    else:
        progress = found.progress
        assert all(isinstance(count, int) for count in (progress.iteration, progress.env_steps))
        assert all(isinstance(score, int | float) for score in progress.returns)


@pytest.mark.parametrize("name", FILES[1:])
@given(data=st.data())
def test_a_header_of_other_json_with_a_right_checksum_is_refused_or_a_checkpoint(
    name: str, data: st.DataObject, saved: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = copied(saved, tmp_path_factory)
    content = (folder / name).read_bytes()
    size = struct.unpack("<Q", content[:8])[0]
    header: Any = json.loads(content[8 : 8 + size])
    inner = {"policy.safetensors": "distpg", "slots.safetensors": "slots"}.get(name)
    if inner is None:
        edit(data, header)
    else:
        value = json.loads(header["__metadata__"][inner])
        edit(data, value)
        header["__metadata__"][inner] = json.dumps(value)
    text = json.dumps(header).encode()
    replace(folder, name, struct.pack("<Q", len(text)) + text + content[8 + size :])
    with contextlib.suppress(InputError):
        load_checkpoint(folder)
    if name == FILES[1]:
        with contextlib.suppress(InputError):
            load_policy(folder / name)


DTYPES = ["?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "c8"]


@st.composite
def arrays(draw: st.DrawFn) -> Any:
    shape = draw(st.lists(st.integers(0, 3), max_size=3))
    content = draw(st.binary(min_size=1, max_size=16))
    kind = draw(st.sampled_from(DTYPES))
    size = int(np.prod(shape)) * np.dtype(kind).itemsize
    raw = (content * (size // len(content) + 1))[:size]
    if kind == "?":
        raw = bytes(byte % 2 for byte in raw)
    return np.frombuffer(raw, kind).reshape(shape)


def same(one: Any, other: Any) -> bool:
    if isinstance(one, np.ndarray):
        same_type = isinstance(other, np.ndarray) and one.dtype == other.dtype
        return same_type and one.shape == other.shape and one.tobytes() == other.tobytes()
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and one == other


@given(copies=st.lists(st.dictionaries(names, trees(leaves | arrays()), max_size=3), max_size=3))
def test_any_state_of_arrays_and_json_survives_the_way_to_the_disk(
    copies: list[dict[str, Any]],
) -> None:
    nothing = np.zeros(0)
    slot = SlotState(
        3, {"obs": np.ones((2, 3), "f")}, nothing, nothing, nothing, nothing, EnvState(copies)
    )
    (found,) = slots_from_bytes(slots_to_bytes([slot]))
    assert found.incarnation == 3
    assert same(found.envs.copies, copies)
    assert same(dict(found.obs), dict(slot.obs))


@given(value=st.sampled_from([object(), {1}, b"", 1j, {3: 4}, np.array("x"), np.zeros(1, "O")]))
def test_a_state_of_anything_else_is_refused_and_not_written(value: Any) -> None:
    nothing = np.zeros(0)
    slot = SlotState(0, {}, nothing, nothing, nothing, nothing, EnvState([{"far": [value]}]))
    with pytest.raises(RunError, match="get_state of an environment returns"):
        slots_to_bytes([slot])


@given(content=st.binary(max_size=64) | st.binary(max_size=40).map(header_of))
def test_any_bytes_are_no_checkpoint(content: bytes, saved: Path) -> None:
    run = RunDir(saved.parents[1])
    assert list_checkpoints(run)
    file = saved.parents[2] / "bytes"
    file.write_bytes(content)
    with pytest.raises(InputError, match="bytes"):
        load_policy(file)
