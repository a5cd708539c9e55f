"""What is on the disk: torn, damaged, or written by two."""

import dataclasses
import json
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distpg import Config, InputError, RunError, evaluate, load_policy, resume, train
from distpg.cli import main
from distpg.iteration import Evaluation
from distpg.rollout.attributes import EnvAttributes
from distpg.run import checkpointer
from distpg.run.checkpoint import (
    Checkpoint,
    list_checkpoints,
    load_checkpoint,
)
from distpg.run.directory import RunDir, write_atomically
from distpg.run.loading import load_newest
from distpg.run.saving import save_best, save_checkpoint
from tests.faults.injection import Faulty, FaultyWithState
from tests.faults.test_processes import SHAPE
from tests.iterations import iteration_of
from tests.settings import config_of

ROOT = Path(__file__).parents[2]


def trained(folder: Path, **changes: Any) -> RunDir:
    config = config_of({**SHAPE, "num_workers": 0, "checkpoint_every": 1, **changes})
    train(config, make_env=FaultyWithState, run_dir=folder, quiet=True)
    return RunDir(folder)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("finished") / "run").path


def spoil(file: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


def test_a_damaged_checkpoint_is_named_and_the_one_before_it_gone_on_from(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = trained(tmp_path / "whole", total_steps=400)
    run = trained(tmp_path / "run")
    newest = list_checkpoints(run)[-1]
    spoil(newest / "learner.safetensors")
    checkpoint, problems = load_newest(run)
    assert checkpoint.progress.env_steps == int(list_checkpoints(run)[-2].name)
    assert [str(newest) in problem for problem in problems] == [True]
    capsys.readouterr()
    outcome = resume(run.path, make_env=FaultyWithState, total_steps=400)
    assert f"skipped: {newest}" in capsys.readouterr().out
    assert outcome.result["env_steps"] >= 400
    assert run.policy.read_bytes() == whole.policy.read_bytes()


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-7])


def empty(file: Path) -> None:
    file.write_bytes(b"")


def of_another_format(file: Path) -> None:
    manifest = file.with_name("manifest.json")
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "format": 99}))


def unlisted(file: Path) -> None:
    file.with_name("manifest.json").unlink()


DAMAGES = [spoil, cut, empty, Path.unlink, unlisted, of_another_format]


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", ["policy", "learner", "slots"])
def test_whatever_is_wrong_with_the_newest_the_one_before_it_is_loaded(
    damage: Callable[[Path], None], name: str, finished: Path, tmp_path: Path
) -> None:
    run = RunDir(Path(shutil.copytree(finished, tmp_path / "run", symlinks=True)))
    *_, before, newest = list_checkpoints(run)
    damage(newest / f"{name}.safetensors")
    checkpoint, (problem,) = load_newest(run)
    assert checkpoint.progress.env_steps == int(before.name)
    assert problem.startswith("skipped: ")
    assert str(newest) in problem


