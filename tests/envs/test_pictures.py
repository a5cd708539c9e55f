"""What is read as a picture: every row of the table in the docs, and `--image-keys`."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from distpg import Config, InputError, evaluate, load_policy, resume, train
from distpg.envs.describe import describe_obs
from distpg.envs.make import find_source, make_vector_env
from distpg.spaces import Leaf
from tests.environments import AnyKind
from tests.test_cli import ROOT

TABLE = re.findall(
    r"^\| (\[.*?\]) \| (\w+) \| \[(\S+), (\S+)\] \| (\w+)(.*?) \|",
    (ROOT / "docs" / "observations.md").read_text("utf-8"),
    re.MULTILINE,
)


def only_leaf(space: spaces.Space[Any], image_keys: tuple[str, ...] | None = None) -> Leaf:
    (leaf,) = describe_obs(space, "Env-v0", image_keys).leaves
    return leaf


def test_the_table_was_found() -> None:
    assert len(TABLE) > 30
    assert {row[4] for row in TABLE} == {"picture", "vector"}


@pytest.mark.parametrize("row", TABLE, ids=" ".join)
def test_a_leaf_is_read_as_the_table_says(row: tuple[str, ...]) -> None:
    shape, dtype, low, high, kind, rest = row
    box = spaces.Box(float(low), float(high), tuple(json.loads(shape)), np.dtype(dtype).type)
    leaf = only_leaf(box)
    if kind == "picture":
        layout, scale = rest.strip().split(" / ")
        assert (leaf.kind, leaf.layout, leaf.scale) == ("image", layout, float(scale))
        assert leaf.note == ""
    else:
        assert (leaf.kind, leaf.layout) == ("vector", "")
        assert rest.removeprefix(": ") in leaf.note
        assert bool(rest) == bool(leaf.note)


@pytest.mark.parametrize(
    ("space", "layout", "scale"),
    [
        (spaces.Box(0, 255, (7, 7, 3), np.uint8), "HWC", 255),
        (spaces.Box(0, 2, (6, 7), np.uint8), "HW", 2),
        (spaces.Box(-8, 4, (3, 5, 6), np.int16), "CHW", 8),
        (spaces.Box(-np.inf, np.inf, (9, 9)), "HW", 1),
        (spaces.Box(np.float32(-3.4028235e38), np.float32(3.4028235e38), (9, 9)), "HW", 1),
        (spaces.Box(0, 1, (5, 6, 7, 2)), "SHWC", 1),
        (spaces.MultiBinary((4, 10, 10)), "CHW", 1),
    ],
    ids=str,
)
def test_a_leaf_that_is_named_is_a_picture_scaled_by_its_bounds(
    space: spaces.Space[Any], layout: str, scale: float
) -> None:
    leaf = only_leaf(space, ("obs",))
    assert (leaf.kind, leaf.layout, leaf.scale) == ("image", layout, scale)


def test_the_names_are_those_of_all_pictures() -> None:
    screen = spaces.Box(0, 255, (9, 9), np.uint8)
    both = spaces.Dict({"one": screen, "two": screen})
    kinds = [leaf.kind for leaf in describe_obs(both, "Env-v0", ("two",)).leaves]
    assert kinds == ["vector", "image"]
    assert {leaf.kind for leaf in describe_obs(both, "Env-v0", ()).leaves} == {"vector"}


@pytest.mark.parametrize(
    ("space", "said"),
    [
        (spaces.Box(-1, 1, (4,)), r"obs has shape \[4\]; a picture has 2 to 4 axes"),
        (spaces.Box(0, 1, (2, 2, 2, 2, 2)), "2 to 4 axes"),
        (spaces.Discrete(3), "obs is Discrete; a picture is a Box"),
        (
            spaces.MultiDiscrete(np.array([[2, 3], [4, 5]])),
            "obs is MultiDiscrete",
        ),
        (
            spaces.Dict({"screen": spaces.Discrete(3)}),
            "'obs' is not .* of Env-v0; choose from screen",
        ),
    ],
    ids=str,
)
def test_what_cannot_be_a_picture_is_refused_by_name(space: spaces.Space[Any], said: str) -> None:
    with pytest.raises(InputError, match=rf"^--image-keys: .*{said}"):
        describe_obs(space, "Env-v0", ("obs",))


def codes() -> AnyKind:
    env = AnyKind("discrete obs")
    env.observation_space = spaces.Box(0, 2, (6, 7), np.uint8)
    return env


def test_the_reading_of_a_run_is_that_of_its_resume_and_its_policy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = Config(
        image_keys=("obs",),
        num_workers=0,
        num_envs=2,
        num_steps=8,
        minibatch_size=8,
        total_steps=16,
    )
    run = train(config, make_env=codes, run_dir=tmp_path / "run").run_dir
    said = "observation obs: [6, 7] uint8, read as gray picture, divided by 2; encoder: nature"
    assert said in capsys.readouterr().out
    resume(run, make_env=codes, total_steps=32)
    assert said in capsys.readouterr().out
    (leaf,) = load_policy(run).policy.obs_spec.leaves
    assert (leaf.kind, leaf.layout, leaf.scale) == ("image", "HW", 2)


def test_a_run_says_why_a_board_is_a_vector(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = Config(num_workers=0, num_envs=2, num_steps=8, minibatch_size=8, total_steps=16)
    train(config, make_env=codes, run_dir=tmp_path / "run")
    assert "read as vector (a picture is uint8 in [0, 255]" in capsys.readouterr().out


def test_image_keys_that_name_nothing_are_refused() -> None:
    for names in ((), ("",), ("obs", "")):
        with pytest.raises(InputError, match=r"^--image-keys: .*auto or none"):
            Config(image_keys=names)
    source = find_source(Config(image_keys=("none",)), None)
    assert make_vector_env(source, 1).obs_spec.leaves[0].kind == "vector"


def test_a_run_whose_reading_was_another_is_evaluated_and_not_resumed(tmp_path: Path) -> None:
    config = Config(
        image_keys=("obs",),
        num_workers=0,
        num_envs=2,
        num_steps=8,
        minibatch_size=8,
        total_steps=16,
    )
    run = train(config, make_env=codes, run_dir=tmp_path / "run", quiet=True).run_dir
    # as if an older version had written it
    settings = run / "config.toml"
    settings.write_text(
        re.sub(r"image_keys = \[[^\]]*\]", 'image_keys = ["auto"]', settings.read_text())
    )
    assert len(evaluate(run, make_env=codes, episodes=2).returns) == 2
    said = "obs was read as gray picture, divided by 2 .* and is vector .* now; image_keys"
    with pytest.raises(InputError, match=said):
        resume(run, make_env=codes, total_steps=32)
