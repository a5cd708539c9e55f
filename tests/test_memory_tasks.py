"""Tasks that only a policy that remembers can do, and one that also needs its mask."""

from typing import Any

import pytest

from distpg.envs.make import find_env, make_vector_env
from distpg.policy.acting import by_torch
from distpg.rollout.evaluation import play_episodes, run_episodes
from distpg.run.preflight import check_env
from tests.learner.runs import Run

TASK = "benchmarks.partially_observed:"
SHAPE: dict[str, Any] = {
    "num_slots": 1,
    "num_envs": 32,
    "num_steps": 36,
    "minibatch_size": 288,
    "num_epochs": 4,
    "learning_rate": 3e-3,
    "gamma": 1.0,
    "ent_coef": 0.01,
    "hidden_sizes": (16,),
    "recurrent_size": 16,
    "normalize_obs": False,
}


def score(name: str, iterations: int, **settings: Any) -> float:
    """Train, then evaluate with the most likely actions; return the mean return."""
    env_id = f"{TASK}{name}-v0"
    source, *_ = check_env(find_env(env_id, {}), 60)
    run = Run(source=source, env_id=env_id, **{**SHAPE, **settings})
    for _ in range(iterations):
        run.iterate()
    envs = make_vector_env(source, 8)
    evaluation = run_episodes(
        play_episodes(
            by_torch(run.learner.policy),
            run.learner.policy.units,
            envs,
            100,
            seed=0,
            stochastic=False,
        )
    )
    return evaluation.mean_return


@pytest.mark.slow
def test_a_cue_is_remembered_until_it_is_asked_for() -> None:
    assert score("Cue", 40, recurrent="gru") > 0.95


def test_without_a_memory_the_cue_is_a_guess() -> None:
    assert score("Cue", 40) < 0.6


@pytest.mark.slow
def test_memory_and_mask_together_do_what_needs_both() -> None:
    assert score("MaskedCue", 120, recurrent="lstm", learning_rate=6e-3) > 0.9
