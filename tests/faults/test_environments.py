"""Environments that raise: one episode is lost, and nothing else."""

import dataclasses
import os
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.envs.classic_control.cartpole import CartPoleVectorEnv

from distpg import InputError, RunError, resume, train
from distpg.envs.make import find_env
from distpg.envs.native import NativeVectorEnv
from distpg.errors import EnvError
from distpg.policy.actor_critic import Policy
from distpg.policy.architecture import Architecture
from distpg.rollout.slot_state import Collected
from distpg.rollout.worker import RolloutWorker
from tests.faults.injection import Faulty, FaultyWithState, fault
from tests.faults.test_processes import SHAPE
from tests.settings import config_of


def played(folder: Path, at: int, iterations: int, **changes: Any) -> list[Collected]:
    """Play a slot of two envs; the first to take its step number `at` raises there."""
    settings = {**SHAPE, "num_workers": 0, "num_slots": 1, **changes}
    config = config_of(settings)
    source = find_env(Faulty, fault(folder, "raise", at) if at else {})
    worker = RolloutWorker(config, source, 0)
    specs = worker.envs.obs_spec, worker.envs.action_spec
    weights = Policy(*specs, Architecture.of(config)).weights(0)
    return [worker.collect(weights, iteration) for iteration in range(iterations)]


def test_the_episode_under_way_is_lost_and_the_other_env_plays_on(tmp_path: Path) -> None:
    # episodes of 20 steps and one that resets: env 0 raises in step 28, row 28, of its second one
    clean = played(tmp_path, 0, 1, num_steps=60)[0]
    torn = played(tmp_path, 28, 1, num_steps=60)[0]
    assert (tmp_path / "fired").exists()
    rows = np.arange(60)
    lost = (rows >= 21) & (rows <= 28)
    resets = np.isin(rows, [20, 29, 50])
    np.testing.assert_array_equal(torn.rollout.valid[:, 0], ~(lost | resets))
    np.testing.assert_array_equal(torn.rollout.valid[:, 1], clean.rollout.valid[:, 1])
    # what was before, and the other env as long as it gets the same draws, are as they were
    np.testing.assert_array_equal(torn.rollout.obs["obs"][:29], clean.rollout.obs["obs"][:29])
    assert not torn.rollout.truncated.any()
    assert torn.stats.env_steps == torn.rollout.valid.sum()
    # eight of a torn episode, and one step of each env's resets is none
    assert torn.stats.faulted_steps == 8
    assert torn.stats.env_steps + torn.stats.dropped_steps == 120 - 3 - 2
    (told,) = torn.stats.faults
    assert told.startswith(f"slot 0, env 0, step 28 of iteration 0: {FIRE} (injection.py, line")


def test_an_episode_that_is_torn_in_the_first_rows_is_lost_from_the_first_on(
    tmp_path: Path,
) -> None:
    (torn,) = played(tmp_path, 5, 1, num_steps=20)
    # row 4 raises, and row 5 resets
    assert np.flatnonzero(torn.rollout.valid[:, 0]).tolist() == [*range(6, 20)]
    assert torn.stats.faulted_steps == 5


def test_no_score_is_made_of_a_torn_episode(tmp_path: Path) -> None:
    # the second rollout begins in the middle of an episode, which is torn in its first steps
    torn = played(tmp_path, 34, 3, num_steps=30)
    scores = np.concatenate([one.stats.episode_returns for one in torn])
    lengths = np.concatenate([one.stats.episode_lengths for one in torn])
    # env 0: rows 0 to 19, then torn at 33, then 35 to 54, 56 to 75; env 1: 0, 21, 42, 63 on
    assert lengths.tolist() == [20] * 7
    rewards, valid = (
        np.concatenate([getattr(one.rollout, name) for one in torn])
        for name in ("rewards", "valid")
    )
    assert scores[-1] == pytest.approx(float((rewards * valid)[63:83, 1].sum()), rel=1e-5)


def test_whole_episodes_are_played_again(tmp_path: Path) -> None:
    (torn,) = played(tmp_path, 8, 1, algo="reinforce", num_epochs=1, minibatch_size=None)
    assert (tmp_path / "fired").exists()
    assert torn.stats.episode_lengths.tolist() == [20, 20]
    assert torn.rollout.valid.sum() == 40


def test_a_run_goes_on_counts_and_says_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = config_of({**SHAPE, "num_workers": 0, "env_kwargs": fault(tmp_path, "raise", 41)})
    outcome = train(config, make_env=Faulty, run_dir=tmp_path / "run")
    assert outcome.result["env_faults"] == 1
    assert "ValueError: the reactor is on fire" in outcome.result["last_fault"]
    assert outcome.result["trained_steps"] == outcome.result["env_steps"]
    assert outcome.result["dropped_steps"] > 0
    assert "its episode is dropped: slot" in capsys.readouterr().out


