"""The lock of a folder."""

import fcntl
import os
from pathlib import Path

import pytest

from distpg.errors import InputError
from distpg.run import lock
from distpg.run.lock import is_locked, locked


def test_a_lock_that_is_looked_at_for_a_moment_is_taken_after_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "lock"
    path.touch()
    with path.open("rb") as looking:
        fcntl.flock(looking, fcntl.LOCK_SH)

        def stop_looking(seconds: float) -> None:
            assert seconds > 0
            looking.close()

        monkeypatch.setattr(lock.time, "sleep", stop_looking)
        with locked(tmp_path, "--run-dir: run"):
            assert path.read_text() == str(os.getpid())
            assert is_locked(tmp_path)
    assert not is_locked(tmp_path)


def test_a_lock_that_is_held_is_refused_and_one_that_is_no_file_is_named(tmp_path: Path) -> None:
    with (
        locked(tmp_path, "--run-dir: run"),
        pytest.raises(InputError, match=rf"run is being written by process {os.getpid()}; wait"),
        locked(tmp_path, "--run-dir: run"),
    ):
        pass
    (tmp_path / "lock").mkdir()
    with pytest.raises(InputError, match="lock cannot be read"):
        is_locked(tmp_path)
