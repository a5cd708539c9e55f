"""Scalars in Weights & Biases and MLflow, offline, and trials that Optuna prunes."""

import importlib
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from distpg import Config, InputError, OptunaPruner, resume, train
from tests.environments import Counting
from tests.settings import config_of

TAG = "rollout/ep_rew_mean"


def tiny(**changes: Any) -> Config:
    shape = {"num_slots": 1, "num_envs": 2, "num_steps": 8, "minibatch_size": 16}
    return config_of(
        {**shape, "num_workers": 0, "num_epochs": 1, "hidden_sizes": (8,), "total_steps": 64}
        | changes
    )


def records_of(file: Path) -> Iterator[Any]:
    """Read a .wandb file: a header of 7 bytes, then LevelDB's log format."""
    proto: Any = importlib.import_module("wandb.proto.wandb_internal_pb2")
    content, at, whole = file.read_bytes(), 7, b""
    assert content.startswith(b":W&B")
    while at + 7 <= len(content):
        left = 32768 - at % 32768
        if left < 7:
            at += left
            continue
        _, length, kind = struct.unpack_from("<IHB", content, at)
        whole += content[at + 7 : at + 7 + length]
        at += 7 + length
        # a whole record, or the last part of one
        if kind in (1, 4):
            yield proto.Record.FromString(whole)
            whole = b""


def test_an_offline_run_of_wandb_has_the_curve(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    run = tmp_path / "run"
    first = train(tiny(log="wandb"), make_env=Counting, run_dir=run, quiet=True).result
    second = resume(run, make_env=Counting, total_steps=128, quiet=True).result
    assert first["watcher_errors"] == second["watcher_errors"] == 0
    ids: set[str] = set()
    steps: list[float] = []
    files = sorted((run / "wandb").glob("offline-run-*/*.wandb"))
    for file in files:
        ids.add(file.stem)
        for record in records_of(file):
            logged = {
                item.key or "/".join(item.nested_key): item.value_json
                for item in record.history.item
            }
            if TAG in logged:
                steps.append(float(logged["time/total_timesteps"]))
    assert len(files) == 2
    assert len(ids) == 1, "the resumed run continues the first one"
    assert steps == sorted(set(steps))
    assert steps[-1] == second["env_steps"]


@pytest.mark.thorough
def test_mlflow_has_settings_curve_and_outcome_of_a_resumed_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.chdir(tmp_path)
    mlflow.set_tracking_uri((tmp_path / "store").as_uri())
    run = tmp_path / "run"
    train(tiny(log="mlflow"), make_env=Counting, run_dir=run, quiet=True)
    second = resume(run, make_env=Counting, total_steps=128, quiet=True).result
    client = mlflow.MlflowClient()
    experiment = client.get_experiment_by_name("distpg")
    (found,) = client.search_runs([experiment.experiment_id])
    assert found.info.run_name == "run"
    assert found.info.status == "FINISHED"
    assert found.data.params["learning_rate"] == str(tiny().learning_rate)
    assert found.data.tags["stop_reason"] == "total_steps"
    history = client.get_metric_history(found.info.run_id, TAG)
    steps = [metric.step for metric in history]
    assert steps == sorted(set(steps))
    assert steps[-1] == second["env_steps"]
    assert history[-1].value == pytest.approx(second["episode_return_mean"])


def test_optuna_prunes_a_trial_that_falls_behind(tmp_path: Path) -> None:
    optuna = pytest.importorskip("optuna")

    def objective(trial: Any) -> float:
        # the reward is 10 x step + action, and the first trial has longer episodes
        longer = {0: 6, 1: 2}[trial.number]
        outcome = train(
            tiny(),
            make_env=lambda: Counting(lengths=[longer]),
            watchers=[OptunaPruner(trial)],
            run_dir=tmp_path / str(trial.number),
            quiet=True,
        )
        if outcome.result["stop_reason"] == "pruned":
            raise optuna.TrialPruned
        return float(outcome.result["episode_return_mean"])

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    pruner = optuna.pruners.MedianPruner(n_startup_trials=1)
    study = optuna.create_study(direction="maximize", pruner=pruner)
    study.optimize(objective, n_trials=2)
    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "PRUNED"]
    assert study.best_trial.number == 0


def test_a_logger_whose_package_is_missing_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(InputError, match=r"--log wandb needs wandb, .*distpg\[wandb\]"):
        train(tiny(log="wandb"), make_env=Counting, run_dir=tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()
