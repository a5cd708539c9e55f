"""Whole imitations: who is asked what, what is left on disk, and what goes on from it."""

import json
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from distpg import (
    Config,
    InputError,
    Outcome,
    RunError,
    evaluate,
    imitate,
    load_policy,
    resume,
    train,
)
from distpg.cli import main
from distpg.envs.diamond_hill import DiamondHill
from distpg.envs.make import find_env, make_vector_env
from distpg.iteration import Evaluation
from distpg.policy.acting import by_torch
from distpg.policy.file import read_policy
from distpg.rollout.evaluation import Evaluator, play_episodes, run_episodes
from distpg.run.directory import RunDir
from distpg.spaces import Obs
from tests.environments import AnyKind
from tests.envs.test_masks import Strict
from tests.imitation.experts import (
    indifferent,
    on_cartpole,
    on_diamond_hill,
    one_too_many,
    raises,
    sideways,
)
from tests.settings import config_of

TINY: dict[str, Any] = {
    "num_workers": 0,
    "num_slots": 2,
    "num_envs": 2,
    "num_steps": 16,
    "minibatch_size": 32,
    "num_epochs": 2,
    "hidden_sizes": (8,),
    "device": "cpu",
    "learner_threads": 1,
    "checkpoint_every": 0,
}
HILL: dict[str, Any] = {
    "env_id": "distpg/DiamondHill-v0",
    "env_kwargs": {"tabular": True},
    "learning_rate": 3e-2,
}
thorough = partial(pytest.param, marks=pytest.mark.thorough)
slow = partial(pytest.param, marks=pytest.mark.slow)
SEEN_ON_THE_HILL = np.array([5, 2, 4])
"""At the start, on the slope, back on the hilltop without the diamond."""


def tiny(**changes: Any) -> Config:
    return config_of({**TINY, **changes})


def policy_content(run: Path) -> bytes:
    return (run / "policy.safetensors").read_bytes()


@pytest.fixture(scope="module")
def expert_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on CartPole, of another architecture than the students here."""
    config = tiny(hidden_sizes=(12, 6), activation="relu", total_steps=1, seed=3)
    return train(config, run_dir=tmp_path_factory.mktemp("expert") / "run", quiet=True).run_dir


class Listening:
    """An expert that remembers what it was asked."""

    def __init__(self, expert: Any) -> None:
        self.expert = expert
        self.asked: list[np.ndarray] = []

    def __call__(self, obs: Any) -> Any:
        self.asked.append(np.array(obs))
        return self.expert(obs)


@pytest.mark.parametrize("rounds", [(4, 0), (1, 3), (0, 4)], ids=str)
def test_a_student_of_the_optimum_on_diamond_hill_reaches_it(
    rounds: tuple[int, int], tmp_path: Path
) -> None:
    config = tiny(**HILL, num_steps=24, num_epochs=20, eval_every=1)
    outcome = imitate(
        config,
        on_diamond_hill,
        expert_rounds=rounds[0],
        dagger_rounds=rounds[1],
        run_dir=tmp_path / "run",
        quiet=True,
    )
    acts = load_policy(outcome.run_dir).act(SEEN_ON_THE_HILL)
    np.testing.assert_array_equal(acts, on_diamond_hill(SEEN_ON_THE_HILL))
    result = outcome.result
    assert result["stop_reason"] == "rounds"
    assert (result["expert_rounds"], result["dagger_rounds"]) == rounds
    assert (result["expert_return"] is None) == (rounds[0] == 0)
    # 11 on average: 13 or, where the climb slips, -7
    assert (result["episode_return_mean"] is None) == (rounds[1] == 0)


@pytest.mark.thorough
def test_a_student_of_a_scripted_expert_balances_the_pole(tmp_path: Path) -> None:
    config = tiny(num_steps=128, num_epochs=20, hidden_sizes=(32,), learning_rate=3e-3)
    outcome = imitate(config, on_cartpole, dagger_rounds=5, run_dir=tmp_path / "run", quiet=True)
    assert np.mean(evaluate(outcome.run_dir, episodes=10).returns) == 500


def test_labels_are_counted_one_for_each_step_that_was_asked_about(tmp_path: Path) -> None:
    expert = Listening(on_diamond_hill)
    config = tiny(**HILL)
    outcome = imitate(config, expert, dagger_rounds=3, run_dir=tmp_path / "run", quiet=True)
    result = outcome.result
    assert result["labels"] == result["env_steps"] == result["trained_steps"]
    # asked once to see that it answers, at each step of its own round, then once a slot and round
    trial, *own = expert.asked[: 1 + 2 * 16]
    assert len(trial) == 1
    assert all(len(asked) == 2 for asked in own)
    students = expert.asked[1 + 2 * 16 :]
    assert len(students) == 3 * 2
    # where nothing resets; the rest of 64 steps a round resets
    of_expert = result["labels"] - sum(map(len, students))
    assert 40 < of_expert < 64
    assert all(16 <= len(asked) < 32 for asked in students)
    assert 5 in students[0]


def test_dagger_asks_about_just_what_the_student_saw(tmp_path: Path) -> None:
    """Observations of this env are never the same twice, so none is labelled twice."""
    expert = Listening(indifferent)
    outcome = imitate(
        tiny(env_id="tests.environments:AnyKind-v0"),
        expert,
        expert_rounds=0,
        dagger_rounds=3,
        run_dir=tmp_path / "run",
        quiet=True,
    )
    asked = np.concatenate(expert.asked[1:])
    assert len(asked) == outcome.result["labels"]
    assert len(np.unique(asked.reshape(len(asked), -1), axis=0)) == len(asked)


def test_the_expert_of_a_run_is_its_policy_and_its_labels_are_its_most_likely_actions(
    expert_run: Path, tmp_path: Path
) -> None:
    config = tiny(num_epochs=60, learning_rate=3e-3, hidden_sizes=(32,), num_steps=64)
    outcome = imitate(config, expert_run, expert_rounds=3, run_dir=tmp_path / "run", quiet=True)
    assert outcome.result["expert"] == str(expert_run)
    assert outcome.result["expert_return"] > 0
    obs = np.random.default_rng(0).normal(0, [0.1, 0.5, 0.05, 0.5], (200, 4)).astype(np.float32)
    student, expert = (load_policy(run).act(obs) for run in (outcome.run_dir, expert_run))
    assert (student == expert).mean() > 0.9


MEMORY: dict[str, Any] = {
    "env_id": "distpg/CartPoleNoVel-v1",
    "recurrent": "gru",
    "sequence_length": 8,
}


@pytest.fixture(scope="module")
def remembering(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on CartPole without its velocities."""
    config = tiny(**MEMORY, recurrent_size=6, total_steps=1, seed=3)
    return train(config, run_dir=tmp_path_factory.mktemp("expert") / "run", quiet=True).run_dir


