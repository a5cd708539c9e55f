"""Runs of several as they are on disk: what is kept, what starts again, what is refused."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from distpg import Config, InputError, resume, train
from distpg.many_runs.run_files import (
    RUNG,
    is_finished,
    result_of,
    training_words,
    why_lost,
    write_settings,
)
from distpg.many_runs.seeds import SeedRun, finish_seeds
from distpg.many_runs.side_by_side import SideBySide
from distpg.run.checkpoint import MANIFEST, list_checkpoints
from distpg.run.directory import RunDir
from tests.many_runs.test_seeds import SHAPE
from tests.settings import config_of

CONFIG = config_of(SHAPE | {"total_steps": 300})
GIVEN = ("--run-dir", Path("runs"))


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def trained(config: Config = CONFIG) -> RunDir:
    """Train the run of seed 0."""
    run = RunDir(Path("runs", "seed-0"))
    train(config, run_dir=run.given, quiet=True)
    return run


def seed_0(run: RunDir) -> SeedRun:
    return SeedRun(run, run.given.with_name("settings.toml"), 0, quiet=True)


def words(run: RunDir) -> list[str]:
    return training_words(run, Path("runs", "settings.toml"), 0)


def change_manifests(run: RunDir, change: Callable[[str], str]) -> None:
    for folder in list_checkpoints(run):
        file = folder / MANIFEST
        file.write_text(change(file.read_text()))


def of_another_format(text: str) -> str:
    return json.dumps(json.loads(text) | {"format": 99})


def test_only_a_run_whose_checkpoints_are_all_damaged_starts_again() -> None:
    run = trained()
    assert words(run)[0] == "resume"
    newest = list_checkpoints(run)[-1] / MANIFEST
    intact = newest.read_text()
    newest.write_text("{")
    assert words(run)[0] == "resume"
    newest.write_text(intact)
    change_manifests(run, of_another_format)
    assert why_lost(run) == ""
    assert words(run)[0] == "resume"
    change_manifests(run, lambda text: "{")
    assert str(newest) in why_lost(run)
    assert words(run)[0] == "train"


@pytest.mark.thorough
def test_a_run_that_resume_refuses_fails_and_its_files_stay() -> None:
    run = trained()
    run.write_result({"stop_reason": "interrupted"})
    run.config.write_text(run.config.read_text().replace("CartPole-v1", "CartPoll-v1"))
    before = sorted(run.path.rglob("*"))
    failures = SideBySide([seed_0(run)], 1, print).complete()
    assert "CartPoll-v1" in failures["seed 0"]
    assert sorted(run.path.rglob("*")) == before


@pytest.mark.thorough
def test_a_run_that_starts_again_is_told_of(folder: Path) -> None:
    run = trained()
    change_manifests(run, lambda text: "{")
    run.result.unlink()
    write_settings(CONFIG, folder / "runs" / "settings.toml", [run], GIVEN, "the command")
    said: list[str] = []
    assert SideBySide([seed_0(run)], 1, lambda line: None, warn=said.append).complete() == {}
    assert len(said) == 1
    assert "seed 0: starts from the beginning: " in said[0]


def test_a_run_that_was_killed_before_its_result_was_written_gets_it() -> None:
    run = trained(dataclasses.replace(CONFIG, eval_every=1, eval_episodes=1))
    policy, before = run.policy.read_bytes(), result_of(run)
    run.policy.unlink()
    run.write_result({"stop_reason": RUNG, "env_steps": 64})
    after = resume(run.given, quiet=True).result
    assert run.policy.read_bytes() == policy
    for name in ("stop_reason", "env_steps", "episode_return_mean", "best_evaluation"):
        assert after[name] == before[name]
    with pytest.raises(InputError, match="pass a higher --total-steps"):
        resume(run.given, quiet=True)


def test_a_run_that_stopped_at_a_rung_is_not_finished() -> None:
    run = trained()
    assert is_finished(run)
    run.write_result(result_of(run) | {"stop_reason": RUNG})
    assert not is_finished(run)


def test_a_run_that_was_resumed_and_killed_after_its_end_is_not_finished() -> None:
    run = trained()
    result, policy = run.result.read_bytes(), run.policy.read_bytes()
    end = resume(run.given, quiet=True, total_steps=600).result["env_steps"]
    run.result.write_bytes(result)
    run.policy.write_bytes(policy)
    assert not is_finished(run)
    assert training_words(run, Path("settings.toml"), 0) == ["resume", "runs/seed-0"]
    assert resume(run.given, quiet=True).result["env_steps"] == end
    assert is_finished(run)


def test_runs_with_other_settings_are_refused(folder: Path) -> None:
    run = trained(dataclasses.replace(CONFIG, seed=3, learner_threads=2))
    settings = folder / "runs" / "settings.toml"
    for elsewhere in ({"num_workers": 1}, {"device": "cpu"}, {"max_env_faults": 9}):
        config = config_of(vars(CONFIG) | elsewhere)
        write_settings(config, settings, [run], GIVEN, "the command")
        settings.unlink()
    for name, value in {"total_steps": 400, "learning_rate": 0.5, "env_id": "Other-v0"}.items():
        other = config_of(vars(CONFIG) | {name: value})
        with pytest.raises(InputError, match=f"the run in runs/seed-0 has {name} = "):
            write_settings(other, settings, [run], GIVEN, "the command")
        assert not settings.exists()


def test_a_run_is_no_folder_of_runs() -> None:
    run = trained()
    with pytest.raises(InputError, match="--run-dir: runs/seed-0 is the directory of a run"):
        finish_seeds(CONFIG, [0, 1], folder=run.given, say=print)
    assert not (run.path / "seed-0").exists()