def test_whoever_starts_from_a_run_takes_the_one_before_a_damaged_checkpoint_loudly(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = RunDir(Path(shutil.copytree(finished, tmp_path / "run", symlinks=True)))
    run.policy.unlink()
    *_, before, newest = list_checkpoints(run)
    spoil(newest / "policy.safetensors")
    said = f"skipped: {newest / 'policy.safetensors'} is damaged"
    with pytest.warns(UserWarning, match=re.escape(said)):
        policy = load_policy(run.path)
    weights = load_checkpoint(before).learner.policy
    for name, array in policy.policy.weights(weights.version).arrays.items():
        np.testing.assert_array_equal(array, weights.arrays[name])
    capsys.readouterr()
    evaluate(run.path, episodes=1, make_env=FaultyWithState)
    assert said in capsys.readouterr().err
    shape: dict[str, Any] = {**SHAPE, "num_workers": 0, "init_from": str(run.path)}
    train(Config(**shape), make_env=FaultyWithState, run_dir=tmp_path / "second")
    assert said in capsys.readouterr().out


@pytest.mark.parametrize("damage", DAMAGES)
def test_where_every_checkpoint_is_damaged_nothing_starts(
    damage: Callable[[Path], None],
    finished: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = RunDir(Path(shutil.copytree(finished, tmp_path / "run", symlinks=True)))
    for folder in list_checkpoints(run):
        damage(folder / "slots.safetensors")
    before = sorted(run.path.rglob("*"))
    assert main(["resume", str(run.path), "--total-steps", "400"]) == 2
    said = capsys.readouterr()
    assert not said.out
    assert "has no intact checkpoint; the newest: " in said.err
    assert sorted(run.path.rglob("*")) == before


def test_latest_points_at_the_newest_and_the_best_evaluated_is_kept(tmp_path: Path) -> None:
    run = trained(tmp_path / "run", eval_every=1, eval_episodes=2, keep_checkpoints=1)
    folders = list_checkpoints(run)
    latest, best = (run.checkpoints / name for name in ("latest", "best"))
    assert latest.resolve() == folders[-1]
    assert best.resolve() in folders
    assert len(folders) == 1 + (best.resolve() != folders[-1])


def test_a_slow_disk_makes_saves_rarer_and_the_loop_no_slower(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[int] = []

    def slowly(run: RunDir, checkpoint: Checkpoint, config: Config) -> None:
        time.sleep(1)
        written.append(checkpoint.progress.iteration)
        save_checkpoint(run, checkpoint, config)

    monkeypatch.setattr(checkpointer, "save_checkpoint", slowly)
    began = time.monotonic()
    run = trained(tmp_path / "run", total_steps=1500)
    iterations = json.loads(run.result.read_text())["iterations"]
    assert iterations >= 20
    assert written[-1] == iterations
    assert len(written) < 10
    assert time.monotonic() - began < 15
    assert load_newest(run)[0].progress.iteration == iterations


def test_on_a_slow_disk_a_best_policy_waits_its_turn_and_gives_way_to_a_better_one(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunDir(tmp_path / "run")
    run.claim(overwrite=False)
    saved = load_newest(RunDir(finished))[0]
    begun, free = threading.Event(), threading.Event()
    written: list[int] = []

    def slowly(run: RunDir, checkpoint: Checkpoint, config: Config) -> None:
        begun.set()
        assert free.wait(30)
        written.append(checkpoint.progress.iteration)
        save_best(run, checkpoint, config)

    monkeypatch.setattr(checkpointer, "save_best", slowly)
    config = RunDir(finished).read_config()
    writer = checkpointer.Checkpointer(
        run, config, lambda: saved.learner, lambda: saved.slots, EnvAttributes(), print
    )
    for iteration, score in enumerate([1.0, 2.0, 4.0, 3.0, 5.0], 1):
        progress = dataclasses.replace(saved.progress, iteration=iteration, env_steps=iteration)
        writer.begin_evaluation(progress)
        evaluation = Evaluation([score], [1], iteration=iteration, env_steps=iteration)
        writer.on_iteration(iteration_of(progress, evaluation=evaluation))
        assert begun.wait(30)
    assert not written
    free.set()
    best = writer.best()
    assert best is not None
    assert (best.best_return, best.progress.iteration) == (5.0, 5)
    assert written == [1, 5]
    writer.close()


def test_a_second_writer_is_refused_with_the_pid_of_the_first(tmp_path: Path) -> None:
    run = trained(tmp_path / "run")
    script = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from distpg.run.directory import RunDir, write_atomically\n"
        "with RunDir(Path(sys.argv[1])).locked():\n"
        "    print('locked', flush=True)\n"
        "    time.sleep(60)\n"
    )
    command = [sys.executable, "-c", script, str(run.path)]
    owner = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert owner.stdout is not None
    assert owner.stdout.readline() == "locked\n"
    try:
        with pytest.raises(InputError, match=f"written by process {owner.pid};"):
            resume(run.path, make_env=FaultyWithState, total_steps=400, quiet=True)
    finally:
        owner.kill()
        owner.wait()
    # the lock of one that was killed is none
    assert (run.path / "lock").exists()
    resume(run.path, make_env=FaultyWithState, total_steps=400, quiet=True)
    assert not (run.path / "lock").exists()


def test_a_full_disk_is_said_and_counted_and_training_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    written = 0

    def nearly_full(path: Path, content: bytes) -> None:
        nonlocal written
        written += path.parent.name.endswith(".tmp")
        # the files of the second and third checkpoint
        if 4 < written <= 6:
            raise OSError(28, "No space left on device")
        write_atomically(path, content)

    monkeypatch.setattr("distpg.run.saving.write_atomically", nearly_full)
    config = config_of({**SHAPE, "num_workers": 0, "checkpoint_every": 1})
    outcome = train(config, make_env=FaultyWithState, run_dir=tmp_path / "run")
    assert outcome.result["checkpoint_failures"] == 2
    assert capsys.readouterr().out.count("No space left on device") == 2
    newest, problems = load_newest(RunDir(tmp_path / "run"))
    assert (newest.progress.env_steps, problems) == (outcome.result["env_steps"], [])


def test_a_last_checkpoint_that_cannot_be_written_ends_the_run_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object, **more: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("distpg.run.saving.write_atomically", full)
    with pytest.raises(RunError, match=r"a checkpoint could not be written: .*No space left"):
        trained(tmp_path / "run")


def test_slots_survive_the_way_to_the_disk(tmp_path: Path) -> None:
    run = trained(tmp_path / "run")
    checkpoint = load_checkpoint(list_checkpoints(run)[-1])
    assert len(checkpoint.slots) == 2
    for slot in checkpoint.slots:
        assert slot is not None
        assert slot.needs_reset.dtype == bool
        assert slot.returns.dtype == np.float64
        assert len(slot.envs.copies) == 2


def test_an_env_without_a_state_resumes_inexactly_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = config_of({**SHAPE, "num_workers": 0})
    outcome = train(config, make_env=Faulty, run_dir=tmp_path / "run", quiet=True)
    capsys.readouterr()
    resume(outcome.run_dir, make_env=Faulty, total_steps=400)
    assert (
        "inexact resume: tests.faults.injection:Faulty did not expose its state"
        in capsys.readouterr().out
    )


def test_the_policy_that_plays_is_of_the_newest_checkpoint_where_a_resumed_run_was_cut_off(
    tmp_path: Path,
) -> None:
    run = trained(tmp_path / "run")
    ended = load_policy(run.path).policy.state_dict()
    content = run.policy.read_bytes()
    resume(run.path, make_env=FaultyWithState, total_steps=600, quiet=True)
    newest = load_policy(run.path).policy.state_dict()
    # as a run that was killed leaves it
    run.policy.write_bytes(content)
    found = load_policy(run.path).policy.state_dict()
    assert all((found[name] == newest[name]).all() for name in found)
    assert any((found[name] != ended[name]).any() for name in found)
