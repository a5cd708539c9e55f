"""`make regress`: new runs against stored ones, on results that are made up."""

import json
from pathlib import Path

import pytest

from benchmarks import regress
from distpg.reproduce.results import Results, to_json
from distpg.reproduce.table import Table, load_table
from tests.reproduce.tables import TINY
from tests.reproduce.test_report import results_of

STORED = {"CartPole": [100.0, 110.0, 90.0, 100.0], "Acrobot": [-90.0, -80.0, -70.0, -80.0]}


def test_an_interval_by_hand() -> None:
    # standard deviation sqrt(200 / 3); the t of 3 degrees and 99% is 5.8409
    half = 5.8409 * (200 / 3) ** 0.5 * (1 / 4 + 1 / 2) ** 0.5
    found = regress.prediction_interval(STORED["CartPole"], 2)
    assert found == pytest.approx((100 - half, 100 + half), abs=1e-3)


def test_a_task_falls_outside_or_not() -> None:
    found = {"CartPole": [58.0, 59.0], "Acrobot": [-100.0, -110.0]}
    low, within = regress.compare(results_of(STORED), results_of(found))
    assert (low.verdict, within.verdict) == ("below", "within")
    assert low.text == (
        "CartPole: mean of the curves 58.5, 2 seeds, below 58.7 to 141.3 of 4 stored ones"
    )
    found = {"CartPole": [142.0, 141.0], "Acrobot": [-120.0, -130.0]}
    outcomes = [*regress.compare(results_of(STORED), results_of(found))]
    assert [outcome.verdict for outcome in outcomes] == ["above", "below"]
    assert "Acrobot: mean of the curves -125.0, 2 seeds, below -121.3" in outcomes[1].text


def test_the_table_is_of_four_tasks_and_has_the_seeds() -> None:
    table = load_table(str(regress.TABLE))
    assert len(table.tasks) == 4
    assert {task.steps for task in table.tasks.values()} == {200_000}
    assert not set(table.seeds) & set(regress.SEEDS)


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tiny table with its stored results."""
    file = tmp_path / "tiny.toml"
    file.write_text(TINY)
    table, stored = load_table(str(file)), json.loads(to_json(results_of(STORED)))
    for name, task in stored["tasks"].items():
        task["settings"] = table.written(name)
    monkeypatch.setattr(regress, "TABLE", file)
    monkeypatch.setattr(regress, "STORED", tmp_path / "tiny.json")
    regress.STORED.write_text(json.dumps(stored))
    return tmp_path


@pytest.mark.parametrize(
    ("reached", "failures", "code", "said"),
    [
        ([100.0, 90.0], {}, 0, "CartPole: mean of the curves 95.0, 2 seeds, within 58.7"),
        ([10.0, 20.0], {}, 1, "CartPole: mean of the curves 15.0, 2 seeds, below 58.7"),
        ([100.0], {"CartPole, seed 9": "no env"}, 1, "CartPole, seed 9 failed: no env\n"),
    ],
)
def test_the_exit_code_is_of_what_falls_outside(
    files: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    reached: list[float],
    failures: dict[str, str],
    code: int,
    said: str,
) -> None:
    def train(table: Table, parallel: int, folder: Path) -> tuple[Results, dict[str, str]]:
        assert table.seeds == regress.SEEDS
        assert folder.is_dir()
        return results_of({"CartPole": reached}), failures

    monkeypatch.setattr(regress, "train", train)
    assert regress.main([]) == code
    assert said in capsys.readouterr().out


def test_other_settings_than_stored_are_refused(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    regress.TABLE.write_text(TINY.replace("num_steps = 32", "num_steps = 64"))
    with pytest.raises(SystemExit, match="2"):
        regress.main([])
    assert "tiny.json: its runs of CartPole have other settings" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        regress.main(["--parallel", "0"])
    assert "--parallel: 0 is not" in capsys.readouterr().err
    regress.STORED.unlink()
    with pytest.raises(SystemExit, match="2"):
        regress.main([])
    assert "tiny.json cannot be read" in capsys.readouterr().err
