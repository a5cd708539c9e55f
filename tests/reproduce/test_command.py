"""`reproduce` as a command: bad input is one message, and nothing is started."""

from pathlib import Path

import pytest

from distpg.cli import main
from distpg.reproduce.results import to_json
from tests.reproduce.tables import TINY
from tests.reproduce.test_report import results_of
from tests.test_cli import assert_refused


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.toml").write_text(TINY)
    (tmp_path / "other.json").write_text(to_json(results_of({})).replace("tiny", "other"))
    (tmp_path / "before.json").write_text(to_json(results_of({"CartPole": [1.0]})))
    (tmp_path / "wrong.toml").write_text(TINY.replace("steps = 2000", "steps = -1"))
    (tmp_path / "noenv.toml").write_text(TINY.replace('"CartPole-v1"', '"CartPol-v1"'))
    return tmp_path


@pytest.mark.parametrize(
    ("words", "offenders"),
    [
        (["tiny"], ["'tiny' is neither a file nor a table", "ppo-mujoco"]),
        (["wrong.toml"], ["wrong.toml: tasks.CartPole: steps: -1 is not between 1"]),
        (["tiny.toml", "--tasks", "Acrobat"], ["--tasks: 'Acrobat'", "did you mean Acrobot"]),
        (["tiny.toml", "--seeds", "3"], ["--seeds: 3", "between 1 and 2"]),
        (["noenv.toml"], ["tasks.CartPole: ", "CartPol-v1", "did you mean CartPole-v1"]),
        (["tiny.toml", "--parallel", "0"], ["--parallel: 0"]),
        (["tiny.toml", "--against", "other.json"], ["--against: other.json", "table other"]),
        (["tiny.toml", "--against", "none.json"], ["none.json cannot be read"]),
        (["tiny.toml", "--against", "before.json"], ["--against: before.json", "other settings"]),
        (["tiny.toml", "--save", "other.json"], ["other.json has the results of table other"]),
        (["tiny.toml", "--save", "before.json"], ["--save: before.json", "CartPole", "settings"]),
        (["tiny.toml", "--folder", "tiny.toml"], ["--folder: tiny.toml cannot be written"]),
    ],
)
def test_bad_input_is_one_message(
    words: list[str], offenders: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert_refused(["reproduce", *words], offenders, capsys)


def test_a_report_of_nothing_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reproduce", "tiny.toml", "--report"]) == 1
    assert capsys.readouterr().out == "no run of tiny is finished\n"
    assert not Path("runs").exists()
