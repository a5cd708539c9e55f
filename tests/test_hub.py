"""`push`, and policies of hf://, with a stand-in for the Hub."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from distpg import Config, InputError, load_config, load_policy, train
from distpg.commands.push import card_of
from distpg.hub.repository import split_address
from distpg.run.directory import RunDir
from tests.hub_server import TOKEN, Hub
from tests.test_cli import ROOT

LOAD = """\
import sys
from distpg import load_policy
print(load_policy(sys.argv[1]).act([0.0, 0.1, 0.0, -0.1]))
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run."""
    config = Config(
        num_workers=0, num_envs=2, num_steps=32, minibatch_size=32, hidden_sizes=(8,), total_steps=1
    )
    return train(config, run_dir=tmp_path_factory.mktemp("runs") / "run", quiet=True).run_dir


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as server:
        yield server


def run_python(*words: str, address: str, home: Path, token: str = TOKEN) -> tuple[int, str]:
    """Run Python in a process of its own, since huggingface_hub reads its settings once."""
    settings = {"HF_ENDPOINT": address, "HF_TOKEN": token, "HF_HOME": str(home)}
    done = subprocess.run(
        [sys.executable, *words],
        env=os.environ | settings | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, done.stdout if done.returncode == 0 else done.stderr


@pytest.mark.thorough
def test_a_policy_that_is_pushed_is_loaded_again(finished: Path, hub: Hub, tmp_path: Path) -> None:
    push = ("-m", "distpg", "push", str(finished), "me/cartpole")
    code, said = run_python(*push, address=hub.address, home=tmp_path)
    assert (code, said) == (0, f"{hub.address}/me/cartpole\n")
    assert hub.private == {"me/cartpole": False}
    files = hub.files["me/cartpole"]
    assert files.keys() == {"README.md", "config.toml", "policy.safetensors"}
    assert files["policy.safetensors"] == (finished / "policy.safetensors").read_bytes()
    (tmp_path / "config.toml").write_bytes(files["config.toml"])
    assert load_config(str(tmp_path / "config.toml")).hidden_sizes == (8,)
    _, head, text = files["README.md"].decode().split("---\n", 2)
    assert yaml.safe_load(head)["model-index"][0]["results"][0]["dataset"]["name"] == "CartPole-v1"
    assert 'load_policy("hf://me/cartpole")' in text
    # again, into the repository that is there
    assert run_python(*push, address=hub.address, home=tmp_path)[0] == 0
    expected = load_policy(finished).act([0.0, 0.1, 0.0, -0.1])
    for address in ("hf://me/cartpole", "hf://me/cartpole/policy.safetensors"):
        loaded = run_python("-c", LOAD, address, address=hub.address, home=tmp_path)
        assert loaded == (0, f"{expected}\n")
    code, said = run_python(
        "-c", LOAD, "hf://me/cartpole/no.safetensors", address=hub.address, home=tmp_path
    )
    assert code == 1
    assert "InputError: hf://me/cartpole/no.safetensors, at http://127" in said.splitlines()[-1]


def test_the_card_tells_of_the_policy_that_is_pushed(finished: Path) -> None:
    run, config = RunDir.open(finished), load_config(str(finished / "config.toml"))
    version = json.loads((finished / "result.json").read_text())["policy_version"]
    last = card_of(run, "me/x", config, version, best=False)
    assert "Environment steps:" in last
    earlier = card_of(run, "me/x", config, version - 1, best=False)
    assert "Environment steps:" not in earlier
    assert "model-index" not in earlier


@pytest.mark.thorough
def test_a_hub_that_refuses_is_told_in_a_line(finished: Path, hub: Hub, tmp_path: Path) -> None:
    push = ("-m", "distpg", "push", str(finished), "me/cartpole")
    code, said = run_python(*push, address=hub.address, home=tmp_path, token="hf_wrong")
    assert code == 1
    assert said.startswith(f"distpg: me/cartpole, at {hub.address}: ")
    assert "401" in said
    assert len(said.splitlines()) == 1
    code, said = run_python(*push, address="http://127.0.0.1:9", home=tmp_path)
    assert (code, len(said.splitlines())) == (1, 1)


@pytest.mark.parametrize("address", ["hf://", "hf://me", "hf:///x", "hf://me/x/policy.pt"])
def test_an_address_of_another_form_is_refused(address: str) -> None:
    with pytest.raises(InputError, match="hf://"):
        load_policy(address)


def test_an_address_has_a_file_or_the_policy() -> None:
    assert split_address("hf://me/x") == ("me/x", "policy.safetensors")
    assert split_address("hf://me/x/a/b.safetensors") == ("me/x", "a/b.safetensors")
