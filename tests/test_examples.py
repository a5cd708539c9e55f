"""The examples run, and end where they say."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from distpg import Config, train
from distpg.envs.make import find_env, make_vector_env
from distpg.gradient.advantages import ADVANTAGES
from distpg.policy.architecture import Architecture
from examples import own_encoder, own_environment, own_psi, q_learning, watchers

ROOT = Path(__file__).parents[1]


def test_q_learning_reaches_the_exact_optimum(capsys: pytest.CaptureFixture[str]) -> None:
    q_learning.main()
    assert float(capsys.readouterr().out.split()[-1]) < 0.05
    assert q_learning.exact()[list(q_learning.NODES)].argmax(1).tolist() == [0, 1, 1]


def test_q_learning_is_a_function_of_its_seed() -> None:
    once, again = (q_learning.learn(num_episodes=200, seed=1) for _ in range(2))
    np.testing.assert_array_equal(once, again)


@pytest.mark.thorough
def test_watchers_lengthen_the_pole_end_the_run_and_give_up(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    watchers.main()
    first, second, third = capsys.readouterr().out.splitlines()
    assert first.startswith("total_steps after 20,")
    assert second.startswith("certain after ")
    assert third.startswith("pruned after 10,")
    assert len([*(tmp_path / "runs" / "CartPole-v1").iterdir()]) == 3


@pytest.mark.thorough
def test_the_lander_is_trained_evaluated_and_flown(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    own_environment.main(total_steps=4_000)
    share, flight = capsys.readouterr().out.splitlines()
    assert 0 <= int(share.partition("%")[0]) <= 100
    assert set(flight.split()[0]) <= {"_", "^"}


def test_the_landers_state_is_complete() -> None:
    envs = make_vector_env(find_env(own_environment.Lander, {}), 2)
    envs.reset([0, 1])
    state = envs.get_state()
    assert state is not None
    rewards = [envs.step(np.array([0, 1])).rewards for _ in range(40)]
    envs.set_state(state)
    again = [envs.step(np.array([0, 1])).rewards for _ in range(40)]
    np.testing.assert_array_equal(rewards, again)
    assert np.min(rewards) < -1, "the first has landed"


def test_the_encoder_of_a_set_is_the_same_in_any_order() -> None:
    obs_spec = make_vector_env(find_env(own_encoder.Meadow, {}), 1).obs_spec
    encoder = own_encoder.SetEncoder(obs_spec, Architecture.of(Config()))
    flowers = torch.rand(5, own_encoder.NUM_FLOWERS, 3)
    order = torch.randperm(own_encoder.NUM_FLOWERS)
    features = encoder({"obs": flowers})
    assert features.shape == (5, encoder.num_features)
    torch.testing.assert_close(encoder({"obs": flowers[:, order]}), features)
    assert not torch.equal(encoder({"obs": flowers + 1}), features)


@pytest.mark.thorough
def test_the_encoder_of_a_set_is_trained_beside_the_one_that_is_built_in(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    own_encoder.main(total_steps=4_000)
    numbers, as_a_set = (float(x.split()[-4]) for x in capsys.readouterr().out.splitlines())
    assert numbers != as_a_set
    assert 0 < min(numbers, as_a_set) <= max(numbers, as_a_set) < own_encoder.NUM_FLOWERS


def test_upgo_by_hand() -> None:
    rewards = torch.tensor([[1.0], [2.0], [0.0], [3.0], [1.0]])
    values = torch.tensor([[1.0], [1.0], [2.0], [1.0], [4.0]])
    next_values = torch.tensor([[1.0], [2.0], [9.0], [4.0], [2.0]])
    terminated = torch.tensor([[False], [False], [True], [False], [False]])
    truncated = torch.zeros_like(terminated)
    found = own_psi.upgo(rewards, values, next_values, terminated, truncated, gamma=0.5)
    # TD errors: 0.5, 2, -2, 4, -2; the second is good, so it counts for the first step
    assert found.flatten().tolist() == [0.5 + 0.5 * 2, 2.0, -2.0, 4.0, -2.0]


def test_the_bias_of_a_psi_is_exact() -> None:
    assert own_psi.bias(ADVANTAGES["gae"]) < 1e-10
    assert own_psi.bias(own_psi.psi) == pytest.approx(0.288, abs=5e-4)


@pytest.mark.thorough
def test_a_policy_is_trained_by_upgo(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    own_psi.main(total_steps=4_000)
    by_gae, by_upgo = (line.split() for line in capsys.readouterr().out.splitlines())
    assert by_gae[:3] == ["gae", "bias", "0.000"]
    assert by_upgo[:3] == ["upgo", "bias", "0.288"]
    assert by_gae[4] != by_upgo[4], "they are the same Psi"


def test_connect_four_gives_games_to_one_player() -> None:
    from examples.connect_four import ConnectFour

    env = ConnectFour()
    for seed in range(20):
        obs, _ = env.reset(seed=seed)
        over, reward, moves = False, 0.0, 0
        while not over:
            assert obs in env.observation_space
            # one piece of the opponent more if it began
            mine, others = obs["observation"].sum((0, 1))
            assert others - mine in (0, 1)
            assert mine == moves
            column = int(obs["action_mask"].argmax())
            obs, reward, over, truncated, _ = env.step(column)
            moves += 1
            assert not truncated
        assert reward in (-1, 0, 1)
        again, _ = env.reset(seed=seed)
        np.testing.assert_array_equal(
            again["observation"], ConnectFour().reset(seed=seed)[0]["observation"]
        )


def test_agents_of_a_game_are_rows_that_begin_and_end_together() -> None:
    from examples.pursuit import SharedPolicy

    envs = SharedPolicy(20, max_cycles=3)
    assert len(envs.games) == 3
    obs, _ = envs.reset(seed=0)
    assert obs in envs.observation_space
    alone = envs.games[1].unwrapped
    for agent, row in zip(envs.agents, obs[8:16], strict=True):
        np.testing.assert_array_equal(row, alone.observe(agent))
    ends, paid = [], []
    for _ in range(8):
        obs, rewards, terminated, truncated, _ = envs.step(np.zeros(20, np.int64))
        assert obs in envs.observation_space
        assert len(set(truncated)) == 1
        assert not terminated.any()
        ends.append(bool(truncated[0]))
        paid.append(bool(rewards.any()))
    assert ends == [False, False, True, False] * 2
    assert paid == [True, True, True, False] * 2
    first, _ = SharedPolicy(4, max_cycles=3).reset(seed=0)
    np.testing.assert_array_equal(first, SharedPolicy(20, max_cycles=3).reset(seed=0)[0][:4])


def test_a_policy_is_shared_by_the_agents_of_a_game(tmp_path: Path) -> None:
    config = Config(
        env_id="examples.pursuit:Pursuit-v0",
        env_kwargs={"max_cycles": 20},
        num_workers=0,
        num_envs=16,
        num_steps=32,
        num_epochs=1,
        total_steps=400,
    )
    result = train(config, run_dir=tmp_path / "run", quiet=True).result
    # 32 steps of 16 agents, of which the twenty-first begins the next games
    assert result["env_steps"] == 31 * 16
    assert result["episodes"] == 16


@pytest.mark.thorough
def test_the_cells_of_the_notebook_run_one_after_the_other(tmp_path: Path) -> None:
    cells = json.loads((ROOT / "examples" / "own_environment.ipynb").read_text("utf-8"))["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    assert len(code) == 4
    expected = "assert outcome.result['episode_return_mean'] > -150, outcome.result"
    script = tmp_path / "cells.py"
    script.write_text("\n\n".join([*code, expected]), "utf-8")
    done = subprocess.run(
        [sys.executable, script.name],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "MPLBACKEND": "agg"},
        capture_output=True,
        text=True,
        timeout=220,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "total_steps: mean return" in done.stdout