def dagger(expert: Any, run: Path, num_workers: int, **changes: Any) -> bytes:
    config = tiny(num_workers=num_workers, phase_timeout=60.0, **changes)
    outcome = imitate(config, expert, expert_rounds=2, dagger_rounds=2, run_dir=run, quiet=True)
    assert outcome.result["iterations"] == 4
    return policy_content(outcome.run_dir)


@pytest.mark.parametrize("expert", [slow("a run"), slow("a function"), thorough("a memory")])
def test_two_workers_end_in_the_weights_of_one_process(
    callers_ray: None, expert: str, expert_run: Path, remembering: Path, tmp_path: Path
) -> None:
    whom = {"a run": expert_run, "a memory": remembering}.get(expert, on_cartpole)
    own = MEMORY if expert == "a memory" else {}
    contents = [dagger(whom, tmp_path / str(n), n, eval_every=2, **own) for n in (0, 2)]
    assert len(set(contents)) == 1
    assert dagger(whom, tmp_path / "again", 0, **own) == contents[0], "evaluation changed it"


class Blinding(gymnasium.ObservationWrapper[Any, Any, Any]):
    """At two steps observes what no layer can take in, on both sides of what is done."""

    def __init__(self) -> None:
        super().__init__(gymnasium.make("CartPole-v1"))
        self.seen = 0

    def observation(self, observation: Any) -> Any:
        self.seen += 1
        blinding = {20: 3e38, 21: -3e38}.get(self.seen)
        return observation if blinding is None else np.full_like(observation, blinding)


def blinded(run: Path, **changes: Any) -> Outcome:
    """They are in the second of three rounds."""
    shape: dict[str, Any] = {
        "num_slots": 1,
        "num_envs": 1,
        "hidden_sizes": (),
        "minibatch_size": 16,
    }
    config = tiny(**shape, normalize_obs=False, **changes)
    return imitate(config, indifferent, make_env=Blinding, expert_rounds=3, run_dir=run)


