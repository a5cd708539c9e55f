"""The policy's step along the natural gradient, as the learner takes it."""

import dataclasses
import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from distpg.errors import AnomalyError
from distpg.learner import trust_region
from distpg.learner.learner import Learner
from distpg.learner.trust_region import every_so_many, fisher_product
from distpg.policy.recurrent import SEQUENCE
from tests.learner.runs import (
    LONG,
    Run,
    assert_same,
    differ,
    parameters,
    policy_gradient,
    seen,
)

TRPO: dict[str, Any] = {**LONG, "algo": "trpo", "num_epochs": 1}
NPG: dict[str, Any] = {**TRPO, "algo": "npg"}
IMAGES: dict[str, Any] = {
    "env_id": "tests.environments:AnyKind-v0",
    "env_kwargs": {"kind": "image obs"},
    "num_slots": 1,
    "num_steps": 8,
    "minibatch_size": 8,
    "learner_threads": 1,
}


def step_of(run: Run, **settings: Any) -> tuple[np.ndarray, dict[str, float]]:
    """Update a copy of the learner; return the policy's step [P], and the scalars."""
    learner = run.make_learner(**settings)
    learner.load(run.learner.state())
    before = learner.optimizer.parts["policy"][0].clone()
    rollouts = run.collect()
    _, update = learner.update(rollouts)
    assert not update.rolled_back, update.scalars
    return (learner.optimizer.parts["policy"][0] - before).numpy(), update.scalars


@pytest.mark.parametrize(
    "settings",
    [
        {"env_id": "CartPole-v1"},
        {"env_id": "Pendulum-v1"},
        {"env_id": "Pendulum-v1", "action_distribution": "gsde", "sde_sample_freq": 4},
    ],
    ids=str,
)
def test_steps_that_are_accepted_gain_and_keep_to_the_kl(settings: dict[str, Any]) -> None:
    run = Run(**TRPO, **settings, max_kl=0.02, cg_damping=1e-3)
    accepted = 0.0
    for _ in range(12):
        before, rollouts = run.learner.weights(), run.collect()
        samples, _ = seen(run.learner, rollouts)
        weights, update = run.learner.update(rollouts)
        stats = update.scalars
        now = run.learner.policy.rebuild(run.learner.policy.parameters_at(samples.obs))
        kl = run.learner.policy.rebuild(samples.parameters).kl(now).mean()
        assert stats["train/kl_divergence_loss"] == pytest.approx(float(kl), rel=1e-3, abs=1e-7)
        assert float(kl) <= 0.02
        accepted += stats["gradient/step_accepted"]
        if stats["gradient/step_accepted"]:
            assert stats["gradient/actual_gain"] > 0 < stats["gradient/expected_gain"]
        else:
            assert_same(parameters(weights), parameters(before))
    assert accepted > 6


def test_without_a_line_search_the_step_is_taken_whatever_it_comes_to() -> None:
    run = Run(**NPG, max_kl=3.0, cg_damping=1e-3, seed=5)
    whole, stats = step_of(run)
    searched, other = step_of(Run(**TRPO, max_kl=3.0, cg_damping=1e-3, seed=5))
    assert (stats["gradient/step_accepted"], stats["gradient/line_search_steps"]) == (1, 0)
    assert stats["train/kl_divergence_loss"] > 3
    halvings = other["gradient/line_search_steps"] - 1
    assert halvings >= 1
    assert other["train/kl_divergence_loss"] <= 3
    np.testing.assert_allclose(searched * 2**halvings, whole, rtol=1e-3, atol=1e-5)


def test_a_step_that_no_length_of_holds_leaves_the_policy_bit_for_bit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = Run(**TRPO)
    run.iterate()
    before = run.learner.state()
    # every length is worse than nothing
    losses = itertools.count(0.0)

    def worse(*_: object) -> tuple[float, float]:
        return next(losses), 0.0

    monkeypatch.setattr(trust_region, "loss_and_kl", worse)
    weights, update = run.learner.update(run.collect())
    stats = update.scalars
    assert not update.rolled_back
    assert_same(parameters(weights), parameters(before.policy))
    assert stats["gradient/step_accepted"] == stats["train/kl_divergence_loss"] == 0
    assert stats["gradient/line_search_steps"] == run.config.line_search_steps
    assert stats["gradient/expected_gain"] == stats["gradient/actual_gain"] == 0
    # the critic learns all the same
    after = run.learner.state().arrays
    critic = {name: a for name, a in before.arrays.items() if name.startswith("critic/")}
    assert differ(critic, after)