class Breaks(Faulty):
    """Raises in every tenth step of a process's env."""

    def step(self, action: Any) -> Any:
        if self.steps == 9:
            self.fail()
        return super().step(action)

    def fail(self) -> None:
        raise ValueError("the reactor is on fire")


def test_beyond_the_limit_the_run_ends_with_the_exception(tmp_path: Path) -> None:
    config = config_of({**SHAPE, "num_workers": 0, "max_env_faults": 3})
    with pytest.raises(RunError, match=r"--max-env-faults 3; the last: .*reactor is on fire"):
        train(config, make_env=Breaks, run_dir=tmp_path / "run", quiet=True)


def test_in_one_process_a_hang_ends_the_run_at_the_deadline(tmp_path: Path) -> None:
    shape = {**SHAPE, "num_workers": 0, "phase_timeout": 2.0, "checkpoint_every": 1}
    config = config_of({**shape, "env_kwargs": fault(tmp_path, "hang", at=41)})
    with pytest.raises(RunError, match="collecting did not end within --phase-timeout 2 s"):
        train(config, make_env=FaultyWithState, run_dir=tmp_path / "run", quiet=True)
    assert (tmp_path / "fired").exists()
    resumed = resume(tmp_path / "run", make_env=FaultyWithState, quiet=True)
    assert resumed.result["stop_reason"] == "total_steps"


class Barren(Faulty):
    """Never takes a step."""

    def step(self, action: Any) -> Any:
        raise ValueError("the reactor is on fire")


def test_an_env_that_never_takes_a_step_starts_no_run(tmp_path: Path) -> None:
    config = config_of({**SHAPE, "num_workers": 0})
    with pytest.raises(InputError, match=r"step\(\) raised ValueError: the reactor is on"):
        train(config, make_env=Barren, run_dir=tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()


class Burns(gym.Env[Any, Any]):
    """Raises in every step while the count of all steps is in `burning`."""

    steps = 0
    burning = range(0)

    def __init__(self) -> None:
        self.observation_space = gym.spaces.Box(-1, 1, (2,), np.float32)
        self.action_space = gym.spaces.Discrete(2)
        self.count = 0

    def reset(self, **words: Any) -> Any:
        super().reset(**words)
        self.count = 0
        return self.np_random.uniform(-1, 1, 2).astype(np.float32), {}

    def step(self, action: Any) -> Any:
        Burns.steps, self.count = Burns.steps + 1, self.count + 1
        if Burns.steps in Burns.burning:
            raise ValueError("the reactor is on fire")
        obs = self.np_random.uniform(-1, 1, 2).astype(np.float32)
        return obs, float(action), self.count == 5, False, {}


BURNING: dict[str, Any] = {
    **{"num_workers": 0, "num_slots": 2, "num_envs": 2, "num_steps": 8, "minibatch_size": 8},
    **{"hidden_sizes": (8,), "total_steps": 300, "normalize_rewards": True},
}


@pytest.mark.parametrize(
    "changes",
    [
        {"overlap": True},
        {"gradient_stats_every": 1, "recurrent": "gru"},
        {"algo": "trpo", "minibatch_size": None, "num_epochs": 1},
    ],
    ids=str,
)
def test_batches_in_which_every_env_failed_are_dropped_and_the_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    monkeypatch.setattr(Burns, "steps", 0)
    monkeypatch.setattr(Burns, "burning", range(50, 110))
    config = config_of({**BURNING, **changes})
    result = train(config, make_env=Burns, run_dir=tmp_path / "run", quiet=True).result
    assert result["env_faults"] == 60
    assert result["stop_reason"] == "total_steps"
    # four batches of 32 rows, in which envs fail and are reset by turns: at least two were lost
    assert result["iterations"] - 3 <= result["policy_version"] <= result["iterations"] - 2
    assert result["rolled_back_updates"] == 0
    assert result["trained_steps"] == result["env_steps"]


def test_where_every_env_goes_on_failing_the_run_ends_at_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Burns, "steps", 0)
    monkeypatch.setattr(Burns, "burning", range(50, 10**9))
    config = config_of({**BURNING, "max_env_faults": 60})
    with pytest.raises(RunError, match=r"more than --max-env-faults 60; the last: .*on fire"):
        train(config, make_env=Burns, run_dir=tmp_path / "run", quiet=True)


class StaysShut(Faulty):
    """Opens at the third try, counted over all of them."""

    tries = 0

    def reset(self, **words: Any) -> Any:
        StaysShut.tries += 1
        if StaysShut.tries in (2, 3):
            raise ConnectionError("the simulator is not up yet")
        return super().reset(**words)


