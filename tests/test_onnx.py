"""`export`: an ONNX file acts in onnxruntime as `load_policy` does."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import Space, spaces
from torch import Tensor
from torch.nn import functional
from torch.testing import assert_close

from distpg import Config, InputError, export, load_policy, train
from distpg.commands.export import Exported
from distpg.onnx.file import softplus
from distpg.onnx.observations import draw_obs
from distpg.onnx.parity import start_session
from distpg.policy.actor_critic import Policy
from distpg.policy.architecture import Architecture
from distpg.policy.file import policy_bytes
from distpg.run.directory import RunDir
from distpg.spaces import MASK, ActionSpec, Obs, ObsSpec, spaces_to_json
from tests.faults.encoders import Fine
from tests.policy.test_trace import CASES, MASKED, TORQUES, VECTOR, random_policy, specs
from tests.settings import config_of
from tests.test_cli import ROOT, run_main

PICTURE = spaces.Box(0, 255, (12, 10, 3), np.uint8)
OUR_NAMES = spaces.Dict(
    {
        "action": VECTOR,
        "linear": VECTOR,
        "recurrent_state": PICTURE,
        "a/b": spaces.Discrete(3, start=-1),
    }
)
"""Names of inputs and outputs, of an operation, and one with a slash."""
OWN_ENCODER = {"encoder": "tests.test_onnx:Own", "normalize_obs": True}
Case = tuple[Space[Any], Space[Any], dict[str, Any]]
POLICIES: dict[str, Case] = {
    **CASES,
    "beta": (VECTOR, TORQUES, {"action_distribution": "beta", "normalize_obs": True}),
    "narrow bounds": (VECTOR, spaces.Box(1e-3, 2e-3, (1, 2), np.float64), {}),
    "no bounds": (VECTOR, spaces.Box(-np.inf, np.inf, (2,), np.float32), {"action_scale": "unit"}),
    "one number": (spaces.Box(-1, 1, (), np.float16), spaces.Box(-9, 3, (), np.float64), {}),
    "squashed, state": (
        VECTOR,
        TORQUES,
        {"action_distribution": "squashed_gaussian", "log_std": "state"},
    ),
    "multi-discrete, masked": (
        spaces.Dict({"obs": VECTOR, MASK: spaces.MultiBinary(5)}),
        spaces.MultiDiscrete([2, 3], start=[1, -1]),
        {},
    ),
    "image": (PICTURE, spaces.Discrete(3, start=2), {}),
    "large image": (spaces.Box(0, 255, (4, 40, 36), np.uint8), spaces.Discrete(3), {}),
    "impala, floats": (
        spaces.Box(0, 1, (36, 36, 1), np.float32),
        spaces.Discrete(3),
        {"image_encoder": "impala"},
    ),
    "gru": (OUR_NAMES, TORQUES, {"recurrent": "gru", "recurrent_size": 7}),
    "gru, masked": (MASKED, spaces.Discrete(4), {"recurrent": "gru", "recurrent_size": 6}),
    "lstm": (
        VECTOR,
        TORQUES,
        {"recurrent": "lstm", "recurrent_size": 5, "recurrent_layers": 2, "normalize_obs": True},
    ),
    "lstm, gsde": (VECTOR, TORQUES, {"recurrent": "lstm", "action_distribution": "gsde"}),
    "own encoder": (VECTOR, TORQUES, OWN_ENCODER),
}


class Own(Fine):
    """Encodes vectors of 5 numbers."""

    def __init__(self, obs_spec: Any, parts: Architecture) -> None:
        super().__init__(obs_spec, parts)
        self.dense = torch.nn.Linear(5, 8)

    def forward(self, obs: Mapping[str, Tensor]) -> Tensor:
        return self.dense(obs["obs"]).sin()


class Differs(Own):
    """Encodes otherwise where it is traced."""

    def forward(self, obs: Mapping[str, Tensor]) -> Tensor:
        return super().forward(obs) * (1.01 if torch.compiler.is_compiling() else 1.0)


class Decides(Own):
    """Cannot be traced, since it looks at what it encodes."""

    def forward(self, obs: Mapping[str, Tensor]) -> Tensor:
        features = super().forward(obs)
        return features if (features < 9).all() else -features


class NotInOnnx(Own):
    """Has an operation that ONNX lacks."""

    def forward(self, obs: Mapping[str, Tensor]) -> Tensor:
        return super().forward(obs) * torch.special.bessel_j1(obs["obs"].detach()).sum(-1, True)


def save(case: Case, folder: Path) -> Policy:
    """Write a run whose policy is drawn, and return the policy."""
    observations, actions, settings = case
    config = config_of({"hidden_sizes": (16, 8), **settings})
    parts = Architecture.of(config)
    pair = specs(observations, actions)
    if any(leaf.kind == "image" for leaf in pair[0].leaves):
        # drawn weights make features so large that float32 cannot tell their differences
        policy = new_policy(pair, parts)
    else:
        policy = random_policy(pair, parts)
    run = RunDir(folder)
    run.write_config(config)
    run.policy.write_bytes(policy_bytes(policy.weights(0), spaces_to_json(*pair), parts))
    return policy


def new_policy(pair: tuple[ObsSpec, ActionSpec], parts: Architecture) -> Policy:
    """Make an untrained policy that does not take all actions alike."""
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(3)
        policy = Policy(*pair, parts)
        policy.head.weight *= 100
    return policy


def batches(policy: Policy, rows: int) -> Iterator[Obs]:
    """Usual observations, and extreme ones."""
    rng = np.random.default_rng(rows)
    for factor in (1, 1, 0, 1e4, -1e4):
        obs = draw_obs(policy, rows, rng)
        for leaf in policy.obs_spec.leaves:
            if leaf.kind == "vector":
                scaled = factor * obs[leaf.name].astype(np.float64)
                obs[leaf.name] = scaled.clip(-6e4, 6e4).astype(leaf.dtype)
        yield obs


@pytest.mark.thorough
@pytest.mark.parametrize("name", POLICIES)
def test_it_acts_as_the_loaded_policy_does(name: str, tmp_path: Path) -> None:
    policy = save(POLICIES[name], tmp_path)
    exported = export(tmp_path)
    loaded = load_policy(tmp_path, encoder=POLICIES[name][2].get("encoder"))
    session = start_session(exported.path.read_bytes())
    inputs = [port.name for port in exported.interface.inputs]
    for rows in (1, 6):
        loaded.reset()
        state = np.zeros((rows, policy.recurrent_state_size), np.float32)
        for obs in batches(policy, rows):
            given = dict(zip(inputs, (*obs.values(), state), strict=False))
            actions, *rest = session.run(None, given)
            expected = loaded.act(policy.obs_spec.nest(obs))
            assert actions.dtype == expected.dtype
            np.testing.assert_allclose(actions, expected, rtol=1e-5, atol=1e-5)
            state = rest[-1]


def test_softplus_is_that_of_torch() -> None:
    x = torch.linspace(-700, 700, 2001, dtype=torch.float64)
    assert_close(softplus(x), functional.softplus(x, threshold=800), rtol=1e-12, atol=0)


@pytest.fixture(scope="module")
def cartpole(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """The file of a run on CartPole-v1."""
    config = Config(
        num_workers=0, num_envs=2, num_steps=64, hidden_sizes=(8,), total_steps=500, seed=1
    )
    folder = tmp_path_factory.mktemp("runs") / "run"
    return export(train(config, run_dir=folder, quiet=True).run_dir)


def test_the_script_of_the_docs_plays_the_episode_of_the_loaded_policy(cartpole: Exported) -> None:
    text = (ROOT / "docs" / "export.md").read_text("utf-8")
    script = re.findall(r"```python\n(.*?)```", text, re.DOTALL)[0]
    without_distpg = "import sys\nsys.modules['distpg'] = sys.modules['torch'] = None\n"
    done = subprocess.run(
        [sys.executable, "-c", without_distpg + script],
        cwd=cartpole.path.parent,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    policy, env = load_policy(cartpole.path.parent), gym.make("CartPole-v1")
    obs, _ = env.reset(seed=0)
    episode_return, over = 0.0, False
    while not over:
        obs, reward, terminated, truncated, _ = env.step(policy.act(obs))
        episode_return, over = episode_return + float(reward), terminated or truncated
    assert float(done.stdout) == episode_return


def test_a_run_with_a_file_may_be_overwritten(cartpole: Exported) -> None:
    RunDir(cartpole.path.parent).claim(overwrite=True)


def test_a_file_says_what_it_is_and_not_where_it_is_from(cartpole: Exported) -> None:
    content = cartpole.path.read_bytes()
    session = start_session(content)
    facts = session.get_modelmeta().custom_metadata_map
    assert facts["env_id"] == "CartPole-v1"
    assert json.loads(facts["spaces"])["action"]["sizes"] == [2]
    assert json.loads(facts["inputs"]) == [{"name": "obs", "dtype": "float32", "shape": [-1, 4]}]
    outputs = {port.name: port.shape for port in session.get_outputs()}
    assert outputs == {"action": ["batch"], "logits": ["batch", 2]}
    assert str(ROOT).encode() not in content
    assert b".py" not in content


@pytest.mark.thorough
def test_it_is_replaced_by_the_command_with_the_same_bytes(
    cartpole: Exported, capsys: pytest.CaptureFixture[str]
) -> None:
    content = cartpole.path.read_bytes()
    cartpole.path.write_text("older")
    assert run_main(["export", str(cartpole.path.parent)]) == 0
    assert cartpole.path.read_bytes() == content
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[0].startswith(f"{cartpole.path}: ")
    assert lines[1:4] == [
        "input   obs: [batch, 4] float32",
        "output  action: [batch] int64",
        "output  logits: [batch, 2] float32",
    ]
    assert re.fullmatch(r"compared over 1,000 .*: it differs by at most .* in \w+", lines[4])
    assert not err


def test_a_file_that_acts_otherwise_is_not_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save((VECTOR, TORQUES, {"encoder": "tests.test_onnx:Differs"}), tmp_path)
    assert run_main(["export", str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert re.search(r"differs from the policy by .*e-0\d in (action|mean)", said)
    assert not (tmp_path / "policy.onnx").exists()


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("encoder", "why"),
    [("Decides", "data-dependent"), ("NotInOnnx", "No ONNX function found for .*bessel_j1")],
)
def test_an_encoder_that_cannot_be_exported_is_named(
    encoder: str, why: str, tmp_path: Path
) -> None:
    save((VECTOR, TORQUES, {"encoder": f"tests.test_onnx:{encoder}"}), tmp_path)
    with pytest.raises(InputError, match=f"--encoder tests.test_onnx:{encoder} cannot .*{why}"):
        export(tmp_path)
    assert not (tmp_path / "policy.onnx").exists()


@pytest.mark.thorough
def test_images_of_a_run_in_bf16_are_encoded_in_float32(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save((PICTURE, spaces.Discrete(3), {"precision": "bf16"}), tmp_path)
    assert export(tmp_path).difference.size < 1e-5
    assert "computes in float32" in capsys.readouterr().err
