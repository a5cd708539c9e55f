"""The examples run, and end where they say."""

from pathlib import Path

import numpy as np
import pytest

from examples import q_learning, watchers


def test_q_learning_reaches_the_exact_optimum(capsys: pytest.CaptureFixture[str]) -> None:
    q_learning.main()
    assert float(capsys.readouterr().out.split()[-1]) < 0.05
    assert q_learning.exact()[list(q_learning.NODES)].argmax(1).tolist() == [0, 1, 1]


def test_q_learning_is_a_function_of_its_seed() -> None:
    once, again = (q_learning.learn(num_episodes=200, seed=1) for _ in range(2))
    np.testing.assert_array_equal(once, again)


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


def test_connect_four_gives_games_to_one_player() -> None:
    pytest.importorskip("pettingzoo.classic.connect_four_v3", reason="needs pettingzoo and pygame")
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