def test_a_reset_that_raises_is_tried_again(tmp_path: Path) -> None:
    config = config_of({**SHAPE, "num_workers": 0, "num_slots": 1})
    outcome = train(config, make_env=StaysShut, run_dir=tmp_path / "run", quiet=True)
    assert StaysShut.tries > 3
    assert outcome.result["env_steps"] >= 300


class TellsOnceReset(FaultyWithState):
    """Has no state to tell before its first reset."""

    def get_state(self) -> dict[str, Any]:
        assert self.has_reset_once, "not reset yet"
        return super().get_state()

    has_reset_once = False

    def reset(self, **words: Any) -> Any:
        self.has_reset_once = True
        return super().reset(**words)


def test_a_fault_in_the_last_row_leaves_a_state_to_go_on_from(tmp_path: Path) -> None:
    config = config_of({**SHAPE, "num_workers": 0, "num_slots": 1})
    worker = RolloutWorker(config, find_env(TellsOnceReset, fault(tmp_path, "raise", 16)), 0)
    specs = worker.envs.obs_spec, worker.envs.action_spec
    weights = Policy(*specs, Architecture.of(config)).weights(0)
    torn = worker.collect(weights, 0)
    (told,) = torn.stats.faults
    assert told.startswith(f"slot 0, env 0, step 15 of iteration 0: {FIRE} (injection.py, line")
    assert torn.state is not None
    copy = RolloutWorker(config, worker.source, 0, state=torn.state)
    straight, resumed = worker.collect(weights, 1), copy.collect(weights, 1)
    np.testing.assert_array_equal(straight.rollout.obs["obs"], resumed.rollout.obs["obs"])
    np.testing.assert_array_equal(straight.rollout.valid, resumed.rollout.valid)
    assert straight.rollout.valid[:, 0].tolist() == [False] + [True] * 15


FIRE = "ValueError: the reactor is on fire"


def test_a_first_reset_that_raises_is_counted(tmp_path: Path) -> None:
    class OpensLate(Faulty):
        def reset(self, **words: Any) -> Any:
            if self.first():
                self.fail()
            return super().reset(**words)

    config = config_of({**SHAPE, "num_workers": 0, "num_slots": 1})
    worker = RolloutWorker(config, find_env(OpensLate, fault(tmp_path, "raise", -1)), 0)
    specs = worker.envs.obs_spec, worker.envs.action_spec
    weights = Policy(*specs, Architecture.of(config)).weights(0)
    (told,) = worker.collect(weights, 0).stats.faults
    assert told.startswith(f"slot 0, env 0, step 0 of iteration 0: {FIRE} (injection.py, line")
    assert worker.collect(weights, 1).stats.faults == ()


class Moves(Faulty):
    """Goes to a folder of its own."""

    folder: ClassVar[str] = ""

    def step(self, action: Any) -> Any:
        os.chdir(self.folder)
        return super().step(action)


def test_an_environment_that_changes_the_folder_leaves_the_run_where_it_was_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Moves, "folder", str(tmp_path / "elsewhere"))
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    config = config_of({**SHAPE, "num_workers": 0, "checkpoint_every": 1})
    outcome = train(config, make_env=Moves, run_dir="run", quiet=True)
    assert Path.cwd() == tmp_path / "elsewhere"
    assert outcome.run_dir == tmp_path / "here/run"
    assert (outcome.run_dir / "policy.safetensors").is_file()
    assert not list((tmp_path / "elsewhere").iterdir())


class Balancing(CartPoleVectorEnv):
    """CartPole's own vector env, with a fault at its step number 28."""

    broken = False
    bad: ClassVar[str] = "raise"

    def step(self, action: Any) -> Any:
        outcome = super().step(action)
        self.count = getattr(self, "count", 0) + 1
        if self.count == 28 and not Balancing.broken:
            Balancing.broken = True
            if Balancing.bad == "raise":
                raise ValueError("the reactor is on fire")
            outcome[0][1, 2] = np.nan
        return outcome


class Overflowing(CartPoleVectorEnv):
    """Returns, in one of its copies, what its dtype cannot hold."""

    value, dtype = 300, "uint8"

    def __init__(self, num_envs: int) -> None:
        super().__init__(num_envs)
        self.single_observation_space = spaces.Dict(
            {"kind": spaces.Box(0, 9, (2,), np.dtype(self.dtype))}
        )

    def step(self, action: Any) -> Any:
        _, *others = super().step(action)
        return {"kind": np.array([[1, 2], [3, self.value], [5, 6]])}, *others

    def reset(self, **given: Any) -> Any:
        _, info = super().reset(**given)
        return {"kind": np.ones((3, 2))}, info


