"""What is on the disk: torn, damaged, or written by two."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distpg import Config, InputError, RunError, load_policy, resume, train
from distpg.checkpoint import list_checkpoints, load_checkpoint, load_newest
from distpg.run_dir import RunDir, write_whole
from tests.faults.injection import Faulty, FaultyWithState
from tests.faults.test_processes import SHAPE

ROOT = Path(__file__).parents[2]


def trained(folder: Path, **changes: Any) -> RunDir:
    config: Config = Config(**{**SHAPE, "num_workers": 0, "checkpoint_every": 1, **changes})
    train(config, make_env=FaultyWithState, run_dir=folder, quiet=True)
    return RunDir(folder)


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
    assert f"passed over: {newest}" in capsys.readouterr().out
    assert outcome.result["env_steps"] >= 400
    assert run.policy.read_bytes() == whole.policy.read_bytes()


def test_where_every_checkpoint_is_damaged_nothing_starts(tmp_path: Path) -> None:
    run = trained(tmp_path / "run")
    for folder in list_checkpoints(run):
        spoil(folder / "slots.safetensors")
    with pytest.raises(InputError, match=r"no checkpoint that is whole; the newest: .*damaged"):
        resume(run.path, make_env=FaultyWithState, total_steps=400, quiet=True)


def test_latest_points_at_the_newest_and_the_best_evaluated_is_kept(tmp_path: Path) -> None:
    run = trained(tmp_path / "run", eval_every=1, eval_episodes=2, keep_checkpoints=1)
    folders = list_checkpoints(run)
    latest, best = (run.checkpoints / name for name in ("latest", "best"))
    assert latest.resolve() == folders[-1]
    assert best.resolve() in folders
    assert len(folders) == 1 + (best.resolve() != folders[-1])


def test_a_second_writer_is_refused_with_the_pid_of_the_first(tmp_path: Path) -> None:
    run = trained(tmp_path / "run")
    script = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from distpg.run_dir import RunDir, write_whole\n"
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
        write_whole(path, content)

    monkeypatch.setattr("distpg.checkpoint.write_whole", nearly_full)
    config: Config = Config(**{**SHAPE, "num_workers": 0, "checkpoint_every": 1})
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

    monkeypatch.setattr("distpg.checkpoint.write_whole", full)
    with pytest.raises(RunError, match=r"a checkpoint could not be written: .*No space left"):
        trained(tmp_path / "run")


def test_slots_survive_the_way_to_the_disk(tmp_path: Path) -> None:
    run = trained(tmp_path / "run")
    checkpoint = load_checkpoint(list_checkpoints(run)[-1])
    assert len(checkpoint.slots) == 2
    for slot in checkpoint.slots:
        assert slot is not None
        assert slot.over.dtype == bool
        assert slot.score.dtype == np.float64
        assert len(slot.envs.copies) == 2


def test_an_env_without_a_state_resumes_inexactly_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config: Config = Config(**{**SHAPE, "num_workers": 0})
    outcome = train(config, make_env=Faulty, run_dir=tmp_path / "run", quiet=True)
    capsys.readouterr()
    resume(outcome.run_dir, make_env=Faulty, total_steps=400)
    assert "resumed inexactly: <Faulty> does not tell its state" in capsys.readouterr().out


def test_kills_during_saves_leave_a_newest_checkpoint_that_loads(tmp_path: Path) -> None:
    script = (
        "import sys\n"
        "from distpg import Config, train\n"
        "from tests.faults.injection import FaultyWithState\n"
        "from tests.faults.test_processes import SHAPE\n"
        "config = Config(**{**SHAPE, 'num_workers': 0, 'checkpoint_every': 1,\n"
        "                   'hidden_sizes': (512, 512), 'total_steps': 10**9})\n"
        "train(config, make_env=FaultyWithState, run_dir=sys.argv[1], quiet=True)\n"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    while_writing = 0
    generator = np.random.default_rng(0)
    for number in range(5):
        run = RunDir(tmp_path / str(number))
        command = [sys.executable, "-c", script, str(run.path)]
        process = subprocess.Popen(command, env=environment)
        deadline = time.monotonic() + 60
        while len(list_checkpoints(run)) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(float(generator.uniform(0, 0.2)))
        while not list(run.checkpoints.glob("*.tmp")) and time.monotonic() < deadline:
            time.sleep(0.0005)
        process.send_signal(signal.SIGKILL)
        process.wait()
        while_writing += bool(list(run.checkpoints.glob("*.tmp")))
        _, problems = load_newest(run)
        assert problems == []
    assert while_writing >= 1


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
