"""Runs on a real Ray: the same result as in one process, and nothing left behind."""

import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import ray

from distpg import Config, InputError, Outcome, RunError, train
from distpg.actors.placement import Places
from distpg.actors.ray_internals import COUNTS, key_value_store
from distpg.actors.restarts import Restarts
from distpg.actors.wait import fetch
from distpg.actors.workers import RayWorkers
from distpg.cli import main
from distpg.envs.make import MakeEnv, find_env
from distpg.records import Weights
from distpg.report import display
from distpg.report.fault_events import FaultEvents
from distpg.rollout.worker import RolloutWorker
from tests.environments import Counting, Hangs, WaitsForTheLog
from tests.faults.test_environments import Barren
from tests.settings import config_of

ROOT = Path(__file__).parents[2]
TINY: dict[str, Any] = {
    "num_slots": 2,
    "num_envs": 2,
    "num_steps": 16,
    "minibatch_size": 32,
    "num_epochs": 2,
    "hidden_sizes": (8,),
    "device": "cpu",
    "learner_threads": 1,
    "phase_timeout": 60.0,
    # three iterations: each has at most 64 steps, few of which are resets
    "total_steps": 129,
    "seed": 2,
}


def tiny(num_workers: int, **changes: Any) -> Config:
    return config_of({**TINY, "num_workers": num_workers, **changes})


def policy_content(outcome: Outcome) -> bytes:
    return (outcome.run_dir / "policy.safetensors").read_bytes()


