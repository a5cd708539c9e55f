"""Processes that die or hang: another takes the place, and nothing is lost."""

import os
import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from distpg import Outcome, train
from tests.faults.injection import Faulty, FaultyWithState, Strict, fault
from tests.settings import config_of

pytestmark = pytest.mark.usefixtures("callers_ray")
thorough = partial(pytest.param, marks=pytest.mark.thorough)
SHAPE: dict[str, Any] = {
    "num_slots": 2,
    "num_envs": 2,
    "num_steps": 16,
    "minibatch_size": 32,
    "num_epochs": 2,
    "hidden_sizes": (8,),
    "device": "cpu",
    "learner_threads": 1,
    "total_steps": 300,
    "normalize_rewards": True,
}
RECURRENT: dict[str, Any] = {"recurrent": "lstm", "recurrent_size": 8, "sequence_length": 6}


def run(folder: Path, make_env: type[Faulty], *, num_workers: int, **changes: Any) -> Outcome:
    config = config_of({**SHAPE, "num_workers": num_workers, **changes})
    return train(config, make_env=make_env, run_dir=folder, quiet=True)


def policy_content(outcome: Outcome) -> bytes:
    return (outcome.run_dir / "policy.safetensors").read_bytes()


def undisturbed(folder: Path, make_env: type[Faulty], **changes: Any) -> Outcome:
    return run(folder / "undisturbed", make_env, num_workers=0, **changes)


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("kill", {}),
        pytest.param("kill", {"algo": "appo"}, marks=pytest.mark.slow),
        thorough("stop", {"phase_timeout": 6.0}),
        thorough("hang", {"phase_timeout": 6.0}),
        thorough("hold the interpreter", {"phase_timeout": 6.0}),
    ],
    ids=str,
)
def test_a_workers_slots_go_on_where_they_stood_and_the_weights_are_the_same(
    kind: str, changes: dict[str, Any], tmp_path: Path
) -> None:
    expected = undisturbed(tmp_path, FaultyWithState, **changes)
    injected = {**changes, "env_kwargs": fault(tmp_path, kind, at=41)}
    outcome = run(tmp_path / "run", FaultyWithState, num_workers=2, **injected)
    assert (tmp_path / "fired").exists()
    assert outcome.result["worker_restarts"] == 1
    assert policy_content(outcome) == policy_content(expected)
    for key in ("env_steps", "trained_steps", "episodes", "dropped_steps"):
        assert outcome.result[key] == expected.result[key], key


@pytest.mark.thorough
def test_a_worker_that_dies_leaves_memory_and_masks_as_they_were(tmp_path: Path) -> None:
    expected = undisturbed(tmp_path, Strict, **RECURRENT)
    injected = {**RECURRENT, "env_kwargs": fault(tmp_path, "kill", at=41)}
    outcome = run(tmp_path / "run", Strict, num_workers=2, **injected)
    assert (tmp_path / "fired").exists()
    assert outcome.result["worker_restarts"] == 1
    assert outcome.result["env_faults"] == 0
    assert policy_content(outcome) == policy_content(expected)


@pytest.mark.thorough
def test_where_the_env_tells_no_state_its_slots_restart_and_the_batch_keeps_its_size(
    tmp_path: Path,
) -> None:
    outcomes = [
        run(
            tmp_path / str(number),
            Faulty,
            num_workers=1,
            num_slots=1,
            env_kwargs={"kind": "kill", "at": 41, "marker": str(tmp_path / f"fired {number}")},
        )
        for number in range(2)
    ]
    for number, outcome in enumerate(outcomes):
        assert (tmp_path / f"fired {number}").exists()
        assert outcome.result["worker_restarts"] == 1
        assert outcome.result["trained_steps"] == outcome.result["env_steps"]
        # a batch has 32 steps, few of which are resets
        assert 300 / 32 <= outcome.result["iterations"] <= 11
    # the same fault gives the same run, which is another one than without it
    assert policy_content(outcomes[0]) == policy_content(outcomes[1])
    assert policy_content(outcomes[0]) != policy_content(undisturbed(tmp_path, Faulty, num_slots=1))


@pytest.mark.thorough
def test_a_worker_that_dies_again_and_again_ends_the_run_with_its_name(tmp_path: Path) -> None:
    class Doomed(Faulty):
        def step(self, action: Any) -> Any:
            # not where it is tried before the run
            if self.steps == 3:
                os.kill(os.getpid(), signal.SIGKILL)
            return super().step(action)

    # its answer that the environments are made may be lost with it
    doing = "(collecting iteration 0|making its environments)"
    with pytest.raises(Exception, match=rf"rollout worker \d .* died while {doing}"):
        run(tmp_path / "run", Doomed, num_workers=1, num_slots=1)


def title(process: psutil.Process) -> str:
    """What a process calls itself; nothing once it is gone."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def below_named(name: str) -> list[psutil.Process]:
    """Processes below this one with a name in their title."""
    below = psutil.Process().children(recursive=True)
    return [process for process in below if name in title(process)]


@contextmanager
def sending(number: int, *titles: str) -> Generator[list[int]]:
    """Send a signal to learners below this process: as soon as the first title is seen, then to
    another as soon as the second is. Tell to whom."""
    sent: list[int] = []
    done = threading.Event()

    def watch() -> None:
        while len(sent) < len(titles) and not done.is_set():
            # to read all processes takes long: while it is one, only that one is read
            learner = next(
                (one for one in below_named("LearnerActor") if one.pid not in sent), None
            )
            while learner and not done.is_set():
                now = title(learner)
                if titles[len(sent)] in now:
                    learner.send_signal(number)
                    sent.append(learner.pid)
                if not now or learner.pid in sent:
                    break
                done.wait(0.002)
            done.wait(0.05)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield sent
    finally:
        done.set()
        watcher.join()


@pytest.mark.parametrize(
    ("number", "titles", "changes"),
    [
        thorough(signal.SIGKILL, ["LearnerActor.update", "LearnerActor.__init__"], {}),
        pytest.param(
            signal.SIGKILL, ["LearnerActor.update"], {"algo": "appo"}, marks=pytest.mark.slow
        ),
        thorough(signal.SIGSTOP, ["LearnerActor.update"], {"phase_timeout": 10.0}),
        thorough(signal.SIGKILL, ["LearnerActor.update"], {"compile": "on"}),
    ],
    ids=str,
)
def test_a_learner_lost_in_its_update_is_replaced_and_the_weights_are_the_same(
    number: int, titles: list[str], changes: dict[str, Any], tmp_path: Path
) -> None:
    # long enough to be seen
    changes = {**changes, "num_epochs": 400, "learning_rate": 1e-5}
    expected = undisturbed(tmp_path, FaultyWithState, **changes)
    with sending(number, *titles) as sent:
        outcome = run(tmp_path / "run", FaultyWithState, num_workers=1, **changes)
    assert outcome.result["learner_restarts"] == len(sent) == len(titles)
    assert outcome.result["worker_restarts"] == 0
    assert policy_content(outcome) == policy_content(expected)
    assert outcome.result["trained_steps"] == expected.result["trained_steps"]
