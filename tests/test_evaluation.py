"""Episodes of an evaluation have a step limit, and a signal ends them."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest

import distpg
from distpg import Config, Interrupted
from distpg.cli import main
from distpg.envs.make import find_env, make_vector_env
from distpg.iteration import Evaluation
from distpg.policy.acting import by_torch
from distpg.policy.actor_critic import Policy
from distpg.policy.architecture import Architecture
from distpg.rollout.evaluation import play_episodes, run_episodes
from distpg.run.directory import RunDir
from distpg.run.loading import load_newest
from tests.environments import Counting, PaysOne, Stepped
from tests.test_closing import SMALL

ENDLESS = "tests.environments:PaysOne"


def evaluate(make_env: Any, num_episodes: int, max_steps: int | None, **kwargs: Any) -> Evaluation:
    envs = make_vector_env(find_env(make_env, kwargs), 3)
    policy = Policy(envs.obs_spec, envs.action_spec, Architecture.of(Config(hidden_sizes=(4,))))
    return run_episodes(
        play_episodes(
            by_torch(policy.for_acting()),
            policy.units,
            envs,
            num_episodes,
            seed=1,
            stochastic=False,
            max_steps=max_steps,
        )
    )


def test_an_episode_that_reaches_the_limit_is_cut_off_and_the_others_are_whole() -> None:
    evaluation = evaluate(Counting, 20, 3, lengths=[2, 4, 9])
    assert len(evaluation.returns) == 20
    assert set(evaluation.lengths) == {2, 3}
    assert evaluation.lengths.count(3) == len(evaluation.cut_off)
    assert set(evaluation.cut_off) == {0, 1, 2}
    # the third step pays 20 and the action
    assert all(
        (value >= 30) == (length == 3)
        for value, length in zip(evaluation.returns, evaluation.lengths, strict=True)
    )
    assert f"{len(evaluation.cut_off)} of 20 evaluation episodes" in evaluation.warning()
    assert "within 3 steps" in evaluation.warning()
    assert evaluation.scalars()["eval/cut_off"] == len(evaluation.cut_off)


def test_an_episode_that_ends_at_the_limit_is_whole() -> None:
    evaluation = evaluate(Counting, 6, 4, lengths=[4])
    assert evaluation.lengths == [4] * 6
    assert evaluation.cut_off == ()
    assert evaluation.warning() == ""


def test_the_limit_of_the_environment_is_the_default() -> None:
    envs = make_vector_env(find_env("Pendulum-v1", {}), 1)
    assert envs.time_limit == 200
    assert make_vector_env(find_env("CartPole-v1", {}), 1).time_limit == 500
    assert make_vector_env(find_env(ENDLESS, {}), 1).time_limit is None


def test_a_vector_implementation_is_cut_off_too() -> None:
    envs = make_vector_env(find_env("CartPole-v1", {}), 2)
    policy = Policy(
        envs.obs_spec, envs.action_spec, Architecture.of(Config(hidden_sizes=(4,)))
    ).for_acting()
    evaluation = run_episodes(
        play_episodes(by_torch(policy), policy.units, envs, 5, seed=1, stochastic=True, max_steps=4)
    )
    assert evaluation.lengths == [4] * 5
    assert evaluation.cut_off == (0, 1, 0, 1, 0)


def test_a_run_says_and_counts_what_it_cut_off(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = Config(
        **SMALL, num_workers=0, env_id=ENDLESS, eval_every=2, eval_episodes=3, eval_max_steps=7
    )
    outcome = distpg.train(config, run_dir=tmp_path / "run")
    said = capsys.readouterr().out
    assert "iteration 2: 3 of 3 evaluation episodes did not end within 7 steps" in said
    assert "(env 0, 1); --eval-max-steps" in said
    assert outcome.result["eval_cut_off"] == 3
    assert main(["evaluate", str(tmp_path / "run"), "--episodes", "2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["returns"] == [7, 7]
    words = ["evaluate", str(tmp_path / "run"), "--episodes", "2", "--eval-max-steps", "5"]
    assert main(words) == 0
    captured = capsys.readouterr()
    assert captured.out == (
        "2 episodes: return 5.00 +- 0.00, mean within 5.00 to 5.00 (95%), min 5.00, max 5.00, "
        "length 5.0\n"
    )
    assert "2 of 2 evaluation episodes did not end within 5 steps" in captured.err


def test_what_environments_print_is_not_part_of_json(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    env_id = "tests.environments:Talks"
    distpg.train(Config(**SMALL, num_workers=0, env_id=env_id), run_dir=tmp_path / "run")
    capfd.readouterr()
    for words, said in (
        (["evaluate", str(tmp_path / "run"), "--episodes", "2"], {"returns": [5, 5]}),
        (["bench", "--env-id", env_id, "--compile", "off", "--seconds", "0.1"], {}),
        (["doctor", "--env-id", env_id], {}),
    ):
        main([*words, "--json"])
        captured = capfd.readouterr()
        assert said.items() <= json.loads(captured.out).items()
        assert "step\n" in captured.err


class Signals(PaysOne):
    """A user presses Ctrl-C in the tenth step of an evaluation."""

    def __init__(self) -> None:
        super().__init__()
        copy = distpg.current_copy()
        # after the two of the slot
        self.evaluates = copy is not None and copy.number == 2
        self.count = 0

    def step(self, action: Any) -> Stepped:
        self.count += 1
        if self.evaluates and self.count == 10:
            signal.raise_signal(signal.SIGINT)
        return super().step(action)


def test_a_signal_ends_an_evaluation_which_a_resumed_run_plays_again(tmp_path: Path) -> None:
    config = Config(**SMALL, num_workers=0, eval_every=1, eval_max_steps=20)
    with pytest.raises(KeyboardInterrupt) as interrupted:
        distpg.train(config, make_env=Signals, run_dir=tmp_path / "run", quiet=True)
    assert isinstance(interrupted.value, Interrupted)
    outcome = interrupted.value.outcome
    assert outcome.signal == signal.SIGINT
    assert outcome.result["evaluation"] is None
    checkpoint, _ = load_newest(RunDir(tmp_path / "run"))
    assert checkpoint.progress.iteration == outcome.result["iterations"] == 1
    result = distpg.resume(tmp_path / "run", make_env=PaysOne, quiet=True).result
    assert result["best_evaluation"] == {"return_mean": 20, "env_steps": 16}
