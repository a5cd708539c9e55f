"""EnvPool's vector envs keep the conventions of gymnasium's, and refuse what they do not have."""

import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distpg import Config, InputError, evaluate, resume, train
from distpg.envs.make import find_env, find_source, make_vector_env
from distpg.envs.vector_env import VectorEnv
from tests.environments import Counting

pytest.importorskip("envpool", reason="an extra of its own, since it is large: distpg[envpool]")


def make(env_id: str, num_envs: int = 2, **kwargs: Any) -> VectorEnv:
    return make_vector_env(find_env(env_id, kwargs, "envpool"), num_envs)


def constant(envs: VectorEnv, value: int = 0) -> np.ndarray:
    action = envs.action_spec
    return np.full((envs.num_envs, *action.stored_shape), value, action.stored_dtype)


def trajectory(env_id: str, seeds: list[int], num_steps: int = 60) -> np.ndarray:
    envs = make(env_id, len(seeds))
    obs = [envs.reset(seeds)["obs"].copy()]
    obs += [envs.step(constant(envs)).obs["obs"].copy() for _ in range(num_steps)]
    return np.array(obs)


@pytest.mark.parametrize(
    "env_id", ["CartPole-v1", "HalfCheetah-v5", "Pendulum-v1", "FrozenLake-v1"]
)
def test_spaces_are_those_of_gymnasiums(env_id: str) -> None:
    own, other = make(env_id), make_vector_env(find_env(env_id, {}), 2)
    assert (own.obs_spec, own.action_spec) == (other.obs_spec, other.action_spec)


def test_atari_is_the_image_that_ales_vector_env_gives() -> None:
    own, other = make("ALE/Pong-v5"), make_vector_env(find_env("ALE/Pong-v5", {}), 2)
    assert own.obs_spec == other.obs_spec
    assert own.action_spec.sizes == other.action_spec.sizes
    obs = own.reset([0, 1])["obs"]
    assert (obs.shape, obs.dtype) == ((2, 4, 84, 84), np.uint8)
    assert obs.max() > 100


@pytest.mark.parametrize(
    "env_id",
    ["CartPole-v1", "HalfCheetah-v5", pytest.param("ALE/Pong-v5", marks=pytest.mark.thorough)],
)
def test_seeds_decide_the_trajectories_each_its_own_envs(env_id: str) -> None:
    first = trajectory(env_id, [3, 4])
    np.testing.assert_array_equal(trajectory(env_id, [3, 4]), first)
    np.testing.assert_array_equal(trajectory(env_id, [4, 3])[:, ::-1], first)
    assert (trajectory(env_id, [5, 6]) != first).any()
    assert (first[:, 0] != first[:, 1]).any()


def test_a_reset_starts_from_its_seeds_whatever_was_played_before() -> None:
    envs = make("CartPole-v1")
    first = envs.reset([2**40 + 3, 4])["obs"].copy()
    for _ in range(30):
        envs.step(constant(envs))
    assert (envs.reset([5, 6])["obs"] != first).all()
    np.testing.assert_array_equal(envs.reset([2**40 + 3, 4])["obs"], first)


def test_the_step_after_a_fall_resets_that_copy_and_ignores_its_action() -> None:
    envs = make("CartPole-v1", 2)
    envs.reset([3, 4])
    fallen = 0
    before = np.zeros(2, dtype=bool)
    for t in range(60):
        # the first always to the right, and soon down; the second left and right in turn
        step = envs.step(np.array([1, t % 2]))
        angle = np.abs(step.obs["obs"][:, 2])
        np.testing.assert_array_equal(step.terminated, angle > 12 * np.pi / 180)
        np.testing.assert_array_equal(step.rewards, np.where(before, 0, 1))
        np.testing.assert_array_equal(step.needs_reset, step.terminated)
        assert (np.abs(step.obs["obs"][before]) <= 0.05).all(), "not a first observation"
        fallen += int(step.needs_reset[0])
        before = step.needs_reset
    assert fallen > 3


