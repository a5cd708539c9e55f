"""Whole runs in one process: what they leave on disk, and what goes on from it."""

import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import safetensors.numpy
import torch
from gymnasium.vector.utils import batch_space, iterate
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import distpg
from distpg import Config, InputError, Outcome, RunError, evaluate, load_policy, resume, train
from distpg.cli import main
from distpg.envs.make import find_env, make_vector_env
from distpg.policy.acting import by_torch
from distpg.policy.play import SavedPolicy
from distpg.rollout.evaluation import play_episodes, run_episodes
from tests.environments import KINDS, SUPPORTED, AnyKind, Breaks, Counting
from tests.settings import config_of

RESULT_KEYS = {
    "algo",
    "env_id",
    "seed",
    "iterations",
    "env_steps",
    "episodes",
    "episode_return_mean",
    "stop_reason",
    "solved_at_env_steps",
    "solved_s",
    "startup_s",
    "train_s",
    "wall_s",
    "env_steps_per_s",
    "trained_steps",
    "dropped_steps",
    "worker_restarts",
    "policy_version",
    "versions",
}
TINY: dict[str, Any] = {
    "num_workers": 0,
    "num_slots": 2,
    "num_envs": 2,
    "num_steps": 16,
    "minibatch_size": 32,
    "num_epochs": 2,
    "hidden_sizes": (8,),
    "total_steps": 150,
    "checkpoint_every": 2,
    "device": "cpu",
    "learner_threads": 1,
}


def tiny(**changes: Any) -> Config:
    return Config(**{**TINY, **changes})


def policy_content(run: Path) -> bytes:
    return (run / "policy.safetensors").read_bytes()


def newest_checkpoint(run: Path) -> Path:
    return max((run / "checkpoints").glob("[0-9]*"))


def learner_arrays(run: Path) -> Mapping[str, np.ndarray]:
    return safetensors.numpy.load_file(newest_checkpoint(run) / "learner.safetensors")


def read_events(run: Path) -> EventAccumulator:
    events = EventAccumulator(str(run))
    events.Reload()
    return events


def steps_of(run: Path, tag: str) -> list[int]:
    return [event.step for event in read_events(run).Scalars(tag)]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """A run of CartPole, shared by the tests that only look at it."""
    return train(tiny(seed=3), run_dir=tmp_path_factory.mktemp("runs") / "first", quiet=True)


def test_a_run_leaves_its_configuration_curve_policy_checkpoints_and_result(
    finished: Outcome,
) -> None:
    run = finished.run_dir
    names = {re.sub(r"events\.out\.tfevents\..*", "events", path.name) for path in run.iterdir()}
    read = {"log.txt", "progress.csv", "episodes.csv", "evaluations.csv", "faults.csv"}
    kept = {"config.toml", "events", "policy.safetensors", "checkpoints", "result.json"}
    assert names == kept | read
    folders = sorted((run / "checkpoints").glob("[0-9]*"))
    assert int(folders[-1].name) == finished.result["env_steps"]
    for folder in folders:
        assert {path.name for path in folder.iterdir()} == {
            "policy.safetensors",
            "learner.safetensors",
            "slots.safetensors",
            "manifest.json",
        }
    assert (folders[-1] / "policy.safetensors").read_bytes() == policy_content(run)


def test_the_result_says_how_the_run_went(finished: Outcome) -> None:
    result = json.loads((finished.run_dir / "result.json").read_text())
    assert result == finished.result
    assert result.keys() >= RESULT_KEYS
    assert (result["algo"], result["env_id"], result["seed"]) == ("ppo", "CartPole-v1", 3)
    assert result["stop_reason"] == "total_steps"
    assert result["solved_at_env_steps"] is result["solved_s"] is None
    assert 150 <= result["env_steps"] < 150 + 2 * 2 * 16
    assert result["trained_steps"] == result["env_steps"]
    assert result["iterations"] == result["policy_version"] == 3
    assert result["dropped_steps"] == result["worker_restarts"] == 0
    assert 0 < result["startup_s"] < result["startup_s"] + result["train_s"] <= result["wall_s"]
    assert result["versions"].keys() >= {"python", "torch", "ray", "gymnasium"}