@pytest.mark.parametrize(
    ("value", "dtype", "said"),
    [(300, "uint8", "300 as int64"), (0.5, "int16", "0.5 as float"), (1e300, "float64", "1e.300")],
)
def test_of_a_vector_env_the_copy_is_named_whose_value_cannot_be_held(
    value: float, dtype: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Overflowing, "value", value)
    monkeypatch.setattr(Overflowing, "dtype", dtype)
    envs = NativeVectorEnv(partial(Overflowing, num_envs=3), "Overflowing")
    envs.reset([1, 2, 3])
    with pytest.raises(EnvError, match=rf"observation 'kind' contains {said}.* cannot") as raised:
        envs.step(np.ones(3, np.int64))
    assert raised.value.env == 1


@pytest.mark.parametrize("bad", ["raise", "NaN"])
def test_of_a_vector_env_of_its_own_the_episodes_of_all_copies_are_lost(
    bad: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Balancing, "broken", False)
    monkeypatch.setattr(Balancing, "bad", bad)
    envs = NativeVectorEnv(partial(Balancing, num_envs=3), "Balancing", drop_bad=bad == "NaN")
    envs.reset([1, 2, 3])
    action = np.ones(3, np.int64)
    before = [envs.step(action) for _ in range(27)]
    assert not any(step.faults for step in before)
    torn = envs.step(action)
    assert torn.needs_reset.all()
    assert not torn.terminated.any()
    said = (
        FIRE
        if bad == "raise"
        else "ValueError: the observation has a value that is not finite: nan"
    )
    assert list(torn.faults) == [0, 1, 2]
    assert all(fault.startswith(said) for fault in torn.faults.values())
    assert not torn.rewards.any()
    # a copy holds the first observations back, too
    state = envs.get_state()
    assert state is not None
    copy = NativeVectorEnv(partial(Balancing, num_envs=3), "Balancing")
    copy.set_state(state)
    first = envs.step(action)
    np.testing.assert_array_equal(copy.step(action).obs["obs"], first.obs["obs"])
    assert not first.needs_reset.any()
    assert not first.faults
    assert (np.abs(first.obs["obs"]) < 0.05).all(), "CartPole's first observations"
    after = envs.step(action)
    assert (after.rewards == 1).all()
    np.testing.assert_array_equal(copy.step(action).obs["obs"], after.obs["obs"])


class Vague(Faulty):
    """Gives a value that is no number at one step of one env."""

    bad = False

    def fail(self) -> None:
        self.bad = True

    def step(self, action: Any) -> Any:
        obs, reward, *rest = super().step(action)
        bad, self.bad = self.bad, False
        if bad and self.kind == "reward":
            reward = float("inf")
        elif bad:
            obs = np.full_like(obs, np.nan)
        return obs, reward, *rest


@pytest.mark.parametrize(("kind", "field"), [("reward", "reward"), ("obs", "observation")])
def test_what_is_no_number_ends_the_run_with_its_place_or_costs_an_episode(
    kind: str, field: str, tmp_path: Path
) -> None:
    settings = {**SHAPE, "num_workers": 0, "normalize_rewards": False}
    config = config_of({**settings, "env_kwargs": fault(tmp_path, kind, 12)})
    with pytest.raises(RunError, match=rf"slot 0, env 0: the {field}.* at step 1[12] .*not finite"):
        train(config, make_env=Vague, run_dir=tmp_path / "raise", quiet=True)
    (tmp_path / "fired").unlink()
    config = dataclasses.replace(config, on_bad_value="drop")
    outcome = train(config, make_env=Vague, run_dir=tmp_path / "drop", quiet=True)
    assert outcome.result["env_faults"] == 1
    assert field in outcome.result["last_fault"]
    assert outcome.result["env_steps"] >= 300


class AlwaysAtFive(Faulty):
    """Never comes to the end of an episode."""

    def step(self, action: Any) -> Any:
        if self.count == 4:
            raise ValueError("the reactor is on fire")
        return super().step(action)


def test_whole_episodes_that_never_end_for_faults_end_the_run(tmp_path: Path) -> None:
    config = config_of(
        {**SHAPE, "num_workers": 0, "algo": "reinforce", "num_epochs": 1, "max_env_faults": 3}
    )
    with pytest.raises(RunError, match=f"envs raised 4 times: {FIRE}"):
        train(config, make_env=AlwaysAtFive, run_dir=tmp_path / "run", quiet=True)


def test_what_a_step_or_a_reset_lost_adds_up(tmp_path: Path) -> None:
    class ShutOnce(Faulty):
        def reset(self, **words: Any) -> Any:
            if self.steps > 15 and self.first():
                self.fail()
            return super().reset(**words)

    config = config_of({**SHAPE, "num_workers": 0, "env_kwargs": fault(tmp_path, "raise", -1)})
    result = train(config, make_env=ShutOnce, run_dir=tmp_path / "run", quiet=True).result
    assert (tmp_path / "fired").exists()
    assert result["env_faults"] == 1
    assert result["dropped"] == {"env_fault": 0, "after_episodes": 0, "anomaly": 0}
