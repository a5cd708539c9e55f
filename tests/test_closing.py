"""Every copy that a run or a command makes is closed; one that takes too long is named."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest

import distpg
from distpg import Config, InputError
from distpg.bench.measure import measure
from distpg.doctor import environment
from distpg.doctor.check import Check
from distpg.envs.make import EnvSource, find_env, make_vector_env
from distpg.envs.native import NativeVectorEnv
from tests.environments import Counting, PaysOne
from tests.test_cli import ROOT

SMALL: dict[str, Any] = {
    "num_envs": 2,
    "num_steps": 8,
    "minibatch_size": 8,
    "hidden_sizes": (4,),
    "num_epochs": 1,
    "total_steps": 40,
}


class Noted(Counting):
    """Writes down when it is made and closed."""

    def __init__(self, log: str, close_s: float = 0.0, fails_at: int = 0) -> None:
        super().__init__()
        self.log, self.close_s = log, close_s
        if fails_at and len(events(log)) == fails_at:
            raise OSError("no licence is left")
        self._note("made")

    def close(self) -> None:
        time.sleep(self.close_s)
        self._note("closed")

    def _note(self, what: str) -> None:
        with Path(self.log).open("a") as file:
            file.write(f"{what} {id(self)} {os.getpid()}\n")


def events(log: str | Path) -> list[str]:
    path = Path(log)
    return path.read_text().splitlines() if path.exists() else []


def assert_each_was_closed_once(log: Path, at_least: int) -> None:
    # an address may be used again
    made = [line.partition(" ")[2] for line in events(log) if line.startswith("made")]
    closed = [line.partition(" ")[2] for line in events(log) if line.startswith("closed")]
    assert len(made) >= at_least
    assert sorted(closed) == sorted(made)


def test_a_run_closes_the_copies_of_slots_evaluations_and_checks(tmp_path: Path) -> None:
    log = tmp_path / "log"
    config = Config(
        **SMALL,
        num_workers=0,
        num_slots=2,
        eval_every=2,
        eval_episodes=3,
        env_id=f"{__name__}:Noted",
        env_kwargs={"log": str(log)},
    )
    run = distpg.train(config, run_dir=tmp_path / "run", quiet=True).run_dir
    assert_each_was_closed_once(log, 1 + 4 + 2)
    distpg.evaluate(run, episodes=3)
    assert_each_was_closed_once(log, 7 + 1 + 3)
    distpg.imitate(
        config,
        lambda obs: [0] * len(obs),
        dagger_rounds=1,
        run_dir=tmp_path / "student",
        quiet=True,
    )
    measure(config, find_env(config.env_id, config.env_kwargs), 0.01)
    checks = [*environment.checks(config)]
    assert any(isinstance(one, Check) and one.name == "close" for one in checks)
    assert_each_was_closed_once(log, 11 + 10)


@pytest.mark.thorough
@pytest.mark.parametrize("signals", [0, 1])
def test_workers_close_theirs_before_they_end(signals: int, tmp_path: Path) -> None:
    log = tmp_path / "log"
    words = [
        *("train", "--env-id", f"{__name__}:Noted", "--num-workers", "2", "--num-envs", "2"),
        *("--env-kwargs", f'{{"log": "{log}", "close_s": 1}}', "--eval-every", "1"),
        *("--num-steps", "8", "--minibatch-size", "8", "--run-dir", str(tmp_path / "run")),
        *("--compile", "off"),
        *("--total-steps", "1000000000" if signals else "40"),
    ]
    with subprocess.Popen(
        [sys.executable, str(ROOT / "launch.py"), *words], cwd=ROOT, start_new_session=True
    ) as process:
        if signals:
            deadline = time.monotonic() + 60
            while not (tmp_path / "run/checkpoints").exists() and time.monotonic() < deadline:
                time.sleep(0.2)
            # Ctrl-C reaches all processes of a terminal
            os.killpg(process.pid, signal.SIGINT)
        assert process.wait(90) == (130 if signals else 0)
    assert_each_was_closed_once(log, 1 + 4 + 2)


def test_a_copy_that_takes_too_long_is_named_and_the_others_are_closed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made: list[Noted] = []

    def third_is_slow(log: str) -> Noted:
        # the first is that of the check before the run
        made.append(Noted(log, close_s=60 if len(made) == 2 else 0))
        return made[-1]

    log = tmp_path / "log"
    config = Config(**SMALL, num_workers=0, env_kwargs={"log": str(log)}, close_timeout=0.2)
    distpg.train(config, make_env=third_is_slow, run_dir=tmp_path / "run")
    said = capsys.readouterr().out
    assert "not closed in time, and left: slot 0, env 1\n" in said
    assert len(made) == 3
    assert len([line for line in events(log) if line.startswith("closed")]) == 2


def test_what_was_made_before_a_copy_failed_is_closed(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with pytest.raises(InputError, match="no licence is left"):
        make_vector_env(find_env(Noted, {"log": str(log), "fails_at": 2}), 3)
    assert_each_was_closed_once(log, 2)


class Vector(gym.vector.VectorEnv[Any, Any, Any]):
    """Takes a minute to close."""

    metadata = {"autoreset_mode": gym.vector.AutoresetMode.NEXT_STEP}  # noqa: RUF012

    def __init__(self, num_envs: int) -> None:
        self.num_envs = num_envs
        one = PaysOne()
        self.single_observation_space = one.observation_space
        self.single_action_space = one.action_space

    def close_extras(self, **kwargs: Any) -> None:
        time.sleep(60)


def test_a_vector_implementation_has_a_deadline_too() -> None:
    gym.register("Vector-v0", vector_entry_point=f"{__name__}:Vector")
    try:
        source: EnvSource = find_env("Vector-v0", {})
        envs = NativeVectorEnv(lambda: Vector(2), source.name, close_s=0.1)
        assert envs.close() == ["envs 0 to 1"]
    finally:
        del gym.registry["Vector-v0"]


class Exits(PaysOne):
    """Ends the process when it is closed."""

    def close(self) -> None:
        sys.exit(3)


def test_one_that_raises_or_exits_on_closing_counts_as_closed() -> None:
    assert make_vector_env(find_env(Exits, {}), 2).close() == []