@pytest.fixture(scope="module")
def in_process(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    return train(tiny(0), run_dir=tmp_path_factory.mktemp("in-process") / "run", quiet=True)


def test_two_workers_end_in_the_weights_of_one_process(
    callers_ray: None, in_process: Outcome, tmp_path: Path
) -> None:
    config = tiny(2, eval_every=2, eval_episodes=2)
    outcome = train(config, run_dir=tmp_path / "run", quiet=True)
    assert outcome.result["iterations"] == in_process.result["iterations"] == 3
    assert policy_content(outcome) == policy_content(in_process)
    for key in ("env_steps", "episodes", "episode_return_mean", "trained_steps"):
        assert outcome.result[key] == in_process.result[key]
    assert ray.is_initialized(), "the caller's Ray was shut down"
    assert not actors_alive()


@pytest.mark.thorough
def test_the_first_rollouts_of_busy_workers_are_counted(
    callers_ray: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(display, "LATE_S", 3.0)
    run = tmp_path / "run"
    waits = {"log": str(run / "log.txt"), "text": "first rollout"}
    config = tiny(2, num_steps=32, total_steps=100, env_kwargs=waits)
    train(config, make_env=WaitsForTheLog, run_dir=run)
    said = capsys.readouterr().out
    (steps,) = re.findall(r"^first rollout (\d+) of 128 steps: 3 s so far$", said, re.MULTILINE)
    # of two workers with two copies each, in which a reset or two is counted as well
    assert 20 <= int(steps) < 80
    assert not key_value_store().internal_kv_keys(b"", COUNTS), "a count is left"


@pytest.mark.thorough
def test_with_overlap_two_workers_play_each_batch_by_the_weights_of_one_process(
    callers_ray: None, tmp_path: Path
) -> None:
    outcomes = [
        train(tiny(n, algo="appo", eval_every=2), run_dir=tmp_path / str(n), quiet=True)
        for n in (0, 2)
    ]
    assert len({policy_content(outcome) for outcome in outcomes}) == 1
    for key in ("env_steps", "trained_steps", "dropped_steps"):
        assert len({outcome.result[key] for outcome in outcomes}) == 1, key


GSDE: dict[str, Any] = {
    "env_id": "Pendulum-v1",
    "action_distribution": "gsde",
    "sde_sample_freq": 3,
}


@pytest.mark.thorough
@pytest.mark.parametrize("settings", [{"algo": "trpo", "num_epochs": 1}, GSDE], ids=str)
def test_a_step_is_the_same_for_two_workers(
    callers_ray: None, settings: dict[str, Any], tmp_path: Path
) -> None:
    outcomes = [train(tiny(n, **settings), run_dir=tmp_path / str(n), quiet=True) for n in (0, 2)]
    assert len({policy_content(outcome) for outcome in outcomes}) == 1


def actors_alive() -> list[str]:
    """Processes of our actors below this one; one that was ended may take a moment to go."""
    deadline = time.monotonic() + 10
    while True:
        below = psutil.Process().children(recursive=True)
        found = [name for name in map(name_of, below) if "Actor" in name]
        if not found or time.monotonic() > deadline:
            return found
        time.sleep(0.2)


def name_of(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


@pytest.mark.thorough
def test_an_env_that_raises_in_a_worker_ends_the_run_with_its_words(
    callers_ray: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    words = ["train", "--num-workers", "1", "--env-id", "tests.environments:Breaks-v0", "--quiet"]
    words += ["--num-steps", "16", "--minibatch-size", "16", "--hidden-sizes", "8"]
    words += ["--env-kwargs", '{"after": 40}', "--checkpoint-every", "1", "--run-dir", str(run)]
    words += ["--max-env-faults", "0", "--compile", "off"]
    assert main(words) == 1
    message = capsys.readouterr().err
    assert re.search(r"slot 0, env \d, step \d+ of iteration 2", message)
    assert "ValueError: the reactor is on fire" in message
    assert f"resume {run}" in message
    result = json.loads((run / "result.json").read_text())
    assert result["stop_reason"] == "error"
    assert "the reactor is on fire" in result["error"]
    assert result["iterations"] == 3
    assert list((run / "checkpoints").glob("[0-9]*"))


@pytest.mark.thorough
def test_an_env_that_hangs_ends_at_the_deadline_and_the_message_names_the_worker(
    callers_ray: None,
) -> None:
    workers = workers_of(tiny(2), Hangs)
    try:
        workers.wait_until_ready()
        workers.config = dataclasses.replace(workers.config, phase_timeout=1.0)
        began = time.monotonic()
        with pytest.raises(
            RunError, match=r"rollout worker 0 \(slots 0\).* within 1 s.*iteration 5"
        ):
            workers.collect(ray.put(initial_weights(Hangs)), 5).result()
        assert time.monotonic() - began < 10
    finally:
        workers.close()
        workers.places.close()


@pytest.mark.thorough
def test_rollouts_without_a_valid_step_may_be_dropped(callers_ray: None) -> None:
    workers = workers_of(tiny(1), Barren)
    try:
        weights = ray.put(initial_weights(Barren))
        assert not sum(stats.env_steps for stats in workers.collect(weights, 0).drop().stats)
        assert not sum(stats.env_steps for stats in workers.collect(weights, 1).result().stats)
    finally:
        workers.close()
        workers.places.close()


def workers_of(config: Config, make_env: MakeEnv, allowed: int = 0) -> RayWorkers:
    """Workers of a run that may lose processes that often."""
    places = Places(config, print, others=())
    places.reserve()
    return RayWorkers(config, find_env(make_env, {}), places, Restarts(allowed, FaultEvents(print)))


def initial_weights(make_env: MakeEnv) -> Weights:
    return RolloutWorker(tiny(0), find_env(make_env, {}), 0).agent.policy.weights(0)


@pytest.mark.thorough
def test_slots_come_in_slot_order_also_when_a_worker_died_and_was_replaced(
    callers_ray: None,
) -> None:
    config, source = tiny(2, num_slots=3), find_env(Counting, {})
    workers = workers_of(config, Counting, allowed=1)
    try:
        workers.wait_until_ready()
        weights = initial_weights(Counting)
        for restarts in (0, 1):
            collection = workers.collect(ray.put(weights), restarts).result()
            assert [stats.slot for stats in collection.stats] == [0, 1, 2]
            # the other worker has taken over the middle slot
            assert [len(told) for told in collection.by_worker] == [[2, 1], [3, 0]][restarts]
            rollouts: list[Any] = [ray.get(ref) for ref in collection.rollouts]
            assert [rollout.slot for rollout in rollouts] == [0, 1, 2]
            assert workers.team.num_restarts == restarts
            if restarts == 0:
                for slot, rollout in enumerate(rollouts):
                    expected = RolloutWorker(config, source, slot).collect(weights, 0).rollout
                    np.testing.assert_array_equal(rollout.actions, expected.actions)
                    np.testing.assert_array_equal(rollout.obs["obs"], expected.obs["obs"])
            # it hosts the middle slot
            ray.kill(workers.team.processes[1].actor)
    finally:
        workers.close()
        workers.places.close()


def test_a_process_that_dies_is_named(callers_ray: None) -> None:
    @ray.remote
    class Fragile:
        def die(self) -> None:
            os.kill(os.getpid(), signal.SIGKILL)

    actor: Any = Fragile.remote()
    with pytest.raises(RunError, match="the learner died while playing chess"):
        fetch([actor.die.remote()], ["the learner"], doing="playing chess", timeout_s=30)


@pytest.mark.thorough
def test_what_a_remote_part_refuses_of_the_users_input_stays_an_input_error(
    callers_ray: None, tmp_path: Path, in_process: Outcome
) -> None:
    config = tiny(1, hidden_sizes=(9,), init_from=str(in_process.run_dir))
    run = tmp_path / "new" / "run"
    with pytest.raises(InputError, match="saved network differs"):
        train(config, run_dir=run, quiet=True)
    assert not run.parent.exists()
    assert ray.is_initialized()


def test_more_workers_than_the_cluster_has_are_refused_in_seconds(
    callers_ray: None, tmp_path: Path
) -> None:
    began = time.monotonic()
    said = r"--wait-for-resources: within 0 s .* no place for \d of 5 CPUs \(free: \d\)"
    config = tiny(4, num_slots=4, wait_for_resources=0.0)
    with pytest.raises(InputError, match=said):
        train(config, run_dir=tmp_path / "run", quiet=True)
    assert time.monotonic() - began < 10
    assert not (tmp_path / "run").exists()
    assert ray.is_initialized()


def test_a_gpu_that_the_cluster_does_not_have_is_refused(callers_ray: None, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--device: cuda"):
        train(tiny(1, device="cuda"), run_dir=tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()


# ----- real processes, with a Ray of their own


def listening(processes: list[psutil.Process]) -> set[tuple[str, str, int]]:
    """(process, address, port) of each socket that the processes listen on."""
    found: set[tuple[str, str, int]] = set()
    for process in processes:
        try:
            for socket in process.net_connections("inet"):
                if socket.status == psutil.CONN_LISTEN:
                    address = socket.laddr.ip.removeprefix("::ffff:")
                    found.add((process.name(), address, socket.laddr.port))
        except psutil.Error:
            continue
    return found


def environment() -> dict[str, str]:
    mine = {name: x for name, x in os.environ.items() if not name.startswith("RAY_")}
    return mine | {"PYTHONPATH": str(ROOT)}


def wait_until_gone(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Return the processes that are still there after some seconds."""
    _, alive = psutil.wait_procs(processes, timeout=15)
    return [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]


def test_ctrl_c_ends_the_run_after_its_iteration_and_leaves_result_and_no_process(
    tmp_path: Path,
) -> None:
    run = tmp_path / "run"
    words = ["train", "--num-workers", "1", "--total-steps", "100000000", "--hidden-sizes", "8"]
    words += ["--num-steps", "64", "--num-epochs", "1", "--compile", "off", "--run-dir", str(run)]
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "launch.py"), *words],
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    below: list[psutil.Process] = []
    try:
        deadline = time.monotonic() + 60
        while not list((run / "checkpoints").glob("[0-9]*")):
            assert process.poll() is None, process.communicate()[0]
            assert time.monotonic() < deadline, "no checkpoint within 60 s"
            time.sleep(0.2)
        below = psutil.Process(process.pid).children(recursive=True)
        sockets = listening([psutil.Process(process.pid), *below])
        assert {one.nice() for one in below if "Actor" in name_of(one)} == {0}
        assert not [one for one in below if "Agent" in name_of(one)]
        # what a terminal does: every process of the group gets the signal, Ray's too
        os.killpg(process.pid, signal.SIGINT)
        output, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130, output
    assert "Traceback" not in output
    assert {"raylet", "gcs_server"} <= {name for name, _, _ in sockets}
    assert {address for _, address, _ in sockets} <= {"127.0.0.1", "::1"}, sockets
    result = json.loads((run / "result.json").read_text())
    assert result["stop_reason"] == "interrupted"
    assert result["policy_version"] == result["iterations"] > 0
    assert result["trained_steps"] == result["env_steps"]
    assert (run / "policy.safetensors").is_file()
    newest = max((run / "checkpoints").glob("[0-9]*"))
    assert int(newest.name) == result["env_steps"]
    for hint in ("resume", "evaluate", "tensorboard --logdir", str(run)):
        assert hint in output
    assert len(below) >= 4
    assert not wait_until_gone(below)


SCRIPT = """
import sys
from pathlib import Path

import gymnasium as gym
import numpy as np
import psutil


class Own(gym.Env):
    observation_space = gym.spaces.Box(0, 1, (1,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.count = 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.count += 1
        return np.zeros(1, np.float32), 1.0, self.count == 3, False, {}


if __name__ == "__main__":
    gym.register("Own-v0", Own, max_episode_steps=50)
    from distpg import Config, evaluate, train

    config = Config(
        env_id="Own-v0", num_workers=1, num_envs=2, num_steps=16, minibatch_size=16,
        hidden_sizes=(8,), total_steps=20,
    )
    outcome = train(config, run_dir=sys.argv[1], quiet=True)
    assert outcome.result["episode_return_mean"] == 3
    import ray

    assert not ray.is_initialized()
    assert "torch" not in sys.modules, "the driver of a Ray run needs no torch"
    left = [p.name() for p in psutil.Process().children(recursive=True)]
    assert not [name for name in left if "ray" in name or "gcs" in name], left
    print("done")
"""


@pytest.mark.thorough
def test_a_class_registered_in_the_users_script_trains_and_the_driver_imports_no_torch(
    tmp_path: Path,
) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "run")],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "done\n"
    assert not done.stderr, "Ray's chatter reaches the user"
