"""Policies that remember, and that may not do everything: exact on a game that is known."""

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from distpg.config.config import Config
from distpg.envs import diamond_hill
from distpg.learner.diagnosis import policy_gradient
from distpg.learner.learner import Learner
from distpg.proof.gradients import double_precision
from distpg.proof.scene import rollout_of, tabular_policy
from distpg.proof.solver import Episode, Game, Solver
from distpg.records import Batch, Rollout
from distpg.spaces import MASK, ActionSpec, Leaf, ObsSpec
from tests.learner.runs import targets_of

PLACE = Leaf("obs", (), (), "int64", "categories", sizes=(8,), starts=(0,))
ALLOWED = Leaf(MASK, (MASK,), (2,), "int8", "mask")
TWO = ActionSpec("categorical", (), "int64", sizes=(2,), starts=(0,))
CHANCES = 0.5
"""Of each action, by which episodes are listed; the policy's own come in their place."""
CASES = [
    {"recurrent": kind, "masked": masked, "sequence_length": length}
    for kind, masked, length in itertools.product(("none", "gru", "lstm"), (False, True), (3, 8))
]


def make_learner(masked: bool, **settings: Any) -> Learner:
    config = Config(
        algo="reinforce",
        num_workers=0,
        num_slots=1,
        num_envs=1,
        episodes_per_env=1,
        advantage="reward_to_go",
        baseline="none",
        normalize_advantages=False,
        loss_average="per_episode",
        gamma=1.0,
        recurrent_size=3,
        hidden_sizes=(4,),
        **settings,
    )
    leaves = (PLACE, ALLOWED) if masked else (PLACE,)
    learner = Learner(config, ObsSpec(leaves), TWO)
    with torch.no_grad():
        for parameter in learner.policy.parameters():
            parameter.normal_(generator=torch.Generator().manual_seed(0))
    return learner


def forbidden(observation: int) -> list[int]:
    """What is allowed: everything but to jump from the slope into the fire."""
    return [int(observation // 2 != diamond_hill.SLOPE), 1]


def played(learner: Learner, episode: Episode) -> Rollout:
    rollout = rollout_of([episode], tabular_policy([CHANCES] * 3))
    obs = dict(rollout.obs)
    if learner.policy.is_masked:
        obs[MASK] = np.array([[forbidden(int(o))] for o in obs["obs"][:, 0]], np.int8)
    return replace(rollout, obs=obs, state=np.zeros((1, learner.policy.recurrent_state_size)))


def chance(learner: Learner, rollout: Rollout) -> Tensor:
    """The probability of an episode's actions, each given all that was seen before it."""
    policy, total = learner.policy, torch.ones(())
    memory = torch.zeros(1, policy.recurrent_state_size)
    for t, action in enumerate(rollout.actions[:, 0]):
        obs = {name: torch.from_numpy(leaf[t]) for name, leaf in rollout.obs.items()}
        features = policy.encoder(obs)
        if policy.recurrent is not None:
            features, memory = policy.recurrent.step(features, memory)
        total = total * policy.outputs(features, obs).softmax(-1)[0, action]
    return total


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_mean_gradient_over_all_episodes_is_that_of_the_expected_return(
    case: dict[str, Any],
) -> None:
    hill = diamond_hill
    solver = Solver(Game(hill.START, 2, hill.transitions, hill.number))
    episodes = solver.episodes(tabular_policy([CHANCES] * 3))
    with double_precision():
        learner = make_learner(**case)
        names = dict(learner.policy.named_parameters())
        expected_return, mean = torch.zeros(()), dict.fromkeys(names, torch.zeros(()))
        total = 0.0
        for episode in episodes:
            rollout = played(learner, episode)
            by_nature = float(episode.probability) / CHANCES ** len(episode.actions)
            own = chance(learner, rollout)
            total += by_nature * float(own)
            expected_return = expected_return + by_nature * own * sum(episode.rewards)
            samples, trajectories = learner.observe(Batch.join([rollout], learner.device))
            found = policy_gradient(learner, samples, targets_of(learner, samples, trajectories))
            for name, gradient in found.items():
                mean[name] = mean[name] + by_nature * own.detach() * gradient
        exact = torch.autograd.grad(expected_return, list(names.values()))
    assert total == pytest.approx(1)
    for name, gradient in zip(names, exact, strict=True):
        torch.testing.assert_close(mean[name], gradient, rtol=1e-9, atol=1e-10)
    assert any(gradient.norm() > 0.01 for gradient in exact)


def test_an_episode_that_is_forbidden_has_no_chance() -> None:
    hill = diamond_hill
    solver = Solver(Game(hill.START, 2, hill.transitions, hill.number))
    learner = make_learner(masked=True, recurrent="lstm")
    fallen = [e for e in solver.episodes(tabular_policy([CHANCES] * 3)) if e.actions[:2] == [0, 0]]
    assert fallen
    with double_precision():
        assert all(float(chance(make_learner(True), played(learner, e))) == 0 for e in fallen)