def test_the_written_configuration_reproduces_the_policy_byte_for_byte(
    finished: Outcome, tmp_path: Path
) -> None:
    again = tmp_path / "elsewhere" / "again"
    written = str(finished.run_dir / "config.toml")
    assert main(["train", "--config", written, "--run-dir", str(again), "--quiet"]) == 0
    assert policy_content(again) == policy_content(finished.run_dir)
    assert (again / "config.toml").read_text() == (finished.run_dir / "config.toml").read_text()


def test_another_seed_gives_another_policy(finished: Outcome, tmp_path: Path) -> None:
    other = train(tiny(seed=4), run_dir=tmp_path / "other", quiet=True)
    assert policy_content(other.run_dir) != policy_content(finished.run_dir)


@pytest.mark.parametrize(
    "watching",
    [
        {"checkpoint_every": 0},
        {"checkpoint_every": 1, "keep_checkpoints": 1},
        {"eval_every": 1, "eval_episodes": 3},
    ],
)
def test_evaluation_and_checkpoints_change_nothing(
    finished: Outcome, tmp_path: Path, watching: dict[str, Any]
) -> None:
    watched = train(tiny(seed=3, **watching), run_dir=tmp_path / "watched", quiet=True)
    assert policy_content(watched.run_dir) == policy_content(finished.run_dir)


def test_only_the_newest_checkpoints_are_kept(tmp_path: Path) -> None:
    config = tiny(checkpoint_every=1, keep_checkpoints=2, total_steps=300)
    outcome = train(config, run_dir=tmp_path / "run", quiet=True)
    kept = sorted(int(path.name) for path in (outcome.run_dir / "checkpoints").glob("[0-9]*"))
    assert len(kept) == 2
    assert kept[-1] == outcome.result["env_steps"]


def test_the_curve_has_the_tags_of_stable_baselines3_with_env_steps_on_the_x_axis(
    tmp_path: Path,
) -> None:
    config = tiny(eval_every=2, eval_episodes=2)
    outcome = train(config, run_dir=tmp_path / "run", quiet=True)
    events = read_events(outcome.run_dir)
    tags = set(cast("list[str]", events.Tags()["scalars"]))
    assert tags >= {
        "rollout/ep_rew_mean",
        "rollout/ep_len_mean",
        "time/fps",
        "time/iterations",
        "time/total_timesteps",
        "eval/mean_reward",
        "perf/collect_s",
        "perf/update_s",
        "perf/step_s",
        "perf/act_s",
        "perf/prepare_s",
        "perf/broadcast_s",
        "perf/idle_s",
    }
    assert {f"train/{name}" for name in TRAIN_TAGS} <= tags
    for event in events.Scalars("time/total_timesteps"):
        assert event.step == event.value
    assert [event.value for event in events.Scalars("time/iterations")] == [1, 2, 3]
    assert len(events.Scalars("eval/mean_reward")) == 1
    (text,) = events.Tensors("config/text_summary")
    assert b"minibatch_size = 32" in text.tensor_proto.string_val[0]


TRAIN_TAGS = (
    "approx_kl",
    "clip_fraction",
    "entropy_loss",
    "explained_variance",
    "learning_rate",
    "loss",
    "policy_gradient_loss",
    "value_loss",
)


