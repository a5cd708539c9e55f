"""A search without processes: what it does with runs that are lost, and with foreign ones."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import pytest

from distpg import InputError
from distpg.many_runs.process import Ended
from distpg.run.directory import RunDir
from distpg.tuning.search import Search
from distpg.tuning.space import load_space
from distpg.tuning.study import Study
from tests.test_cli import run_main
from tests.tuning.spaces import TINY


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("tiny.toml").write_text(TINY.replace("trials = 3", "trials = 1"))
    return tmp_path


class LosingPool:
    """A pool of one process, which ends in the same way each time."""

    is_full = False

    def __init__(self, study: Study, ended: Ended) -> None:
        self.study = study
        self.ended = ended
        self.active: list[Any] = []
        self.begun: list[str] = []

    def start(self, key: Any, words: Sequence[str], module: str) -> None:
        assert [record.state for record in self.study.records()] == ["RUNNING"]
        self.active.append(key)
        self.begun.append(words[1])
        self.is_full = True

    def wait(self) -> list[Any]:
        self.is_full = False
        return [(self.active.pop(), self.ended)]

    def interrupt(self, chosen: Callable[[Any], bool]) -> None:
        pass

    def saving(self) -> AbstractContextManager[None]:
        return nullcontext()


@pytest.mark.parametrize(
    ("ended", "begun"),
    [
        (Ended(-9, "", ""), ["0", "1", "0"]),
        (Ended(143, "", ""), ["0", "1", "0"]),
        (Ended(2, "", "distpg: --wait-for-resources: within 1 s ..."), ["0", "1", "0"]),
        (Ended(1, "", "distpg: the losses are not finite"), ["0"]),
    ],
)
def test_a_trial_fails_only_if_a_run_is_lost_twice(
    ended: Ended, begun: list[str], folder: Path
) -> None:
    space = load_space(Path("tiny.toml"))
    study = Study(space, folder / "study.db")
    search = Search(space, study, folder, 1, print)
    pool: Any = LosingPool(study, ended)
    search.pool = pool
    search.complete()
    assert pool.begun == begun
    assert [record.state for record in study.records()] == ["FAIL"]


def test_runs_of_other_settings_in_the_folder_of_a_trial_end_the_search(folder: Path) -> None:
    space = load_space(Path("tiny.toml"))
    study = Study(space, folder / "study.db")
    run = RunDir(folder / "trial-0" / "seed-1")
    run.path.mkdir(parents=True)
    run.write_config(space.config({"learning_rate": 0.123}))
    with pytest.raises(InputError, match="seed-1 has env_kwargs = "):
        Search(space, study, folder, 1, print).complete()
    assert [record.state for record in study.records()] == ["RUNNING"]


def test_a_full_disk_is_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Search) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Search, "complete", fail)
    assert run_main(["tune", "tiny.toml"]) == 1
    said = capsys.readouterr().err
    assert "No space left on device; the same command continues it" in said
    assert len(said.splitlines()) == 1
