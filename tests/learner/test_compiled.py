"""Updates that are compiled ahead of time: when, what they compute, and what is kept of them."""

import errno
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces

from distpg.envs.describe import describe_obs
from distpg.errors import InputError
from distpg.iteration import Packages
from distpg.learner import compile_cache
from distpg.learner.compiled import MIN_MINIBATCHES, decide
from distpg.learner.compiled_steps import CompiledSteps
from distpg.learner.learner import Learner
from tests.learner.runs import LONG, Run, assert_same_state
from tests.learner.test_fused import EVERY_FORM, assert_same_updates
from tests.settings import config_of

CPU = torch.device("cpu")
OFTEN = ("continuous", "trust region")
"""Forms of the loss that use all of the compiled functions."""
LONG_RUN = MIN_MINIBATCHES * 64
"""Env steps of a run of so many minibatches of 64, with an epoch."""


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(compile_cache, "user_cache_path", tmp_path.joinpath)
    return tmp_path / "distpg/compiled"


@pytest.mark.parametrize(
    ("settings", "compiler", "decision"),
    [
        ({"total_steps": LONG_RUN}, "g++", "on"),
        ({"total_steps": LONG_RUN - 64}, "g++", "off"),
        ({"total_steps": LONG_RUN // 10, "num_epochs": 10}, "g++", "on"),
        ({"total_steps": LONG_RUN // 2, "value_epochs": 1}, "g++", "on"),
        ({"total_steps": LONG_RUN}, None, "off"),
        ({"total_steps": LONG_RUN, "compile": "off"}, "g++", "off"),
        ({"total_steps": 64, "compile": "on"}, None, "on"),
        ({"total_steps": LONG_RUN, "recurrent": "gru"}, "g++", "off"),
        ({"total_steps": LONG_RUN, "encoder": "tests.faults.encoders:Fine"}, "g++", "off"),
        # of whole episodes the number of minibatches is not known
        ({"algo": "reinforce", "minibatch_size": None, "total_steps": 10**9}, "g++", "off"),
        # 2 slots of 2 envs and 16 steps
        ({"minibatch_size": None, "total_steps": MIN_MINIBATCHES * 64}, "g++", "on"),
    ],
    ids=str,
)
def test_it_is_decided_by_the_settings_and_the_machine(
    settings: dict[str, Any], compiler: str | None, decision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compile_cache, "compiler", lambda: compiler)
    run = Run()
    shape = {"num_epochs": 1, "num_slots": 2, "num_envs": 2, "num_steps": 16, "minibatch_size": 64}
    config = config_of({**shape, **settings})
    assert decide(config, CPU, run.learner.policy.obs_spec) == decision


def test_on_a_gpu_and_for_images_it_is_left_to_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compile_cache, "compiler", lambda: "g++")
    config, spec = config_of({"total_steps": LONG_RUN}), Run().learner.policy.obs_spec
    assert decide(config, torch.device("cuda"), spec) == "off"
    images = describe_obs(spaces.Box(0, 255, (16, 16, 3), np.uint8), "Env-v0")
    assert decide(config, CPU, images) == "off"


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "settings",
    [
        pytest.param(
            settings,
            marks=pytest.mark.thorough if name in OFTEN else pytest.mark.slow,
            id=name,
        )
        for name, settings in EVERY_FORM.items()
    ],
)
def test_a_compiled_update_is_the_update_but_for_the_last_bits(settings: dict[str, Any]) -> None:
    run = Run(**{**LONG, **settings})
    quick = run.make_learner(compile="on")
    packages = quick.compile({})
    assert isinstance(quick.steps, CompiledSteps)
    assert_same_updates(run, quick)
    assert_the_bits_are_those_of(packages, run, quick)


def assert_the_bits_are_those_of(packages: Packages, run: Run, quick: Learner) -> None:
    """Check that another learner with the same packages does the same, bit for bit."""
    again = run.make_learner(compile="on")
    assert again.compile(packages, pytest.fail) == packages
    rollouts = run.collect()
    for learner in (quick, again):
        learner.load(run.learner.state())
        learner.update(rollouts)
    assert_same_state(quick.state(), again.state())


def test_a_package_is_compiled_once_and_again_if_it_is_damaged(empty_cache: Path) -> None:
    said, built = list[str](), list[int]()

    def build() -> bytes:
        built.append(1)
        return b"library"

    for _ in range(2):
        assert compile_cache.fetch("key", build, said.append) == b"library"
    assert len(built) == 1
    assert [line.partition(",")[0] for line in said] == ["compiling the update for this machine"]
    (path,) = empty_cache.iterdir()
    assert path.stat().st_mode & 0o77 == 0
    path.write_bytes(path.read_bytes()[:-1])
    assert compile_cache.fetch("key", build, said.append) == b"library"
    assert said[1:] == [f"{path} is damaged; compiling the update again"]
    assert [*empty_cache.iterdir()] == [path]


def test_a_folder_that_others_can_write_to_is_not_trusted(empty_cache: Path) -> None:
    empty_cache.mkdir(parents=True)
    empty_cache.chmod(0o777)
    said = list[str]()
    assert compile_cache.fetch("key", lambda: b"library", said.append) == b"library"
    assert "compiled again at each start" in said[0]
    assert "others can write to it" in said[0]
    assert not any(empty_cache.iterdir())


def test_a_compiler_that_fails_is_named_with_what_helps(empty_cache: Path) -> None:
    def build() -> bytes:
        raise RuntimeError("omp.h is missing")

    with pytest.raises(InputError, match=r"--compile: .* omp.h is missing; use --compile off"):
        compile_cache.fetch("key", build, lambda line: None)
    assert not any(empty_cache.iterdir())


def test_what_cannot_be_kept_is_used_and_told(
    empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, package: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(compile_cache, "write", full)
    said = list[str]()
    assert compile_cache.fetch("key", lambda: b"library", said.append) == b"library"
    assert "compiled again at each start: [Errno 28] No space left" in said[-1]


def test_the_key_is_of_the_structure_the_machine_and_the_tools(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    keys = {compile_cache.key({"threads": 1}), compile_cache.key({"threads": 2})}
    monkeypatch.setattr(compile_cache, "cpu_features", lambda: ["flags: avx2"])
    keys.add(compile_cache.key({"threads": 1}))
    monkeypatch.setenv("CXXFLAGS", "-O1")
    keys.add(compile_cache.key({"threads": 1}))
    monkeypatch.setattr(torch, "__version__", "9.9")
    keys.add(compile_cache.key({"threads": 1}))
    assert len(keys) == 5


def test_without_a_compiler_what_was_compiled_before_is_used_and_else_refused(
    empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compile_cache.fetch("key", lambda: b"library", lambda line: None)
    monkeypatch.setattr(compile_cache, "compiler", lambda: None)
    assert compile_cache.fetch("key", lambda: b"", pytest.fail) == b"library"
    with pytest.raises(InputError, match=r"needs a C\+\+ compiler .* or use --compile off"):
        compile_cache.fetch("another", lambda: b"", lambda line: None)