def test_resume_goes_on_with_counters_optimizer_and_curve(tmp_path: Path) -> None:
    config = tiny(seed=1, normalize_rewards=True)
    first = train(config, run_dir=tmp_path / "run", quiet=True)
    steps_before = learner_arrays(first.run_dir)
    updates = {name: x for name, x in steps_before.items() if name.startswith("optimizer/step/")}
    assert updates
    second = resume(first.run_dir, total_steps=350, quiet=True)
    assert second.run_dir == first.run_dir
    assert second.result["iterations"] > first.result["iterations"]
    assert second.result["episodes"] > first.result["episodes"]
    assert second.result["env_steps"] == second.result["trained_steps"] >= 350
    assert second.result["policy_version"] == second.result["iterations"]
    steps_after = learner_arrays(second.run_dir)
    for name, before in updates.items():
        assert before < steps_after[name] <= second.result["iterations"] * 2 * 2
    count = "reward_scale/statistics"
    assert steps_after[count][0] == second.result["env_steps"]
    events = read_events(second.run_dir)
    iterations = [event.value for event in events.Scalars("time/iterations")]
    assert iterations == list(range(1, second.result["iterations"] + 1))
    steps = steps_of(second.run_dir, "time/iterations")
    assert steps == sorted(set(steps))
    n_updates = [event.value for event in events.Scalars("train/optimizer_steps")]
    assert n_updates == sorted(set(n_updates))