def test_the_step_is_the_damped_fisher_matrix_inverted_on_the_gradient() -> None:
    run = Run(**NPG, hidden_sizes=(4,), cg_iterations=200, cg_damping=0.05, max_kl=1e-3)
    rollouts = run.collect()
    samples, _ = seen(run.learner, rollouts)
    gradient = policy_gradient(run.learner, rollouts)
    vector = np.concatenate([array.ravel() for array in gradient.values()]).astype(np.float64)
    rows = torch.eye(len(vector))
    fisher = torch.stack([fisher_product(run.learner.policy, samples.obs, row) for row in rows])
    damped = fisher.double().numpy() + 0.05 * np.eye(len(vector))
    direction = np.linalg.solve(damped, vector)
    expected = direction * np.sqrt(2e-3 / (direction @ damped @ direction))
    before = run.learner.optimizer.parts["policy"][0].clone()
    run.learner.update(rollouts)
    step = (run.learner.optimizer.parts["policy"][0] - before).numpy()
    np.testing.assert_allclose(step, expected, rtol=1e-2, atol=1e-5)


def scores(learner: Learner, obs: dict[str, Tensor], actions: Tensor) -> tuple[Tensor, Tensor]:
    """Return log pi(a|s) [B], and its gradient in the policy's parameters, [B, P]."""
    logprobs = learner.policy(obs).log_prob(actions)
    names = list(learner.policy.parameters())
    rows = [torch.autograd.grad(one, names, retain_graph=True) for one in logprobs]
    return logprobs.detach(), torch.stack([torch.cat([g.flatten() for g in row]) for row in rows])


def test_the_product_is_with_the_fisher_matrix_of_the_networks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = Run(**TRPO, hidden_sizes=(4,))
    samples, _ = seen(run.learner, run.collect())
    total = torch.zeros(())
    for action in (0, 1):
        actions = torch.full_like(samples.actions, action)
        logprobs, gradients = scores(run.learner, samples.obs, actions)
        total = total + torch.einsum("b,bp,bq->pq", logprobs.exp(), gradients, gradients)
    vector = torch.linspace(-1, 1, len(total))
    expected = total @ vector / len(samples)
    for rows in (1000, 7):
        # in parts, too
        monkeypatch.setattr(trust_region, "CHUNK_ROWS", rows)
        found = fisher_product(run.learner.policy, samples.obs, vector)
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-6)


def test_the_fisher_matrix_may_be_of_every_third_sample_of_each_env() -> None:
    run = Run(**TRPO)
    samples, _ = seen(run.learner, run.collect())
    envs = samples.envs.tolist()
    by_env = [row for env in sorted(set(envs)) for row in range(len(envs)) if envs[row] == env]
    found = every_so_many(samples, 3)
    torch.testing.assert_close(found["obs"], samples.obs["obs"][by_env[::3]], rtol=0, atol=0)
    assert every_so_many(samples, 1) is samples.obs


def test_of_a_recurrent_policy_it_is_of_every_third_sequence() -> None:
    run = Run(**TRPO, recurrent="gru", recurrent_size=8, sequence_length=5)
    samples, _ = seen(run.learner, run.collect())
    numbers = samples.obs[SEQUENCE]
    found = every_so_many(samples, 3)
    assert found[SEQUENCE].unique().tolist() == numbers.unique()[::3].tolist()
    kept = numbers.unsqueeze(-1).eq(found[SEQUENCE].unique()).any(-1)
    torch.testing.assert_close(found["obs"], samples.obs["obs"][kept], rtol=0, atol=0)


@pytest.mark.parametrize("settings", [{}, {"recurrent": "gru"}], ids=str)
def test_a_step_by_a_part_of_the_samples_is_nearly_that_by_all(settings: dict[str, Any]) -> None:
    one, half = (
        step_of(Run(**{**TRPO, **settings, "fisher_subsampling": factor, "num_steps": 128}))[0]
        for factor in (1, 2)
    )
    cosine = one @ half / np.linalg.norm(one) / np.linalg.norm(half)
    assert 0.9 < cosine < 1


