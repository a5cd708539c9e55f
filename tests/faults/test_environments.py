"""Environments that raise: one episode is lost, and nothing else."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distpg import Config, RunError, train
from distpg.envs.make import source_of
from distpg.policy.actor_critic import Policy
from distpg.policy.architecture import Architecture
from distpg.rollout import Collected, RolloutWorker
from tests.faults.injection import Faulty
from tests.faults.test_processes import SHAPE, fault


def played(folder: Path, at: int, iterations: int, **changes: Any) -> list[Collected]:
    """Play a slot of two envs; the first to take its step number `at` raises there."""
    settings = {**SHAPE, "num_workers": 0, "num_slots": 1, **changes}
    config: Config = Config(**settings)
    source = source_of(Faulty, fault(folder, "raise", at) if at else {})
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
    # one step of each env's resets is none
    assert torn.stats.env_steps + torn.stats.dropped_steps == 120 - 3 - 2
    (told,) = torn.stats.faults
    assert told == "slot 0, env 0, step 28 of iteration 0: ValueError: the reactor is on fire"


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
    config: Config = Config(
        **{**SHAPE, "num_workers": 0, "env_kwargs": fault(tmp_path, "raise", 41)}
    )
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
    config: Config = Config(**{**SHAPE, "num_workers": 0, "max_env_faults": 3})
    with pytest.raises(RunError, match=r"--max-env-faults 3; the last: .*reactor is on fire"):
        train(config, make_env=Breaks, run_dir=tmp_path / "run", quiet=True)


class Barren(Faulty):
    """Never takes a step."""

    def step(self, action: Any) -> Any:
        raise ValueError("the reactor is on fire")


def test_where_no_step_is_left_the_run_ends_with_the_exception(tmp_path: Path) -> None:
    config: Config = Config(**{**SHAPE, "num_workers": 0})
    with pytest.raises(RunError, match="no step is left: ValueError: the reactor is on fire"):
        train(config, make_env=Barren, run_dir=tmp_path / "run", quiet=True)


class StaysShut(Faulty):
    """Opens at the third try, counted over all of them."""

    tries = 0

    def reset(self, **words: Any) -> Any:
        StaysShut.tries += 1
        if StaysShut.tries in (2, 3):
            raise ConnectionError("the simulator is not up yet")
        return super().reset(**words)


def test_a_reset_that_raises_is_tried_again(tmp_path: Path) -> None:
    config: Config = Config(**{**SHAPE, "num_workers": 0, "num_slots": 1})
    outcome = train(config, make_env=StaysShut, run_dir=tmp_path / "run", quiet=True)
    assert StaysShut.tries > 3
    assert outcome.result["env_steps"] >= 300
