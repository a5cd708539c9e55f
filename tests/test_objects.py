"""Objects in place of their names: in settings from Python, in a script, on Ray, afterwards."""

import copy
import functools
import subprocess
import sys
from pathlib import Path
from typing import Any

import cloudpickle
import gymnasium
import pytest
from torch import nn

import distpg
from distpg import Config, InputError, load_policy
from distpg.cli import main
from distpg.config.files import read_settings, to_toml
from distpg.config.names import ObjectName, as_name, name_of
from distpg.run.directory import RunDir
from distpg.user_code import import_object
from tests.environments import Counting, Package
from tests.test_cli import ROOT
from tests.test_closing import SMALL

SCRIPT = """
import functools
import sys
from pathlib import Path

import gymnasium as gym
import numpy as np
from torch import nn

import distpg


class Encoder(nn.Module):
    def __init__(self, obs_spec, parts, width=4):
        super().__init__()
        self.num_features = width
        self.dense = nn.Linear(obs_spec.leaves[0].shape[0], width)

    def forward(self, obs):
        return self.dense(obs["obs"]).tanh()


class Scaled(gym.RewardWrapper):
    def __init__(self, env, factor=1):
        super().__init__(env)
        self.factor = factor

    def reward(self, reward):
        return self.factor * reward


class Marks(distpg.Watcher):
    def __init__(self, mark=0):
        self.mark = mark

    def on_iteration(self, iteration):
        return {"own/mark": self.mark}


def make(**kwargs):
    return gym.make("CartPole-v1", **kwargs)


def expert(obs, lean):
    return (obs[:, 2] > lean).astype(np.int64)


OBJECTS = {
    "env_wrapper": [functools.partial(Scaled, factor=0.5)],
    "encoder": functools.partial(Encoder, width=6),
}
WATCHER = [functools.partial(Marks, mark=7)]


def config(**settings):
    return distpg.Config(
        env_id=make, watcher=WATCHER, **OBJECTS, num_slots=2, num_envs=2, episodes_per_env=1,
        minibatch_size=32, num_epochs=1, learner_threads=1, eval_every=1, eval_episodes=2,
        **settings,
    )


def train(folder, **settings):
    return distpg.train(config(**settings), run_dir=folder, quiet=True).result


if __name__ == "__main__":
    whole = train("whole", num_workers=0, total_steps=400)
    train("parted", num_workers=2, total_steps=1)
    again = distpg.resume(
        "parted", make_env=make, watcher=WATCHER, **OBJECTS, total_steps=400, num_workers=0,
        quiet=True,
    ).result
    assert again["iterations"] == whole["iterations"] > 1
    returns = distpg.evaluate("parted", episodes=3, make_env=make, **OBJECTS).returns
    lengths = distpg.evaluate("parted", episodes=3, make_env=make, **OBJECTS).lengths
    assert returns == [length / 2 for length in lengths], (returns, lengths)
    assert distpg.load_policy("parted", encoder=OBJECTS["encoder"]).act(np.zeros(4)) in (0, 1)
    asked = functools.partial(expert, lean=0.0)
    rounds = {"expert_rounds": 1, "dagger_rounds": 1}
    student = distpg.imitate(
        config(num_workers=0), asked, **rounds, run_dir="student", quiet=True
    )
    print(student.result["expert"])
"""


class Wide(nn.Module):
    """Is not used."""


def test_a_name_leads_to_the_object_in_every_process() -> None:
    assert name_of(Counting) == "tests.environments:Counting"
    assert name_of(Package.PaysOne) == "tests.environments:Package.PaysOne"
    for found, name in (
        (functools.partial(Counting, lengths=[2]), "<Counting>"),
        (lambda: Counting([2]), "lambda>>"),
        (Counting().reset, "<Counting.reset>"),
        (type("Local", (), {}), "<Local>"),
    ):
        assert name_of(found).endswith(name)
        given = as_name(found)
        assert isinstance(given, ObjectName)
        assert import_object(given) is found
        assert copy.deepcopy(given) is given
        assert import_object(copy.copy(given)) is found
    sent = cloudpickle.loads(cloudpickle.dumps(as_name(functools.partial(Counting, lengths=[2]))))
    made: Any = import_object(sent)
    assert made().lengths == [2]
    assert sent == "<Counting>"
    # of the script that runs, other processes know nothing
    wide = type("Wide", (), {"__module__": "__main__"})
    assert name_of(wide) == "<Wide>"