def test_a_resumed_run_ends_as_one_that_was_not_stopped(tmp_path: Path) -> None:
    # whole episodes begin with a reset, so nothing but the learner and the counters is carried on
    def config(total_steps: int) -> Config:
        return Config(
            algo="reinforce",
            num_workers=0,
            hidden_sizes=(8,),
            normalize_rewards=True,
            total_steps=total_steps,
        )

    whole = train(config(2500), run_dir=tmp_path / "whole", quiet=True)
    half = train(config(1000), run_dir=tmp_path / "halves", quiet=True)
    assert half.result["iterations"] < whole.result["iterations"] - 1
    resumed = resume(half.run_dir, total_steps=2500, quiet=True)
    for key in ("iterations", "env_steps", "episodes", "episode_return_mean", "dropped_steps"):
        assert resumed.result[key] == whole.result[key]
    assert policy_content(resumed.run_dir) == policy_content(whole.run_dir)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"normalize_rewards": True, "gradient_stats_every": 1},
        {"algo": "appo"},
        {"algo": "trpo", "num_epochs": 1},
        {"env_id": "Pendulum-v1", "lr_schedule": "linear"},
        {"env_id": "Pendulum-v1", "action_distribution": "squashed_gaussian", "log_std": "state"},
        {"env_id": "Pendulum-v1", "action_distribution": "beta"},
        {"env_id": "HalfCheetah-v5", "env_kwargs": {"max_episode_steps": 45}},
        {"env_id": "Pendulum-v1", "action_distribution": "gsde", "sde_sample_freq": 3},
        {"env_id": "distpg/DiamondHill-v0", "num_slots": 2},
        {"env_id": "CartPole-v1", "algo": "a2c", "num_epochs": 1, "minibatch_size": None},
    ],
    ids=str,
)
def test_a_resumed_run_goes_on_in_the_middle_of_its_episodes(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    # schedules end where the longer run does, so the shorter one is that run, broken off
    config = tiny(**{"total_steps": 400, "checkpoint_every": 3, "keep_checkpoints": 99} | settings)
    whole = train(config, run_dir=tmp_path / "whole", quiet=True)
    shutil.copytree(whole.run_dir, tmp_path / "broken", symlinks=True)
    checkpoints = sorted((tmp_path / "broken" / "checkpoints").glob("[0-9]*"))
    for later in checkpoints[1:]:
        shutil.rmtree(later)
    resumed = resume(tmp_path / "broken", quiet=True)
    for key in ("iterations", "env_steps", "episodes", "episode_return_mean", "dropped_steps"):
        assert resumed.result[key] == whole.result[key], key
    assert policy_content(resumed.run_dir) == policy_content(whole.run_dir)
    ends = [newest_checkpoint(outcome.run_dir) for outcome in (whole, resumed)]
    for name in ("learner.safetensors", "slots.safetensors"):
        assert len({(end / name).read_bytes() for end in ends}) == 1, name


def test_a_run_that_broke_resumes_from_its_checkpoint_and_its_curve_has_no_overlap(
    tmp_path: Path,
) -> None:
    run = tmp_path / "run"
    shape = {"num_slots": 1, "num_envs": 1, "minibatch_size": 16, "checkpoint_every": 2}
    config = tiny(**shape, env_kwargs={"after": 70}, total_steps=120, max_env_faults=0)
    with pytest.raises(RunError, match="the reactor is on fire"):
        train(config, make_env=Breaks, run_dir=run, quiet=True)
    result = json.loads((run / "result.json").read_text())
    assert result["stop_reason"] == "error"
    assert "the reactor is on fire" in result["error"]
    assert result["iterations"] == 6
    # five steps and one that resets, 16 a rollout: step 70 is in the sixth iteration
    assert len(steps_of(run, "time/iterations")) == 5
    older, newer = sorted((run / "checkpoints").glob("[0-9]*"))
    shutil.rmtree(newer)

    def repaired(after: int) -> Breaks:
        return Breaks(after=0)

    outcome = resume(run, make_env=repaired, quiet=True)
    steps = steps_of(run, "time/iterations")
    assert steps[1] == int(older.name)
    assert steps == sorted(set(steps))
    assert len(steps) == outcome.result["iterations"] > 5
    assert outcome.result["trained_steps"] == outcome.result["env_steps"] >= 120


def test_resume_of_a_finished_run_is_refused_and_leaves_it_as_it_is(finished: Outcome) -> None:
    before = {path: path.read_bytes() for path in finished.run_dir.rglob("*") if path.is_file()}
    with pytest.raises(InputError, match="--total-steps"):
        resume(finished.run_dir, quiet=True)
    after = {path: path.read_bytes() for path in finished.run_dir.rglob("*") if path.is_file()}
    assert after == before


def test_evaluation_plays_exactly_n_episodes_a_fixed_share_on_each_env(tmp_path: Path) -> None:
    config = tiny(env_kwargs={"lengths": [1, 40]}, total_steps=1)
    run = train(config, make_env=Counting, run_dir=tmp_path / "run", quiet=True).run_dir
    # two episodes on each of eight envs: one short, one long; those that finish first are short
    played = distpg.evaluate(run, episodes=16, make_env=Counting)
    assert sorted(played.lengths) == [1] * 8 + [40] * 8
    for number in (1, 3, 8, 13):
        again = distpg.evaluate(run, episodes=number, make_env=Counting)
        assert len(again.returns) == len(again.lengths) == number
        for score, length in zip(again.returns, again.lengths, strict=True):
            steps = 10 * sum(range(int(length)))
            assert steps <= score <= steps + 2 * length


def test_evaluate_plays_other_episodes_than_those_that_chose_the_best_policy(
    finished: Outcome,
) -> None:
    policy, envs = (
        load_policy(finished.run_dir).policy,
        make_vector_env(find_env("CartPole-v1", {}), 4),
    )
    training = run_episodes(
        play_episodes(by_torch(policy), policy.units, envs, 4, seed=3, stochastic=False)
    )
    again = run_episodes(
        play_episodes(by_torch(policy), policy.units, envs, 4, seed=3, stochastic=False)
    )
    later = distpg.evaluate(finished.run_dir, episodes=4, seed=3)
    assert training.returns == again.returns != later.returns


def test_seeds_beyond_32_bits_count(finished: Outcome) -> None:
    found = [
        distpg.evaluate(finished.run_dir, episodes=20, seed=seed, stochastic=True).returns
        for seed in (1, 1, 2**32 + 1)
    ]
    assert found[0] == found[1] != found[2]
    obs = np.zeros((200, 4), np.float32)
    actions = [
        load_policy(finished.run_dir, seed=seed).act(obs, stochastic=True).tolist()
        for seed in (1, 1, 2**32 + 1)
    ]
    assert actions[0] == actions[1] != actions[2]


def test_evaluate_on_the_command_line_prints_one_json_object(
    finished: Outcome, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["evaluate", str(finished.run_dir), "--episodes", "3", "--stochastic", "--json"]
    assert main(words) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["episodes"] == len(summary["returns"]) == len(summary["lengths"]) == 3
    assert summary["return_mean"] == pytest.approx(np.mean(summary["returns"]))
    assert main(words[:4]) == 0
    assert "3 episodes" in capsys.readouterr().out


@pytest.mark.parametrize("kind", SUPPORTED)
def test_a_saved_policy_acts_on_one_observation_or_a_batch_within_the_action_space(
    kind: str, tmp_path: Path
) -> None:
    config = tiny(env_kwargs={"kind": kind}, total_steps=60, learning_rate=0.05)
    run = train(config, make_env=AnyKind, run_dir=tmp_path / "run", quiet=True).run_dir
    obs_space, action_space = KINDS[kind]
    policy = load_policy(run)
    for stochastic in (False, True):
        for _ in range(5):
            action = policy.act(obs_space.sample(), stochastic=stochastic)
            assert action_space.contains(action), f"{action!r} is not in {action_space}"
        actions = policy.act(batch_space(obs_space, 3).sample(), stochastic=stochastic)
        assert len(actions) == 3
        each = list(iterate(batch_space(action_space, 3), actions))
        assert all(action_space.contains(action) for action in each)


@pytest.mark.parametrize("family", ["squashed_gaussian", "beta"])
@pytest.mark.parametrize("kind", ["asymmetric action", "scalar action", "matrix action"])
def test_a_policy_within_bounds_plays_and_is_played_back_within_them(
    kind: str, family: str, tmp_path: Path
) -> None:
    # the env raises at an action outside of its space
    config = tiny(env_kwargs={"kind": kind}, action_distribution=family, max_env_faults=1)
    outcome = train(config, make_env=AnyKind, run_dir=tmp_path / "run", quiet=True)
    assert outcome.result["env_faults"] == 0
    obs_space, action_space = KINDS[kind]
    policy = load_policy(outcome.run_dir)
    for stochastic in (False, True):
        actions = [policy.act(obs_space.sample(), stochastic=stochastic) for _ in range(5)]
        assert all(action_space.contains(action) for action in actions)
    played = distpg.evaluate(outcome.run_dir, episodes=2, make_env=AnyKind)
    assert list(played.lengths) == [5, 5]
    again = train(config, make_env=AnyKind, run_dir=tmp_path / "again", quiet=True)
    assert policy_content(again.run_dir) == policy_content(outcome.run_dir)


def test_a_batch_of_observations_gets_the_actions_that_each_gets_alone(finished: Outcome) -> None:
    policy = load_policy(finished.run_dir)
    batch = np.random.default_rng(0).normal(0, 1, (20, 4)).astype(np.float32)
    alone = [int(policy.act(obs)) for obs in batch]
    assert policy.act(batch).tolist() == alone
    assert set(alone) == {0, 1}


def test_load_policy_takes_a_file_as_well_as_a_run(finished: Outcome) -> None:
    obs = np.zeros(4, np.float32)
    from_run = load_policy(finished.run_dir).act(obs)
    assert load_policy(finished.run_dir / "policy.safetensors").act(obs) == from_run
    checkpoint = newest_checkpoint(finished.run_dir) / "policy.safetensors"
    assert load_policy(checkpoint).act(obs) == from_run


def test_an_observation_of_another_shape_is_refused(finished: Outcome) -> None:
    with pytest.raises(InputError, match=r"\(3,\)"):
        load_policy(finished.run_dir).act(np.zeros(3, np.float32))


def test_init_from_starts_with_the_other_runs_policy(finished: Outcome, tmp_path: Path) -> None:
    config = tiny(
        seed=8, init_from=str(finished.run_dir), learning_rate=1e-30, total_steps=1, num_epochs=1
    )
    outcome = train(config, run_dir=tmp_path / "second", quiet=True)
    first = safetensors.numpy.load_file(finished.run_dir / "policy.safetensors")
    second = safetensors.numpy.load_file(outcome.run_dir / "policy.safetensors")
    assert first.keys() == second.keys()
    assert outcome.result["iterations"] == outcome.result["policy_version"] == 1
    for name, array in first.items():
        if not name.startswith("normalizer"):
            np.testing.assert_array_equal(array, second[name])
    (count,) = (name for name in first if name.endswith("count"))
    assert second[count] == first[count] + outcome.result["env_steps"]


def same_policy(one: SavedPolicy, other: SavedPolicy) -> None:
    tensors = zip(one.policy.state_dict().values(), other.policy.state_dict().values(), strict=True)
    assert all(torch.equal(*pair) for pair in tensors)


def test_a_checkpoint_is_chosen_by_name_by_steps_or_by_path(tmp_path: Path) -> None:
    config = tiny(eval_every=2, eval_episodes=2, checkpoint_every=1, keep_checkpoints=99)
    run = train(config, run_dir=tmp_path / "run@home", quiet=True).run_dir
    folders = sorted((run / "checkpoints").glob("[0-9]*"))
    best, newest = (run / "checkpoints" / "best").resolve(), folders[-1]
    chosen: dict[str | Path, Path] = {
        "best": best,
        "latest": newest,
        str(int(folders[1].name)): folders[1],
        folders[0]: folders[0],
        folders[-2] / "policy.safetensors": folders[-2],
    }
    for which, folder in chosen.items():
        direct = load_policy(folder / "policy.safetensors")
        played = evaluate(run, episodes=2, checkpoint=which)
        assert played == evaluate(run, episodes=2, checkpoint=folder)
        if isinstance(which, str):
            loaded = load_policy(f"{run}@{which}")
            same_policy(loaded, direct)
    same_policy(load_policy(run), load_policy(f"{run}@latest"))
    for reference, folder in {
        f"{run}@best": best,
        str(folders[0] / "policy.safetensors"): folders[0],
    }.items():
        started = tiny(init_from=reference, learning_rate=1e-30, total_steps=1, num_epochs=1)
        outcome = train(started, run_dir=tmp_path / f"from-{folder.name}", quiet=True)
        one, other = (
            safetensors.numpy.load_file(where / "policy.safetensors")
            for where in (folder, outcome.run_dir)
        )
        for name, array in one.items():
            if not name.startswith("normalizer"):
                np.testing.assert_array_equal(array, other[name])
        shutil.rmtree(outcome.run_dir)


@pytest.mark.parametrize(
    ("which", "message"),
    [
        ("best", "has no best checkpoint; evaluations choose it, see --eval-every"),
        ("17", r"'17' is no checkpoint of .*; give best, latest, or the env steps of one .*\d\)$"),
        ("", "'' is no checkpoint of"),
    ],
)
def test_a_checkpoint_that_is_not_there_is_refused(
    finished: Outcome, which: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=f"^--checkpoint: .*{message}"):
        evaluate(finished.run_dir, checkpoint=which)
    with pytest.raises(InputError, match=f"^--init-from: .*{message}"):
        train(tiny(init_from=f"{finished.run_dir}@{which}"), run_dir=tmp_path / "run", quiet=True)


def test_networks_whose_outputs_mean_something_else_are_refused(tmp_path: Path) -> None:
    first = tiny(env_id="Pendulum-v1", action_scale="unit", total_steps=1)
    run = train(first, run_dir=tmp_path / "first", quiet=True).run_dir
    for name, value in {
        "activation": "relu",
        "action_distribution": "squashed_gaussian",
        "action_scale": "bounds",
        "clip_obs": 5.0,
    }.items():
        config = replace(first, init_from=str(run), **{name: value})
        flag = "--" + name.replace("_", "-")
        with pytest.raises(InputError, match=f"^--init-from: .*first were trained with {flag} "):
            train(config, run_dir=tmp_path / "second", quiet=True)
    # before the setting there was no scale
    text = (run / "config.toml").read_text()
    (run / "config.toml").write_text(text.replace('action_scale = "unit"\n', ""))
    train(replace(first, init_from=str(run)), run_dir=tmp_path / "third", quiet=True)
    resumed = resume(run, total_steps=1000, quiet=True)
    assert 'action_scale = "unit"' in (resumed.run_dir / "config.toml").read_text()


def test_an_env_made_by_a_callable_trains_under_a_default_directory_of_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    outcomes = [train(tiny(seed=7), make_env=Counting, quiet=True) for _ in range(2)]
    assert outcomes[0].run_dir != outcomes[1].run_dir
    for outcome in outcomes:
        runs, env, name = outcome.run_dir.relative_to(tmp_path).parts
        assert runs == "runs"
        assert re.fullmatch(r"[\w.-]*Counting[\w.-]*", env)
        assert re.match(r"ppo-s7-\d{8}-\d{6}", name)
        assert (outcome.run_dir / "result.json").is_file()


def test_a_run_of_a_callable_is_evaluated_and_resumed_with_the_callable_only(
    tmp_path: Path,
) -> None:
    def make() -> Counting:
        return Counting()

    run = train(tiny(), make_env=make, run_dir=tmp_path / "run", quiet=True).run_dir
    with pytest.raises(InputError, match="make_env"):
        distpg.evaluate(run, episodes=1)
    with pytest.raises(InputError, match="make_env"):
        resume(run, total_steps=10**4, quiet=True)
    assert len(distpg.evaluate(run, episodes=2, make_env=make).returns) == 2


def test_a_run_stops_as_solved_once_a_full_window_has_the_wanted_return(tmp_path: Path) -> None:
    config = tiny(env_kwargs={"lengths": [1], "ends": ["terminated"]}, stop_at_return=0.0)
    # a run that long would be compiled
    config = config_of({**vars(config), "total_steps": 10**6, "compile": "off"})
    result = train(config, make_env=Counting, run_dir=tmp_path / "run", quiet=True).result
    assert result["stop_reason"] == "solved"
    # 32 episodes an iteration: a window of 100 is full after four
    assert result["iterations"] == 4
    assert result["episodes"] == result["env_steps"] == result["solved_at_env_steps"] == 128
    assert 0 < result["solved_s"] <= result["wall_s"]


def test_overwrite_replaces_the_run_whole(tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(tiny(total_steps=600), run_dir=run, quiet=True)
    with pytest.raises(InputError, match="--overwrite"):
        train(tiny(), run_dir=run, quiet=True)
    second = train(tiny(total_steps=100), run_dir=run, overwrite=True, quiet=True)
    assert int(newest_checkpoint(run).name) == second.result["env_steps"] < 200
    (_,) = run.glob("events.*[0-9]")
    assert len([*run.glob("events.*.hparams")]) == 2


@pytest.mark.parametrize("algo", ["a2c", "reinforce", "appo", "trpo", "npg"])
def test_every_preset_trains_and_counts_every_step(algo: str, tmp_path: Path) -> None:
    config = Config(algo=algo, num_workers=0, total_steps=300, hidden_sizes=(8,))
    result = train(config, run_dir=tmp_path / "run", quiet=True).result
    assert result["trained_steps"] == result["env_steps"] >= 300
    # after an env's last episode; played ahead when the run stopped
    assert (result["dropped_steps"] > 0) == (algo in ("reinforce", "appo"))


def test_env_kwargs_reach_the_env_and_the_file(tmp_path: Path) -> None:
    words = ["train", "--env-id", "tests.environments:Counting-v0", "--num-workers", "0"]
    words += ["--env-kwargs", '{"lengths": [2], "ends": ["truncated"]}', "--hidden-sizes", "8"]
    words += ["--total-steps", "300", "--num-steps", "100", "--quiet"]
    assert main([*words, "--run-dir", str(tmp_path / "run")]) == 0
    assert 'ends = [\n    "truncated",\n]' in (tmp_path / "run" / "config.toml").read_text()
    assert set(distpg.evaluate(tmp_path / "run", episodes=3).lengths) == {2}


def test_a_null_in_env_kwargs_is_written_and_read_back_or_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", "--env-id", "CartPole-v1", "--num-workers", "0", "--hidden-sizes", "8"]
    words += ["--env-kwargs", '{"render_mode": null}', "--total-steps", "64", "--num-envs", "1"]
    code = main([*words, "--quiet", "--run-dir", str(tmp_path / "run")])
    if code == 2:
        assert "--env-kwargs" in capsys.readouterr().err
        assert not (tmp_path / "run").exists()
    else:
        assert code == 0
        assert (tmp_path / "run" / "config.toml").is_file()
