"""Whole runs on images beside a direction, as MiniGrid has them, and the examples of the docs."""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from distpg import load_policy
from distpg.cli import main
from distpg.envs.make import find_env
from distpg.learner.learner import Learner
from distpg.progress import Progress
from distpg.rollout.in_process import InProcessWorkers
from distpg.run.directory import RunDir
from distpg.train import StopCondition, train_loop
from tests.environments import Compass
from tests.iterations import no_evaluation
from tests.settings import config_of
from tests.test_cli import ROOT

DOCS = (ROOT / "docs" / "encoders.md").read_text("utf-8")
PROGRAMS = re.findall(r"```python\n(.*?)```", DOCS, re.DOTALL)
COMMANDS = re.findall(r"^distpg (.*)$", DOCS, re.MULTILINE)
MINIGRID = """
import gymnasium

gymnasium.register("MiniGrid-Empty-5x5-v0", "tests.environments:Compass", kwargs={"text": True})
"""
"""What stands in for the package of that name."""
SMALL = shlex.split(
    "--num-slots 1 --num-envs 4 --num-steps 16 --minibatch-size 32 --num-epochs 2 --device cpu "
    "--learner-threads 1 --seed 3"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The files that the docs show, in the working directory, and what stands in for MiniGrid."""
    folder = tmp_path_factory.mktemp("mine")
    for program in PROGRAMS:
        name = re.match(r'"""(\w+\.py):', program)
        if name:
            (folder / name[1]).write_text(program)
    (folder / "minigrid.py").write_text(MINIGRID)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.syspath_prepend(folder)
        patch.delenv("RAY_ADDRESS", raising=False)
        yield folder


def run(*words: str) -> None:
    assert main([*words]) == 0


def test_the_docs_show_two_files_a_program_and_the_commands(folder: Path) -> None:
    assert {file.name for file in folder.glob("my_*.py")} == {"my_networks.py", "my_grids.py"}
    assert len(PROGRAMS) == 3
    assert [command.split()[0] for command in COMMANDS] == ["train", "evaluate"]


@pytest.fixture(scope="module")
def trained(folder: Path) -> Path:
    """The run of the command that the docs show, but short."""
    words = [*shlex.split(COMMANDS[0]), *SMALL, "--num-workers", "0", "--total-steps", "150"]
    run(*words, "--quiet", "--run-dir", "first")
    return folder / "first"


def test_the_encoder_of_the_docs_trains_evaluates_resumes_and_plays(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    run(*shlex.split(COMMANDS[1].replace("RUN", str(trained))), "--episodes", "5", "--json")
    assert len(json.loads(capsys.readouterr().out)["returns"]) == 5
    run("resume", str(trained), "--total-steps", "300", "--quiet")
    assert json.loads((trained / "result.json").read_text())["env_steps"] >= 300
    (program,) = (program for program in PROGRAMS if "load_policy" in program)
    names: dict[str, Any] = {}
    exec(program.replace('"RUN"', repr(str(trained))), names)
    env = Compass()
    obs, _ = env.reset(seed=0)
    assert names["policy"].act(obs) in range(3)
    named = load_policy(trained, encoder="my_networks:Symbols")
    assert named.act(obs) == names["policy"].act(obs)


def test_a_run_with_it_is_imitated(trained: Path) -> None:
    words = shlex.split(
        f"imitate --expert {trained} --env-id my_grids:Empty-v0 --num-workers 0 --expert-rounds 1 "
        "--dagger-rounds 1 --num-epochs 60 --learning-rate 1e-3 --quiet --run-dir student "
        "--image-keys image"
    )
    run(*words[:7], *SMALL, *words[7:])
    result = json.loads((trained.parent / "student" / "result.json").read_text())
    assert result["expert"] == str(trained)
    # every second step resets
    assert result["labels"] == 64
    assert RunDir(trained.parent / "student").read_config().encoder is None


def test_the_encoder_of_the_docs_is_measured(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    words = [*shlex.split(COMMANDS[0])[1:], *SMALL, "--num-workers", "1", "--seconds", "0.01"]
    run("bench", *words, "--json")
    assert json.loads(capsys.readouterr().out)["measured"]["acting_per_s"] > 0


@pytest.mark.thorough
def test_on_ray_it_is_imported_where_it_is_needed_and_ends_in_the_same_weights(
    folder: Path,
) -> None:
    words = [*shlex.split(COMMANDS[0]), *SMALL, "--total-steps", "150", "--eval-every", "2"]
    alone, on_ray = (
        [*words, "--quiet", "--num-workers", number, "--run-dir", number] for number in "01"
    )
    run(*alone)
    done = subprocess.run(
        [sys.executable, str(ROOT / "launch.py"), *on_ray],
        env={name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    one, other = (folder / number / "policy.safetensors" for number in "01")
    assert one.read_bytes() == other.read_bytes()


LEARNING: dict[str, Any] = {
    "num_workers": 0,
    "num_envs": 32,
    "num_steps": 16,
    "num_epochs": 8,
    "minibatch_size": 64,
    "learning_rate": 1e-3,
    "seed": 1,
    "learner_threads": 1,
    "stop_at_return": 0.75,
    "total_steps": 20_000,
}


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({"image_encoder": "nature"}, marks=pytest.mark.slow),
        pytest.param({"image_encoder": "impala"}, marks=pytest.mark.slow),
        {"encoder": "my_networks:Symbols"},
    ],
    ids=lambda settings: next(iter(settings.values())),
)
def test_an_image_and_a_direction_are_learned_from_together(
    settings: dict[str, Any], folder: Path
) -> None:
    config = config_of({**LEARNING, **settings})
    # codes are for tables, brightness for convolutions
    kwargs = {"brightness": 1 if config.encoder else 25}
    # by themselves so few cells are a vector
    source = replace(find_env(Compass, kwargs), image_keys=("image",))
    workers = InProcessWorkers(config, source)
    envs = workers.slots[0].envs
    assert {leaf.name: leaf.kind for leaf in envs.obs_spec.leaves} == {
        "image": "image",
        "direction": "categories",
    }
    learner = Learner(config, envs.obs_spec, envs.action_spec)
    stop = StopCondition(config.total_steps, config.stop_at_return)
    progress, _ = train_loop(workers, learner, stop, no_evaluation, [], Progress())
    # who looks at one of the two alone is right in half of the cases at most
    assert progress.reached(0.75)