@pytest.mark.parametrize("env_id", ["CartPole-v1", "HalfCheetah-v5", "Pendulum-v1", "ALE/Pong-v5"])
def test_a_time_limit_truncates_in_its_last_step_as_in_gymnasium(env_id: str) -> None:
    envs = make(env_id, 2, max_episode_steps=5)
    envs.reset([0, 1])
    steps = [envs.step(constant(envs)) for _ in range(11)]
    assert not any(step.terminated.any() for step in steps)
    assert [step.truncated.tolist() for step in steps] == [[t in (4, 10)] * 2 for t in range(11)], (
        "five steps, one that resets, five steps"
    )
    np.testing.assert_array_equal(steps[5].rewards, 0)


def test_the_default_limit_is_gymnasiums() -> None:
    envs = make("HalfCheetah-v5", 1)
    envs.reset([0])
    ends = [bool(envs.step(constant(envs)).truncated[0]) for _ in range(1000)]
    assert ends.index(True) == 999


def test_the_last_observation_is_where_the_episode_would_have_gone_on_from() -> None:
    short, long = (make("Pendulum-v1", 1, max_episode_steps=limit) for limit in (4, 100))
    for envs in (short, long):
        envs.reset([7])
    for t in range(4):
        cut, going_on = (envs.step(constant(envs)) for envs in (short, long))
        np.testing.assert_array_equal(cut.obs["obs"], going_on.obs["obs"])
        assert (cut.needs_reset.tolist(), going_on.needs_reset.tolist()) == ([t == 3], [False])


def test_a_lost_life_terminates_and_the_game_goes_on_until_the_last() -> None:
    envs = make("ALE/Breakout-v5", 1)
    envs.reset([0])
    lost = 0
    for t in range(2000):
        # fire, and stay: the ball is lost again and again
        step = envs.step(np.full(1, t % 2))
        lost += int(step.terminated[0])
        assert not step.truncated[0]
        assert bool(step.needs_reset[0]) == (lost == 5), f"after {lost} lives at step {t}"
        if step.needs_reset[0]:
            break
    assert lost == 5
    fresh = envs.step(np.ones(1, np.int64))
    assert not fresh.terminated[0]
    assert not fresh.needs_reset[0]


def test_atari_pays_the_true_reward() -> None:
    envs = make("ALE/SpaceInvaders-v5", 1)
    envs.reset([0])
    paid = {float(envs.step(constant(envs, 1)).rewards[0]) for _ in range(150)}
    assert min(paid - {0.0}) >= 5, "an invader pays 5 at least"


def test_atari_repeats_an_action_now_and_then_as_gymnasiums_id_does() -> None:
    sticky = make("ALE/Pong-v5", 1)
    exact = make("ALE/Pong-v5", 1, repeat_action_probability=0.0)
    for envs in (sticky, exact):
        envs.reset([0])
    differ = False
    for t in range(40):
        one, two = (envs.step(constant(envs, t % 6)) for envs in (sticky, exact))
        differ |= bool((one.obs["obs"] != two.obs["obs"]).any())
    assert differ


def test_real_actions_reach_the_env_clipped_to_its_bounds() -> None:
    one, other = make("HalfCheetah-v5", 1), make("HalfCheetah-v5", 1)
    for envs in (one, other):
        envs.reset([0])
    within, beyond = (envs.step(constant(envs, push)) for envs, push in ((one, 1), (other, 9)))
    np.testing.assert_array_equal(within.obs["obs"], beyond.obs["obs"])


def test_its_state_cannot_be_read() -> None:
    envs = make("CartPole-v1")
    envs.reset([0, 1])
    assert envs.get_state() is None
    envs.close()