def test_settings_are_text_to_all_but_those_who_import() -> None:
    config = Config(
        env_id=Counting,
        encoder=Wide,
        env_wrapper=[gymnasium.wrappers.ClipReward, functools.partial(gymnasium.Wrapper)],  # type: ignore[arg-type]
        watcher=[distpg.Watcher],  # type: ignore[arg-type]
    )
    text = to_toml(config)
    assert f'encoder = "{__name__}:Wide"' in text
    assert 'env_id = "tests.environments:Counting"' in text
    assert "<Wrapper>" in text
    assert type(config.resolved().watcher[0]) is str
    with pytest.raises(InputError, match="--env-id: 3 is not text or a class or function"):
        Config(env_id=3)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"--env-wrapper: .* is not a list of names"):
        Config(env_wrapper=Counting)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"--env-backend: envpool .* cannot step a callable"):
        distpg.train(Config(env_id=Counting, env_backend="envpool"))


def test_a_class_that_can_be_imported_need_not_be_given_again(tmp_path: Path) -> None:
    config = Config(**SMALL, num_workers=0, env_id=Counting)
    run = distpg.train(config, run_dir=tmp_path / "run", quiet=True).run_dir
    assert RunDir(run).read_config().env_id == "tests.environments:Counting"
    assert main(["evaluate", str(run), "--episodes", "2"]) == 0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the script was run."""
    folder = tmp_path_factory.mktemp("script")
    (folder / "script.py").write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, "script.py"],
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "HOME": str(folder)},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "<expert>"
    return folder


@pytest.mark.thorough
def test_objects_of_a_script_travel_to_workers_and_back_into_a_resumed_run(folder: Path) -> None:
    whole, parted = folder / "whole", folder / "parted"
    assert (whole / "policy.safetensors").read_bytes() == (
        parted / "policy.safetensors"
    ).read_bytes()
    settings = read_settings(str(parted / "config.toml"))
    assert settings["env_id"] == "<make>"
    assert settings["env_wrapper"] == ("<Scaled>",)
    assert settings["encoder"] == "<Encoder>"
    assert settings["watcher"] == ("<Marks>",)


@pytest.mark.thorough
def test_another_process_says_what_is_to_be_given_again(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = str(folder / "parted")
    again = "it was given in Python and cannot be imported; give the object again"
    assert main(["evaluate", run]) == 2
    assert "--env-id: <make> was a Python callable" in capsys.readouterr().err

    def make(**kwargs: Any) -> gymnasium.Env[Any, Any]:
        return gymnasium.make("CartPole-v1", **kwargs)

    scaled = type("Scaled", (gymnasium.Wrapper,), {})
    with pytest.raises(InputError, match=f"--env-wrapper: <Scaled>: {again}"):
        distpg.evaluate(run, make_env=make)
    with pytest.raises(InputError, match="--env-wrapper: the run has <Scaled>, not gymnasium:Wra"):
        distpg.evaluate(run, make_env=make, env_wrapper=["gymnasium:Wrapper"])
    with pytest.raises(InputError, match=f"--encoder <Encoder>: {again}"):
        distpg.evaluate(run, make_env=make, env_wrapper=[scaled])
    with pytest.raises(InputError, match=f"--watcher: <Marks>: {again}"):
        distpg.resume(run, make_env=make, env_wrapper=[scaled], total_steps=900)
    with pytest.raises(InputError, match=r"trained with --encoder <Encoder>; .* pass the class"):
        load_policy(run)
    with pytest.raises(InputError, match=r"--encoder: the run has <Encoder>, not .*:Wide"):
        distpg.resume(run, make_env=make, encoder=Wide)


def test_an_object_that_cannot_be_sent_is_named(tmp_path: Path) -> None:
    lock = sys.stdout

    class Locked(nn.Module):
        num_features = 4

        def __init__(self, obs_spec: Any, parts: Any) -> None:
            super().__init__()
            self.dense = nn.Linear(4, 4)
            self.file = lock

        def forward(self, obs: Any) -> Any:
            return self.dense(obs["obs"])

    config = Config(**SMALL, num_workers=1, encoder=Locked)
    with pytest.raises(InputError, match=r"--encoder: <.*Locked> cannot be sent to a worker"):
        distpg.train(config, run_dir=tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()
