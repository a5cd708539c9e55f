"""`runs`: the state of each run, also of one under way, and of one that was killed."""

import json
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from distpg import RunError, train
from distpg.cli import main
from distpg.results.episodes import last_row, read_rows
from distpg.results.listing import age
from distpg.results.runs import read_run
from tests.actors.test_actors import environment
from tests.environments import Breaks
from tests.results.short import column, short_run
from tests.settings import config_of
from tests.test_cli import assert_refused

LONG = (
    "--num-workers 0 --num-envs 1 --num-steps 16 --minibatch-size 16 --compile off "
    "--total-steps 100000000"
)
SMALL = {"minibatch_size": 8, "max_env_faults": 0, "compile": "off"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with evaluations, one that failed, and one that was killed."""
    folder = tmp_path_factory.mktemp("runs")
    done = short_run(folder / "CartPole" / "done", eval_every=3, eval_episodes=2)
    config = config_of({"num_workers": 0, "num_envs": 1, "num_steps": 8, **SMALL})
    with pytest.raises(RunError):
        train(config, make_env=lambda: Breaks(after=30), run_dir=folder / "failed", quiet=True)
    killed = shutil.copytree(done, folder / "killed", symlinks=True)
    (killed / "result.json").unlink()
    return folder


def listed(folder: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    """Return the lines of the table, by the name of the run."""
    assert main(["runs", str(folder)]) == 0
    lines = capsys.readouterr().out.splitlines()
    return {line.split()[0].removeprefix(f"{folder}/"): line for line in lines}


def test_each_run_is_a_line_with_its_state(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = listed(folder, capsys)
    assert lines.keys() == {"run", "CartPole/done", "failed", "killed"}
    done = folder / "CartPole" / "done"
    result = json.loads((done / "result.json").read_text())
    words = lines["CartPole/done"].split()
    assert words[1:4] == ["CartPole-v1", "ppo", f"{result['env_steps']:,}"]
    assert words[4] == f"{result['episode_return_mean']:.1f}"
    assert words[5] == f"{result['best_evaluation']['return_mean']:.1f}"
    assert lines["CartPole/done"].endswith(" finished: total_steps")
    assert lines["killed"].endswith(" stopped: killed")
    assert " failed: " in lines["failed"]
    assert lines["failed"].endswith(" ...")
    assert len({line.index("finished") for line in lines.values() if "finished" in line}) == 1


def test_as_json_a_run_has_the_whole_reason(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["runs", str(folder), "--json"]) == 0
    runs = {Path(run["run_dir"]).name: run for run in json.loads(capsys.readouterr().out)}
    assert "the reactor is on fire" in runs["failed"]["reason"]
    means = column(folder / "CartPole" / "done", "evaluations.csv", "return_mean")
    assert runs["done"]["best_evaluation"]["return_mean"] == max(x for x in means if x is not None)
    assert runs["killed"]["env_steps"] == runs["done"]["env_steps"]


def test_a_result_of_before_a_resume_does_not_count(folder: Path, tmp_path: Path) -> None:
    run = shutil.copytree(folder / "CartPole" / "done", tmp_path / "run", symlinks=True)
    assert read_run(run).state == "finished"
    rows = (run / "progress.csv").read_text().splitlines(keepends=True)
    (run / "progress.csv").write_text("".join(rows[:-1]))
    found = read_run(run)
    assert (found.state, found.reason, found.result) == ("stopped", "killed", {})


def test_a_run_of_imitate_is_told_from_one_of_its_recipe(folder: Path, tmp_path: Path) -> None:
    run = shutil.copytree(folder / "CartPole" / "done", tmp_path / "run", symlinks=True)
    assert read_run(run).algo == "ppo"
    table = run / "progress.csv"
    table.write_text(table.read_text().replace("train/loss", "imitation/loss"))
    assert read_run(run).algo == "imitation"


def test_a_run_under_way_is_running_and_then_stopped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    words = [sys.executable, "-m", "distpg", "train", "--run-dir", str(run), "--quiet"]
    words += shlex.split(LONG)
    process = subprocess.Popen(words, env=environment())
    try:
        deadline = time.monotonic() + 100
        while not last_row(run / "progress.csv"):
            assert process.poll() is None
            assert time.monotonic() < deadline, "no iteration ended within 100 s"
            time.sleep(0.05)
        assert listed(tmp_path, capsys)["run"].endswith(" running")
        process.send_signal(signal.SIGINT)
        process.wait(60)
        assert listed(tmp_path, capsys)["run"].endswith(" stopped: signal")
    finally:
        process.kill()


def test_what_cannot_be_read_is_named_and_the_others_are_listed(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(folder / "CartPole" / "done", tmp_path / "good", symlinks=True)
    for name, text in (("other", 'name = "a"\n'), ("torn", "env_id = ")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.toml").write_text(text)
        (tmp_path / name / "log.txt").touch()
    assert main(["runs", str(tmp_path)]) == 0
    said = capsys.readouterr()
    assert len(said.out.splitlines()) == 2
    first, second = said.err.splitlines()
    assert first.endswith("other is not a run directory: its config.toml has no env_id")
    assert "torn/config.toml cannot be read" in second


def test_a_folder_without_runs_and_one_that_does_not_exist(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    assert main(["runs", "empty"]) == 0
    assert capsys.readouterr().out == "no runs in empty\n"
    assert_refused(["runs", "nowhere"], ["nowhere does not exist"], capsys)
    assert_refused(["runs", "file"], ["file is a file; pass"], capsys)
    assert_refused(["runs"], ["runs does not exist"], capsys)


def test_hundreds_of_runs_are_listed_without_torch_and_ray(folder: Path, tmp_path: Path) -> None:
    for number in range(200):
        run = tmp_path / f"run-{number}"
        run.mkdir()
        for name in ("config.toml", "result.json", "progress.csv", "evaluations.csv"):
            shutil.copy(folder / "CartPole" / "done" / name, run / name)
    code = (
        "import sys\n"
        "from distpg.cli import main\n"
        "main(['runs', sys.argv[1]])\n"
        "print(*{'torch', 'ray'} & sys.modules.keys(), file=sys.stderr)"
    )
    words = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(
        words, env=environment(), capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr.strip()) == (0, "")
    assert len(done.stdout.splitlines()) == 201


def test_a_torn_row_is_left_out(tmp_path: Path) -> None:
    file = tmp_path / "progress.csv"
    assert last_row(file) == {}
    file.write_bytes(b"iteration,env_steps\r\n")
    assert last_row(file) == {}
    file.write_bytes(b"iteration,env_steps\r\n1,20\r\n2,4")
    assert last_row(file) == {"iteration": "1", "env_steps": "20"}
    assert read_rows(file) == [last_row(file)]
    # more than is read of the end
    file.write_bytes(b"iteration,env_steps\r\n" + b"1,20\r\n" * 50_000 + b"3,60\r\n")
    assert last_row(file) == {"iteration": "3", "env_steps": "60"}


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59.9, "59 s"), (60, "1 min"), (7_199, "1 h"), (200_000, "2 d")],
)
def test_an_age_is_in_its_largest_unit(seconds: float, text: str) -> None:
    assert age(seconds) == text