def test_a_round_that_comes_to_no_number_is_rolled_back_and_the_imitation_goes_on_or_ends(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = blinded(tmp_path / "one", on_anomaly="skip").result
    assert (result["iterations"], result["rolled_back_updates"]) == (3, 1)
    assert result["trained_steps"] < result["labels"]
    assert "the update of iteration 2 was rolled back" in capsys.readouterr().out
    assert np.isfinite(load_policy(tmp_path / "one").policy.head.weight.detach().numpy()).all()
    with pytest.raises(RunError, match=r"iteration 2 was rolled back.*anomalies/00000002.*skip"):
        blinded(tmp_path / "other")


def test_a_student_that_collapses_is_rolled_back_to_its_best(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = iter([20.0, 9.0, 19.0])

    def begin(self: Evaluator, weights: Any, attributes: Any) -> Evaluation:
        return Evaluation([next(scores)], [1])

    monkeypatch.setattr(Evaluator, "begin", begin)
    config = tiny(rollback_on_collapse=0.5, eval_every=1)
    result = imitate(
        config, on_cartpole, expert_rounds=3, run_dir=tmp_path / "run", quiet=True
    ).result
    assert (result["rollbacks"], result["policy_version"]) == (1, 3)


class Board(Strict):
    """A game in which nothing is allowed where it is over."""

    def __init__(self) -> None:
        super().__init__(tells="leaf", stuck_at=20)


def test_an_expert_is_not_asked_where_a_game_is_over(tmp_path: Path) -> None:
    def first_allowed(obs: Any) -> Any:
        assert obs["action_mask"].any(-1).all(), "nothing is allowed"
        return obs["action_mask"].argmax(-1)

    config = tiny(num_steps=64)
    outcome = imitate(
        config,
        first_allowed,
        make_env=Board,
        expert_rounds=2,
        dagger_rounds=2,
        run_dir=tmp_path / "run",
        quiet=True,
    )
    assert outcome.result["labels"] > 3.5 * 4 * 60


@pytest.mark.parametrize("student", [thorough("gru"), "none"])
def test_expert_and_student_may_have_a_memory(
    student: str, remembering: Path, tmp_path: Path
) -> None:
    config = tiny(
        **{**MEMORY, "recurrent": student, "num_steps": 48, "num_epochs": 40},
        recurrent_size=12,
        learning_rate=1e-2,
        eval_every=2,
    )
    run = tmp_path / "run"
    outcome = imitate(config, remembering, dagger_rounds=5, run_dir=run, quiet=True)
    agreed = EventAccumulator(str(run)).Reload().Scalars("imitation/agreement")
    assert agreed[-1].value > 0.8
    again = tiny(
        **{**MEMORY, "recurrent": student}, recurrent_size=12, total_steps=1, init_from=str(run)
    )
    outcome = train(again, run_dir=tmp_path / "on", quiet=True)
    assert outcome.result["policy_version"] == 1


def test_another_seed_ends_in_other_weights(tmp_path: Path) -> None:
    assert dagger(on_cartpole, tmp_path / "one", 0) != dagger(
        on_cartpole, tmp_path / "other", 0, seed=7
    )


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = tiny(
        num_envs=8, num_steps=32, eval_every=2, eval_episodes=8, seed=5, checkpoint_every=1
    )
    run = tmp_path_factory.mktemp("clone") / "run"
    return imitate(
        config, on_cartpole, expert_rounds=2, dagger_rounds=2, run_dir=run, quiet=True
    ).run_dir


def test_it_is_an_ordinary_run(clone: Path) -> None:
    run = RunDir.open(clone)
    assert run.read_config().hidden_sizes == (8,)
    assert {path.name for path in clone.iterdir() if "tfevents" not in path.name} == {
        "checkpoints",
        "config.toml",
        "episodes.csv",
        "evaluations.csv",
        "faults.csv",
        "log.txt",
        "policy.safetensors",
        "progress.csv",
        "result.json",
    }
    result = json.loads(run.result.read_text())
    policy, envs = load_policy(clone).policy, make_vector_env(find_env("CartPole-v1", {}), 8)
    evaluation = run_episodes(
        play_episodes(by_torch(policy), policy.units, envs, 8, seed=5, stochastic=False)
    )
    assert result["evaluation"]["return_mean"] == np.mean(evaluation.returns)
    events = EventAccumulator(str(clone)).Reload()
    assert [event.step for event in events.Scalars("eval/mean_reward")][-1] == result["labels"]
    assert len(events.Scalars("imitation/agreement")) == len(events.Scalars("imitation/loss")) == 4
    # those of the expert's rounds are not the student's
    returns = events.Scalars("rollout/ep_rew_mean")
    assert len(returns) == 2
    assert returns[0].step == events.Scalars("imitation/agreement")[2].step


def test_reinforcement_learning_starts_from_the_clone(clone: Path, tmp_path: Path) -> None:
    # a step that float32 does not see, so that the first version is the last
    config = tiny(
        num_envs=8,
        init_from=str(clone),
        total_steps=1,
        learning_rate=1e-30,
        normalize_obs=True,
        eval_every=1,
        eval_episodes=8,
        seed=5,
    )
    outcome = train(config, run_dir=tmp_path / "run", quiet=True)
    before, after = (
        read_policy(RunDir.open(run).policy).weights.arrays for run in (clone, outcome.run_dir)
    )
    assert before.keys() == after.keys()
    for name, array in before.items():
        if not name.startswith("normalizer"):
            np.testing.assert_array_equal(array, after[name], err_msg=name)
    assert outcome.result["rolled_back_updates"] == 0


def test_resume_says_how_to_go_on_instead(clone: Path) -> None:
    with pytest.raises(
        InputError, match=rf"train --config {clone}/config.toml --init-from {clone}"
    ):
        resume(clone, total_steps=10**6)


def test_a_student_may_start_from_a_run(clone: Path, tmp_path: Path) -> None:
    config = tiny(init_from=str(clone), learning_rate=1e-30)
    outcome = imitate(config, on_cartpole, expert_rounds=1, run_dir=tmp_path / "run", quiet=True)
    before, after = (load_policy(run).policy.head.weight for run in (clone, outcome.run_dir))
    assert (before == after).all()


def test_a_round_is_told_in_a_line(
    expert_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["imitate", "--expert", str(expert_run), "--num-workers", "0", "--num-steps", "16"]
    words += ["--dagger-rounds", "1", "--hidden-sizes", "8", "--run-dir", "run", "--num-envs", "8"]
    assert main(words) == 0
    said = capsys.readouterr().out
    first, second = (line for line in said.splitlines() if line.startswith("round "))
    assert first.startswith("round 1 of 2  the expert acts  ")
    assert second.startswith("round 2 of 2  the student acts  ")
    for word in ("labels", "agreed", "loss"):
        assert word in second
    assert said.count("\nevaluation after iteration ") == 2
    assert "train --config run/config.toml --init-from run" in said


def test_the_default_directory_says_that_it_imitates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = imitate(tiny(), on_cartpole, expert_rounds=1, quiet=True)
    assert outcome.run_dir.name.startswith("imitate-s0-")
    assert outcome.run_dir.parent == tmp_path / "runs/CartPole-v1"


def test_functions_see_observations_as_the_env_nests_them_and_may_change_them(
    tmp_path: Path,
) -> None:
    seen: list[Obs] = []

    def expert(obs: Any) -> Any:
        category, place = obs["place"]
        seen.append({"image": obs["image"], "category": category, "place": place})
        count = len(category)
        obs["image"][:] = 0
        return np.zeros(count, np.int64)

    config = tiny(env_id="tests.environments:AnyKind-v0", env_kwargs={"kind": "nested obs"})
    imitate(config, expert, dagger_rounds=1, run_dir=tmp_path / "run", quiet=True)
    assert seen[-1]["image"].shape[1:] == (12, 10, 3)
    assert seen[-1]["place"].shape[1:] == (2,)
    assert {-1, 0, 1} >= set(seen[-1]["category"].tolist())


@pytest.mark.parametrize("family", ["gaussian", "squashed_gaussian", "beta"])
def test_continuous_actions_are_learned_by_each_distribution(family: str, tmp_path: Path) -> None:
    """In Box([-0.1, 0.2], [0, 9]), the first at its lower bound."""

    def expert(obs: Any) -> Any:
        second = 4 + 3 * obs[:, 0]
        return np.stack([np.full(len(obs), -0.1), second], 1).astype(np.float32)

    settings: dict[str, Any] = {
        "env_id": "tests.environments:AnyKind-v0",
        "env_kwargs": {"kind": "asymmetric action"},
        "action_distribution": family,
        "num_epochs": 60,
        "learning_rate": 1e-2,
    }
    config = tiny(**settings)
    outcome = imitate(config, expert, dagger_rounds=2, run_dir=tmp_path / "run", quiet=True)
    obs = np.array([[-0.8, 0, 0], [0.8, 0, 0]], np.float32)
    acts = load_policy(outcome.run_dir).act(obs)
    np.testing.assert_allclose(acts[:, 0], -0.1, atol=0.01)
    np.testing.assert_allclose(acts[:, 1], expert(obs)[:, 1], atol=0.6)


@pytest.mark.parametrize(
    "kind", ["multi-discrete action", "multi-binary action", "matrix action", "scalar action"]
)
def test_every_kind_of_action_can_be_shown(kind: str, tmp_path: Path) -> None:
    space = AnyKind(kind).action_space
    space.seed(0)
    answer = np.array(space.sample())

    def expert(obs: Any) -> Any:
        return np.broadcast_to(answer, (len(obs), *answer.shape))

    settings: dict[str, Any] = {"num_epochs": 100, "learning_rate": 1e-2}
    config = tiny(env_id="tests.environments:AnyKind-v0", env_kwargs={"kind": kind}, **settings)
    outcome = imitate(config, expert, dagger_rounds=1, run_dir=tmp_path / "run", quiet=True)
    acts = load_policy(outcome.run_dir).act(np.zeros((1, 3), np.float32))
    np.testing.assert_allclose(acts[0], answer, atol=0.02)


def test_an_environment_may_be_a_callable(tmp_path: Path) -> None:
    config = tiny(learning_rate=3e-2, num_epochs=20)
    outcome = imitate(
        config,
        lambda obs: (obs[:, 0] != 2).astype(np.int64),
        expert_rounds=1,
        make_env=DiamondHill,
        run_dir=tmp_path / "run",
        quiet=True,
    )
    assert outcome.result["env_id"] == "distpg.envs.diamond_hill:DiamondHill"


BAD: list[tuple[Any, dict[str, Any], list[str]]] = [
    (raises, {}, ["experts:raises", "the expert is asleep", "experts.py, line"]),
    (one_too_many, {}, ["experts:one_too_many", "2 actions for 1 observations"]),
    (sideways, {}, ["experts:sideways", "7 is not an action"]),
    (np.negative, {}, ["negative", "shape [1, 4]"]),
    (type, {}, ["builtins:type", "finite numbers"]),
    (on_cartpole, {"dagger_rounds": -1}, ["--dagger-rounds: -1"]),
    (on_cartpole, {"expert_rounds": 0}, ["--expert-rounds: 0", "--dagger-rounds"]),
    ("tests.imitation.experts:NO_FUNCTION", {}, ["NO_FUNCTION", "not a function"]),
    ("tests.imitation.experts:missing", {}, ["experts:missing", "has no missing"]),
    ("no_such_module:act", {}, ["no_such_module:act", "No module named"]),
    ("nowhere", {}, ["'nowhere'", "not a run directory", "module:function", "dataset"]),
]


@pytest.mark.parametrize("number", range(len(BAD)))
def test_an_expert_that_cannot_be_imitated(number: int, tmp_path: Path) -> None:
    expert, settings, said = BAD[number]
    with pytest.raises(InputError) as refused:
        imitate(tiny(), expert, run_dir=tmp_path / "far" / "run", quiet=True, **settings)
    for word in said:
        assert word in str(refused.value)
    assert not list(tmp_path.iterdir()), "a run directory was left"


def test_an_expert_of_other_spaces_is_refused_and_both_are_named(
    expert_run: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError) as refused:
        imitate(tiny(env_id="Acrobot-v1"), expert_run, run_dir=tmp_path / "run", quiet=True)
    message = str(refused.value)
    assert str(expert_run) in message
    assert "[4]" in message
    assert "Acrobot-v1" in message
    assert "[6]" in message
    assert not list(tmp_path.iterdir())


def test_a_run_without_a_policy_is_no_expert(expert_run: Path, tmp_path: Path) -> None:
    bare = Path(shutil.copytree(expert_run, tmp_path / "bare", symlinks=True))
    shutil.rmtree(bare / "checkpoints")
    (bare / "policy.safetensors").unlink()
    with pytest.raises(InputError, match="no policy yet"):
        imitate(tiny(), bare, run_dir=tmp_path / "run", quiet=True)


def test_an_expert_that_fails_on_the_way_ends_the_run_by_name(tmp_path: Path) -> None:
    calls = iter(range(100))

    def tires(obs: Any) -> Any:
        if next(calls) == 20:
            raise TimeoutError("went home")
        return np.zeros(len(obs), np.int64)

    with pytest.raises(RunError, match=r"tires> raised TimeoutError: went home"):
        imitate(tiny(), tires, run_dir=tmp_path / "run", quiet=True)