@pytest.mark.parametrize(
    "kind", ["matrix action", "multi-discrete action", "multi-binary action", "image obs"]
)
def test_it_works_with_every_kind_of_policy(kind: str) -> None:
    settings = {**IMAGES, "env_kwargs": {"kind": kind}}
    stats = Run(**{**TRPO, **settings}, max_kl=1e-3).iterate()
    assert stats["gradient/step_accepted"] == 1
    assert 0 < stats["train/kl_divergence_loss"] <= 1e-3


def test_an_encoder_that_is_shared_moves_with_the_policy_alone() -> None:
    run = Run(**{**TRPO, **IMAGES})
    assert run.learner.model.shared
    rollouts = run.collect()
    other = run.make_learner(vf_coef=0.0, value_epochs=0)
    run.learner.update(rollouts)
    other.update(rollouts)
    assert_same(run.learner.weights().arrays, other.weights().arrays)


def test_the_critic_takes_its_steps_by_the_optimizer_and_the_policy_none() -> None:
    run = Run(**TRPO)
    run.iterate()
    kept = run.learner.optimizer.states
    assert not any(array.any() for array in kept["policy"].moments.values())
    # one with the policy's, then the epochs of its own, in minibatches of 64
    steps = 1 + run.config.value_epochs * math.ceil(run.learner.trained_steps / 64)
    assert int(kept["critic"].steps) == run.learner.num_updates == steps


def test_minibatches_bound_memory_and_change_nothing_else() -> None:
    settings = {"value_epochs": 0}
    whole, _ = step_of(Run(**TRPO, **settings), minibatch_size=None)
    parts, _ = step_of(Run(**TRPO, **settings), minibatch_size=16)
    np.testing.assert_allclose(parts, whole, rtol=1e-3, atol=1e-5)


def test_the_unit_of_the_rewards_does_not_matter() -> None:
    run = Run(
        **{**NPG, "num_slots": 1},
        normalize_advantages=False,
        baseline="none",
        advantage="reward_to_go",
    )
    other = run.make_learner()
    rollouts = run.collect()
    # the length of a step is that of the KL
    scaled = [dataclasses.replace(r, rewards=r.rewards * np.float32(64)) for r in rollouts]
    run.learner.update(rollouts)
    other.update(scaled)
    for name, array in run.learner.weights().arrays.items():
        np.testing.assert_allclose(other.weights().arrays[name], array, rtol=1e-3, atol=1e-5)


def test_nothing_to_learn_from_is_no_step() -> None:
    for settings in (TRPO, NPG):
        run = Run(**settings, normalize_advantages=False, advantage="reward_to_go", gamma=0.0)
        before = run.learner.weights()
        rollouts = run.collect()
        values = seen(run.learner, rollouts)[1].values
        paid = [
            dataclasses.replace(r, rewards=values.numpy()[:, 2 * r.slot : 2 * r.slot + 2].copy())
            for r in rollouts
        ]
        weights, update = run.learner.update(paid)
        assert not update.rolled_back
        assert_same(parameters(weights), parameters(before))


def test_a_gradient_that_is_no_number_is_an_anomaly() -> None:
    run = Run(**TRPO)
    rollouts = run.collect()
    with torch.no_grad():
        run.learner.optimizer.parts["critic"][0].fill_(math.nan)
    with pytest.raises(AnomalyError):
        run.learner.improve(rollouts)


def test_of_a_short_step_the_gain_is_what_the_gradient_says_entropy_included() -> None:
    run = Run(**TRPO, max_kl=1e-4, ent_coef=10.0)
    # far from uniform, where the entropy has no slope
    with torch.no_grad():
        run.learner.policy.head.bias.copy_(torch.tensor([1.0, -1.0]))
    run.learner.published = run.learner.snapshot()
    stats = run.iterate()
    assert stats["gradient/step_accepted"] == 1
    gains = stats["gradient/actual_gain"], stats["gradient/expected_gain"]
    assert gains[0] == pytest.approx(gains[1], rel=0.05)
