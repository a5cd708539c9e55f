"""Environments with processes of their own: none outlives the run, or the worker."""

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.actors.test_actors import ROOT, environment, wait_until_gone
from tests.faults.injection import FaultyWithState
from tests.faults.test_processes import run

pytestmark = pytest.mark.thorough


class WithSimulator(FaultyWithState):
    """Has a simulator for a child, which it ends when it is closed."""

    def __init__(self, **words: Any) -> None:
        super().__init__(**words)
        self.simulator = subprocess.Popen(["sleep", "3600"], start_new_session=False)
        Path(words["marker"]).with_name(f"simulator {self.simulator.pid}").touch()

    def close(self) -> None:
        self.simulator.kill()
        self.simulator.wait()


def simulators(folder: Path) -> list[psutil.Process]:
    """Those that are still there, of all that there were."""
    pids = [int(path.name.split()[1]) for path in folder.glob("simulator *")]
    assert len(pids) >= 4
    return [psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_envs_are_closed_at_the_end_of_a_run(
    callers_ray: None, num_workers: int, tmp_path: Path
) -> None:
    words = {"marker": str(tmp_path / "fired")}
    changes: dict[str, Any] = {"eval_every": 2, "eval_episodes": 2, "env_kwargs": words}
    run(tmp_path / "run", WithSimulator, num_workers=num_workers, **changes)
    assert not wait_until_gone(simulators(tmp_path))


class Stubborn(FaultyWithState):
    """Does not come back from being closed."""

    def close(self) -> None:
        if self.steps:
            time.sleep(3600)


def test_an_env_that_cannot_be_closed_holds_the_end_up_for_seconds_only(
    callers_ray: None, tmp_path: Path
) -> None:
    outcome = run(tmp_path / "run", Stubborn, num_workers=1, close_timeout=1.0)
    assert outcome.result["wall_s"] < 30


SCRIPT = """
import sys
from pathlib import Path
from tests.faults.injection import fault
from tests.faults.test_children import WithSimulator
from tests.faults.test_processes import run

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    run(folder / "run", WithSimulator, num_workers=2, env_kwargs=fault(folder, "kill", 41))
"""


def test_what_a_killed_workers_envs_started_ends_with_it(tmp_path: Path) -> None:
    # in a Ray of distpg's own
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path)],
        env=environment(),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "fired").exists()
    assert len([*tmp_path.glob("simulator *")]) > 4
    assert not wait_until_gone(simulators(tmp_path))
