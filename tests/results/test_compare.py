"""`compare`: what differs between two real runs, and what each reached."""

import json
import shutil
from pathlib import Path

import pytest

from distpg.cli import main
from distpg.report.interval import mean_interval
from tests.results.short import column, short_run
from tests.test_cli import assert_refused


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    short_run(folder / "a", eval_every=3, eval_episodes=2)
    short_run(folder / "b", learning_rate=1e-3, seed=4)
    return folder


@pytest.fixture(autouse=True)
def here(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(runs)


def compared(a: str, b: str, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Return the lines, with single spaces."""
    assert main(["compare", a, b]) == 0
    return [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]


def test_settings_that_differ_and_results_side_by_side(
    capsys: pytest.CaptureFixture[str],
) -> None:
    lines = compared("a", "b", capsys)
    assert lines[:8] == [
        "a b",
        "settings that differ",
        "seed 0 4",
        "eval_every 3 0",
        "eval_episodes 2 10",
        "learning_rate 0.0003 0.001",
        "versions: the same",
        "results",
    ]
    text = "\n".join(lines)
    assert "state finished: total_steps finished: total_steps" in lines
    for run in ("a", "b"):
        returns = [value for value in column(Path(run), "episodes.csv", "r") if value is not None]
        half = mean_interval(returns[-100:])
        assert half is not None
        mean = sum(returns[-100:]) / len(returns[-100:])
        assert f"{mean:.1f} ({mean - half:.1f} to {mean + half:.1f})" in text
    best = json.loads(Path("a", "result.json").read_text())["best_evaluation"]
    (line,) = [line for line in lines if line.startswith("best evaluation")]
    assert line.startswith(f"best evaluation {best['return_mean']:.1f} (")
    assert line.endswith(f") after {best['env_steps']:,}")


def test_versions_that_differ(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    older = shutil.copytree("b", tmp_path / "older", symlinks=True)
    result = json.loads((older / "result.json").read_text())
    ours = result["versions"]["torch"]
    result["versions"]["torch"] = "2.10.0"
    del result["versions"]["distpg"]
    (older / "result.json").write_text(json.dumps(result))
    lines = compared("b", str(older), capsys)
    assert "settings: the same" in lines
    assert f"torch {ours} 2.10.0" in lines
    assert f"distpg {result['versions'].get('distpg', '0.1.0')} ?" in lines
    (older / "result.json").unlink()
    lines = compared("b", str(older), capsys)
    assert "versions not known: no result" in lines
    assert "state finished: total_steps stopped: killed" in lines


def test_a_run_that_is_none_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    Path("empty").mkdir()
    assert_refused(["compare", "a", "empty"], ["empty is not a run directory"], capsys)
    assert_refused(["compare", "a"], ["second run", "required"], capsys)