@pytest.mark.parametrize(
    "settings",
    [
        {"algo": "ppo", "num_steps": 32, "minibatch_size": 32},
        {"algo": "reinforce"},
    ],
    ids=lambda settings: settings["algo"],
)
def test_training_repeats_itself_and_its_policy_plays_on_both_backends(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    config = Config(
        **settings, env_backend="envpool", num_workers=0, num_slots=2, num_envs=2, total_steps=300
    )
    runs = [tmp_path / "one", tmp_path / "two"]
    for run in runs:
        outcome = train(config, run_dir=run, quiet=True)
        assert outcome.result["env_steps"] >= 300
        assert outcome.result["episodes"] > 0
    policies = [(run / "policy.safetensors").read_bytes() for run in runs]
    assert policies[0] == policies[1]
    assert 'env_backend = "envpool"' in (runs[0] / "config.toml").read_text()
    played = evaluate(runs[0], episodes=3)
    assert evaluate(runs[0], episodes=3) == played
    resumed = resume(runs[0], total_steps=900, quiet=True)
    assert resumed.result["env_steps"] >= 900
    started_from = dataclasses.replace(config, env_backend="gymnasium", init_from=str(runs[1]))
    train(started_from, run_dir=tmp_path / "three", quiet=True)


@pytest.mark.parametrize(
    ("env_id", "nearest"),
    [
        ("CartPol-v1", "CartPole-v1"),
        ("Pong-v5", "ALE/Pong-v5"),
        ("tests.environments:Counting-v0", ""),
    ],
)
def test_an_id_that_envpool_does_not_have_is_refused(env_id: str, nearest: str) -> None:
    with pytest.raises(InputError) as raised:
        find_env(env_id, {}, "envpool")
    message = str(raised.value)
    assert message.startswith(f"--env-id: '{env_id}' is not in EnvPool")
    assert "--env-backend gymnasium" in message
    assert nearest in message.partition("did you mean")[2]


@pytest.mark.parametrize(
    ("env_id", "kwargs", "words"),
    [
        ("CartPole-v1", {"gravitas": 1}, ["gravitas", "max_episode_steps"]),
        ("CartPole-v1", {"num_threads": 2}, ["num_threads", "max_episode_steps"]),
        ("CartPole-v1", {"max_episode_steps": "ten"}, ["'ten'", "a whole number"]),
        ("HalfCheetah-v5", {"xml_file": "none.xml"}, ["none.xml", "HalfCheetah-v5"]),
        ("ALE/Pong-v5", {"mode": 99}, ["99", "Invalid game mode"]),
        ("ALE/Pong-v5", {"episodic_life": True}, ["episodic_life", "frame_skip"]),
    ],
    ids=str,
)
def test_keyword_arguments_that_it_does_not_take_are_refused(
    env_id: str, kwargs: dict[str, Any], words: list[str]
) -> None:
    with pytest.raises(InputError) as raised:
        make(env_id, **kwargs)
    message = str(raised.value)
    assert message.startswith("--env-kwargs: ")
    assert message.count("--env-kwargs") == 1
    assert all(word in message for word in words), message
    assert "\n" not in message


def test_a_game_for_two_is_refused() -> None:
    with pytest.raises(InputError, match=r"--env-id: Go9x9-v1 has 2 players"):
        make("Go9x9-v1")


def test_a_callable_is_refused() -> None:
    with pytest.raises(InputError, match=r"--env-backend: envpool .* callable"):
        find_source(Config(env_backend="envpool"), Counting)


def test_the_missing_package_is_named_with_the_command_that_installs_it() -> None:
    # in a process of its own: what is imported once cannot be missed afterwards
    code = (
        "import sys\n"
        "sys.modules['envpool'] = None\n"
        "from distpg.cli import main\n"
        "sys.exit(main(['train', '--env-backend', 'envpool', '--num-workers', '0']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1
    assert "--env-backend envpool" in done.stderr
    assert "pip install 'distpg[envpool]'" in done.stderr
