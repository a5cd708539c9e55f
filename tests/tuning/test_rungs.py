"""Runs that stop at rungs are the runs that they would have been."""

from pathlib import Path

import pytest

from distpg import Config, InputError, train
from distpg.commands.advance import advance
from distpg.config.files import to_toml
from distpg.run.checkpoint import list_checkpoints
from distpg.run.directory import RunDir
from distpg.tuning.rungs import RUNG, TrialRun

CONFIG = Config(
    num_workers=0,
    num_slots=1,
    num_envs=2,
    num_steps=32,
    minibatch_size=32,
    hidden_sizes=(8,),
    total_steps=600,
    lr_schedule="linear",
    eval_every=2,
    eval_episodes=1,
)


def test_a_run_that_stops_at_rungs_ends_with_the_weights_of_one_that_does_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings, run = tmp_path / "settings.toml", RunDir(tmp_path / "run")
    settings.write_text(to_toml(CONFIG))
    trial = TrialRun(run, settings, seed=0)
    assert not trial.has_reached(200)
    for env_steps in (200, 400):
        result = advance(str(settings), 0, run, env_steps).result
        assert result["stop_reason"] == RUNG
        assert env_steps <= result["env_steps"] < env_steps + 64
        assert trial.has_reached(env_steps)
        assert not trial.has_reached(env_steps + 200)
        assert trial.value("last_100_training_episodes") == result["episode_return_mean"]
        assert trial.value("last_evaluation") == result["evaluation"]["return_mean"]
    result = advance(str(settings), 0, run, 600).result
    assert result["stop_reason"] == "total_steps"
    assert trial.has_reached(600)
    whole = train(CONFIG, run_dir=tmp_path / "whole", quiet=True).run_dir
    assert run.policy.read_bytes() == RunDir(whole).policy.read_bytes()


def test_a_run_starts_from_the_beginning_only_if_its_checkpoints_are_damaged(
    tmp_path: Path,
) -> None:
    settings, run = tmp_path / "settings.toml", RunDir(tmp_path / "run")
    settings.write_text(to_toml(CONFIG))
    advance(str(settings), 0, run, 200)
    config = run.config.read_text()
    run.config.write_text("of_a_later_version = 1\n")
    with pytest.raises(InputError, match="of_a_later_version"):
        advance(str(settings), 0, run, 400)
    assert list_checkpoints(run)
    run.config.write_text(config)
    for manifest in run.checkpoints.rglob("*.json"):
        manifest.write_text("{")
    result = advance(str(settings), 0, run, 200).result
    assert result["stop_reason"] == RUNG
