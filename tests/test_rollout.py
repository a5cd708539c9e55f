"""How a policy turns into trajectories: what each row of a rollout says must have happened."""

import weakref
from itertools import cycle, pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from distpg.config.config import Config
from distpg.envs.make import EnvSource, find_env
from distpg.records import Rollout, RolloutStats, Weights
from distpg.rollout.worker import RolloutWorker
from tests.environments import SUPPORTED, AnyKind, Counting, Echo, Stepped


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Act as every process that acts does."""
    torch.set_num_threads(1)


SMALL: dict[str, Any] = {"num_workers": 0, "hidden_sizes": (8,), "minibatch_size": None}


def configure(**changes: Any) -> Config:
    return Config(**{**SMALL, **changes})


def initial_weights(worker: RolloutWorker, *, spread: float = 0.3) -> Weights:
    """Weights far enough from zero for the observation to matter."""
    draw = np.random.default_rng(0)
    arrays = worker.agent.policy.weights(0).arrays
    return Weights(
        0,
        {
            name: array
            if "normalizer" in name
            else draw.normal(0, spread, array.shape).astype(array.dtype)
            for name, array in arrays.items()
        },
    )


def play(
    config: Config, source: EnvSource, *, iterations: int = 1, slot: int = 0
) -> tuple[list[Rollout], list[RolloutStats]]:
    worker = RolloutWorker(config, source, slot)
    weights = initial_weights(worker)
    collected = [worker.collect(weights, iteration) for iteration in range(iterations)]
    return [one.rollout for one in collected], [one.stats for one in collected]


def assert_same(first: Rollout, second: Rollout) -> None:
    assert first.obs.keys() == second.obs.keys()
    for name in first.obs:
        np.testing.assert_array_equal(first.obs[name], second.obs[name])
    for name in ("actions", "logprobs", "rewards", "terminated", "truncated", "valid"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))


def finished_lengths(identity: int, lengths: list[int], steps: int) -> tuple[list[int], int]:
    """Lengths of the episodes that `steps` steps finish, and the steps that reset among them."""
    finished: list[int] = []
    resets, left = 0, steps
    for number in cycle(range(len(lengths))):
        length = lengths[(identity + number) % len(lengths)]
        if left < length:
            break
        finished.append(length)
        left -= length
        if not left:
            break
        resets, left = resets + 1, left - 1
    return finished, resets


def check_column(rollout: Rollout, env: int, lengths: list[int], ends: list[str]) -> None:
    """Follow one env down the rows; every number is checked against the others."""
    obs = rollout.obs["obs"][:, env]
    for t in range(len(rollout.rewards)):
        identity, episode, step, _ = obs[t]
        flags = (bool(rollout.terminated[t, env]), bool(rollout.truncated[t, env]))
        if not rollout.valid[t, env]:
            assert obs[t + 1].tolist() == [identity, episode + 1, 0, -1]
            assert rollout.rewards[t, env] == 0
            assert flags == (False, False)
            continue
        action = rollout.actions[t, env]
        assert obs[t + 1].tolist() == [identity, episode, step + 1, action]
        assert rollout.rewards[t, env] == 10 * step + action
        done = step + 1 == lengths[int(identity + episode) % len(lengths)]
        how = ends[int(episode) % len(ends)]
        assert flags == (done and how != "truncated", done and how != "terminated")
        if t + 1 < len(rollout.rewards):
            assert rollout.valid[t + 1, env] == (not done)


@given(
    lengths=st.lists(st.integers(1, 7), min_size=1, max_size=3),
    ends=st.lists(st.sampled_from(["terminated", "truncated", "both"]), min_size=1, max_size=2),
    num_steps=st.integers(2, 9),
    num_envs=st.integers(1, 3),
)
@settings(max_examples=30)
def test_segments_are_aligned_and_lose_no_transition(
    lengths: list[int], ends: list[str], num_steps: int, num_envs: int
) -> None:
    config = configure(num_envs=num_envs, num_steps=num_steps)
    source = find_env(Counting, {"lengths": lengths, "ends": ends})
    rollouts, stats = play(config, source, iterations=3)
    for rollout in rollouts:
        assert rollout.rewards.shape == (num_steps, num_envs)
        for env in range(num_envs):
            check_column(rollout, env, lengths, ends)
    for before, after in pairwise(rollouts):
        np.testing.assert_array_equal(after.obs["obs"][0], before.obs["obs"][-1])
        np.testing.assert_array_equal(after.valid[0], ~(before.terminated | before.truncated)[-1])
    total = sum(int(rollout.valid.sum()) for rollout in rollouts)
    finished: list[int] = []
    for identity in rollouts[0].obs["obs"][0, :, 0]:
        finished += finished_lengths(int(identity), lengths, 3 * num_steps)[0]
    done = rollouts[-1].terminated[-1] | rollouts[-1].truncated[-1]
    under_way = np.where(done, 0, rollouts[-1].obs["obs"][-1, :, 2])
    assert total == sum(finished) + under_way.sum()
    assert sum(one.env_steps for one in stats) == total
    assert sum(one.dropped_steps for one in stats) == 0
    assert sorted(np.concatenate([one.episode_lengths for one in stats])) == sorted(finished)


@given(
    lengths=st.lists(st.integers(1, 7), min_size=1, max_size=4),
    episodes=st.integers(1, 3),
    num_envs=st.integers(1, 3),
    room=st.integers(2, 4),
)
@settings(max_examples=30)
def test_whole_episodes_are_the_first_k_of_each_env_and_the_rest_is_counted_as_dropped(
    lengths: list[int], episodes: int, num_envs: int, room: int
) -> None:
    config = configure(num_envs=num_envs, num_steps=room, episodes_per_env=episodes)
    rollouts, stats = play(config, find_env(Counting, {"lengths": lengths}), iterations=2)
    for rollout, told in zip(rollouts, stats, strict=True):
        steps = len(rollout.rewards)
        wanted: list[int] = []
        simulated = 0
        for env, identity in enumerate(rollout.obs["obs"][0, :, 0].astype(int)):
            own = [lengths[(identity + number) % len(lengths)] for number in range(episodes)]
            wanted += own
            expected = np.zeros(steps, bool)
            row = 0
            for length in own:
                expected[row : row + length] = True
                row += length + 1
            np.testing.assert_array_equal(rollout.valid[:, env], expected)
            done = rollout.terminated[:, env] | rollout.truncated[:, env]
            assert done.sum() == episodes
            assert not done[~expected].any()
            assert not rollout.rewards[~expected, env].any()
            simulated += steps - finished_lengths(identity, lengths, steps)[1]
        assert told.env_steps == rollout.valid.sum() == sum(wanted)
        assert told.dropped_steps == simulated - told.env_steps
        assert sorted(told.episode_lengths) == sorted(wanted)


def test_scores_are_the_sums_of_the_rewards_of_each_episode() -> None:
    config = configure(num_envs=1, num_steps=6)
    rollouts, stats = play(config, find_env(Counting, {"lengths": [4]}), iterations=4)
    rewards = np.concatenate([rollout.rewards[:, 0] for rollout in rollouts])
    scores = np.concatenate([one.episode_returns for one in stats])
    # four steps and one that resets: episodes run across the borders of segments
    assert scores.tolist() == [rewards[i : i + 4].sum() for i in range(0, 24, 5)]


def test_whole_episodes_begin_with_a_reset_in_every_iteration() -> None:
    config = configure(num_envs=2, episodes_per_env=1)
    rollouts, _ = play(config, find_env(Counting, {}), iterations=2)
    starts = [rollout.obs["obs"][0] for rollout in rollouts]
    for start in starts:
        np.testing.assert_array_equal(start[:, 1:], [[0, 0, -1]] * 2)
    assert not set(starts[0][:, 0]) & set(starts[1][:, 0]), "the same seeds were used twice"


def test_actions_are_stored_as_sampled_and_clipped_only_for_the_env() -> None:
    config = configure(num_envs=3, num_steps=40)
    (rollout,), _ = play(config, find_env(Echo, {"low": [-0.2, 0.1], "high": [0.3, 2.0]}))
    low, high = np.array([-0.2, 0.1], np.float32), np.array([0.3, 2.0], np.float32)
    # in units of half the range
    outside = np.abs(rollout.actions) > 1
    assert outside.any()
    assert not outside.all()
    received = rollout.obs["obs"][1:]
    # half of 0.5 around 0.05, half of 1.9 around 1.05
    unclipped = np.array([0.05, 1.05]) + np.array([0.25, 0.95]) * rollout.actions
    np.testing.assert_allclose(received, np.clip(unclipped, low, high), rtol=1e-5)


@pytest.mark.parametrize("family", ["squashed_gaussian", "beta"])
def test_actions_within_bounds_are_stored_as_sampled_and_laid_out_only_for_the_env(
    family: str,
) -> None:
    low, high = np.array([-0.2, 0.1], np.float32), np.array([0.3, 2.0], np.float32)
    config = configure(num_envs=3, num_steps=40, action_distribution=family)
    (rollout,), _ = play(config, find_env(Echo, {"low": low, "high": high}))
    received = rollout.obs["obs"][1:]
    assert (received >= low).all()
    assert (received <= high).all()
    unit = rollout.actions if family == "beta" else (np.tanh(rollout.actions) + 1) / 2
    np.testing.assert_allclose(received, low + (high - low) * unit, atol=1e-6)
    assert np.ptp(received, (0, 1)) == pytest.approx(high - low, rel=0.2)
    (again,), _ = play(config, find_env(Echo, {"low": low, "high": high}))
    assert_same(rollout, again)


@pytest.mark.parametrize("kind", SUPPORTED)
def test_logprobs_are_the_policys_of_the_stored_actions(kind: str) -> None:
    config = configure(num_envs=2, num_steps=7)
    worker = RolloutWorker(config, find_env(AnyKind, {"kind": kind}), 0)
    rollout = worker.collect(initial_weights(worker, spread=0.1), 0).rollout
    obs = {name: torch.from_numpy(leaf[:-1]) for name, leaf in rollout.obs.items()}
    with torch.no_grad():
        logprobs = worker.agent.policy(obs).log_prob(torch.from_numpy(rollout.actions))
    np.testing.assert_allclose(rollout.logprobs, logprobs.numpy(), rtol=1e-5, atol=1e-6)
    assert rollout.logprobs.std() > 0
    assert rollout.logprobs.dtype == rollout.rewards.dtype == np.float32


def test_a_rollout_is_named_by_its_slot_and_the_version_that_played_it() -> None:
    worker = RolloutWorker(configure(num_slots=3, num_steps=2), find_env(Counting, {}), 2)
    weights = Weights(17, initial_weights(worker).arrays)
    collected = worker.collect(weights, 0)
    assert (collected.rollout.policy_version, collected.rollout.slot) == (17, 2)
    assert collected.stats.slot == 2


@pytest.mark.parametrize("recurrent", ["none", "gru"])
def test_no_rollout_holds_on_to_those_before(recurrent: str) -> None:
    config = configure(num_steps=2, recurrent=recurrent)
    worker = RolloutWorker(config, find_env(Counting, {}), 0)
    weights = initial_weights(worker)
    memories = [weakref.ref(worker.collect(weights, k).rollout.state) for k in range(5)]
    # the last one is what the next rollout starts from
    assert [memory() is None for memory in memories[:-1]] == [True] * 4


def test_the_same_key_gives_the_same_rollout() -> None:
    config = configure(num_envs=2, num_steps=30, seed=5)
    source = find_env("CartPole-v1", {})
    first, _ = play(config, source, iterations=2)
    torch.manual_seed(123)
    np.random.seed(123)
    second, _ = play(config, source, iterations=2)
    for one, other in zip(first, second, strict=True):
        assert_same(one, other)


@pytest.mark.parametrize("env_id", ["CartPole-v1", "Pendulum-v1", "tests.environments:Counting-v0"])
def test_all_envs_of_all_slots_seeds_and_incarnations_start_apart(env_id: str) -> None:
    source = find_env(env_id, {})
    starts: list[tuple[float, ...]] = []
    for seed in (0, 1):
        config = configure(num_envs=3, num_slots=3, num_steps=2, seed=seed)
        for slot, incarnation in ((0, 0), (1, 0), (2, 0), (0, 1)):
            worker = RolloutWorker(config, source, slot, incarnation=incarnation)
            rollout = worker.collect(initial_weights(worker), 0).rollout
            starts += [tuple(row) for row in rollout.obs["obs"][0]]
    assert len(set(starts)) == len(starts) == 24


def test_another_slot_iteration_or_seed_draws_other_actions() -> None:
    source = find_env(Counting, {"lengths": [100]})
    drawn: list[tuple[int, ...]] = []
    for seed, slot in ((0, 0), (0, 1), (1, 0)):
        rollouts, _ = play(configure(num_steps=40, seed=seed), source, iterations=2, slot=slot)
        for rollout in rollouts:
            drawn += [tuple(column) for column in rollout.actions.T]
    assert len(set(drawn)) == len(drawn)


@pytest.mark.parametrize(
    "env_id", ["CartPole-v1", "Pendulum-v1", "tests.environments:Remembers-v0"]
)
def test_a_worker_made_from_a_snapshot_goes_on_bit_for_bit(env_id: str) -> None:
    config = configure(num_envs=3, num_steps=23)
    source = find_env(env_id, {})
    worker = RolloutWorker(config, source, 0)
    weights = initial_weights(worker)
    pending = False
    for iteration in range(12):
        snapshot = worker.collect(weights, iteration).state
        assert snapshot is not None
        pending |= bool(snapshot.needs_reset.any())
        original = worker.collect(weights, iteration + 1)
        revived = RolloutWorker(config, source, 0, state=snapshot)
        copy = revived.collect(weights, iteration + 1)
        assert_same(original.rollout, copy.rollout)
        np.testing.assert_array_equal(original.stats.episode_returns, copy.stats.episode_returns)
        np.testing.assert_array_equal(original.stats.episode_lengths, copy.stats.episode_lengths)
        # once more from the copy: what it carries on is as good as the original
        worker = revived
    assert pending == (env_id != "Pendulum-v1"), "no snapshot fell on an episode's end"


@pytest.mark.parametrize("env_id", ["CartPole-v1", "Pendulum-v1"])
def test_taking_snapshots_changes_nothing(env_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    config = configure(num_envs=2, num_steps=40)
    source = find_env(env_id, {})
    watched, alone = RolloutWorker(config, source, 0), RolloutWorker(config, source, 0)
    weights = initial_weights(watched)
    monkeypatch.setattr(alone.envs, "get_state", lambda: None)
    for iteration in range(3):
        first = watched.collect(weights, iteration)
        second = alone.collect(weights, iteration)
        assert first.state is not None
        assert second.state is None
        assert_same(first.rollout, second.rollout)


def test_a_snapshot_of_an_env_that_offers_no_state_is_none() -> None:
    worker = RolloutWorker(configure(num_steps=2), find_env(Counting, {}), 0)
    assert worker.collect(initial_weights(worker), 0).state is None


def test_a_lost_life_ends_an_episode_for_learning_only_and_the_next_row_is_valid() -> None:
    config = configure(env_id="ALE/Breakout-v5", num_envs=2, num_steps=220)
    worker = RolloutWorker(config, find_env("ALE/Breakout-v5", {}), 0)
    collected = worker.collect(worker.agent.policy.weights(0), 0)
    rollout = collected.rollout
    lost = np.argwhere(rollout.terminated[:-1])
    assert len(lost) >= 4
    plays_on = [bool(rollout.valid[t + 1, env]) for t, env in lost]
    # a game has five lives, of which the last one ends it
    assert any(plays_on)
    assert plays_on.count(False) <= len(collected.stats.episode_returns)
    assert collected.stats.env_steps == rollout.valid.sum()
    assert (~rollout.valid).sum() == plays_on.count(False)


class Lives(Counting):
    """Tells of lives, as wrappers of Atari games do, though each end is a reset."""

    def step(self, action: Any) -> Stepped:
        obs, reward, terminated, truncated, info = super().step(action)
        return obs, reward, terminated, truncated, {**info, "lives": 3}


def test_lives_that_another_env_tells_of_do_not_hide_its_resets() -> None:
    config = configure(num_envs=2, num_steps=30)
    worker = RolloutWorker(config, find_env(Lives, {}), 0)
    plain = RolloutWorker(config, find_env(Counting, {}), 0)
    weights = initial_weights(worker)
    found, expected = worker.collect(weights, 0), plain.collect(weights, 0)
    assert not expected.rollout.valid.all()
    np.testing.assert_array_equal(found.rollout.valid, expected.rollout.valid)
    np.testing.assert_array_equal(found.stats.episode_lengths, expected.stats.episode_lengths)
