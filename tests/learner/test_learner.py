import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from distpg.errors import RunError
from distpg.gradient.advantages import gae
from distpg.learner.learner import Learner
from distpg.learner.minibatch import Gradient
from distpg.records import Rollout, Weights
from tests.learner.runs import (
    LONG,
    ONE_STEP,
    Run,
    assert_same,
    assert_same_state,
    differ,
    norm,
    parameters,
    seen,
    targets_of,
)


def statistic(weights: Weights, name: str) -> np.ndarray:
    (array,) = [a for n, a in weights.arrays.items() if n.endswith(f".{name}")]
    return array


def first_gradient(learner: Learner) -> dict[str, np.ndarray]:
    """Read a learner's only gradient so far from Adam's first moment, a tenth of it."""
    prefix = "optimizer/exp_avg/"
    arrays = learner.state().arrays.items()
    flat = {n.removeprefix(prefix): a * 10 for n, a in arrays if n.startswith(prefix)}
    found: dict[str, np.ndarray] = {}
    for name, parameter in learner.model.named_parameters():
        part = name.partition(".")[0]
        mine, flat[part] = np.split(flat[part], [parameter.numel()])
        found[name] = mine.reshape(parameter.shape)
    assert not any(len(rest) for rest in flat.values())
    return found


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"minibatch_size": 5},
        {"normalize_rewards": True},
        {"target_kl": 0.01},
        {"baseline": "none", "advantage": "total_return"},
        {"baseline": "mean", "advantage": "reward_to_go"},
        {"baseline": "value", "advantage": "reward_to_go", "minibatch_size": 7},
        {"algo": "a2c", "num_epochs": 1},
        {"algo": "reinforce", "num_epochs": 1, "minibatch_size": None},
        {"algo": "trpo", "num_epochs": 1},
        {"algo": "npg", "num_epochs": 1},
        {"episodes_per_env": 2},
    ],
    ids=str,
)
def test_an_update_gives_the_next_version_and_finite_statistics(settings: dict[str, Any]) -> None:
    run = Run(**settings)
    for version in range(2):
        before = run.learner.weights()
        rollouts = run.collect()
        weights, update = run.learner.update(rollouts)
        stats = update.scalars
        assert (before.version, weights.version) == (version, version + 1)
        assert differ(parameters(weights), parameters(before))
        assert_same(weights.arrays, run.learner.snapshot().policy.arrays)
        assert all(np.isfinite(value) for value in stats.values()), stats
        assert stats["train/entropy_loss"] < 0
        assert ("train/value_loss" in stats) == (run.config.baseline == "value")


def test_a_rollout_of_another_version_is_refused_and_its_slot_named() -> None:
    run = Run()
    stale = run.collect()
    run.learner.update(stale)
    fresh = run.collect()
    with pytest.raises(RunError, match=r"slot 1 acted with version 0 .* is at version 1"):
        run.learner.update([fresh[0], stale[1]])


@pytest.mark.parametrize("pick", [[0], [0, 0], [1, 0], [0, 1, 1], []], ids=str)
def test_a_batch_without_each_slot_once_in_order_is_refused(pick: list[int]) -> None:
    run = Run()
    rollouts = run.collect()
    with pytest.raises(RunError, match="each of 2 slots once"):
        run.learner.update([rollouts[slot] for slot in pick])


def tampered(rollout: Rollout, by: float) -> Rollout:
    return dataclasses.replace(rollout, logprobs=rollout.logprobs + np.float32(by))


@pytest.mark.parametrize("slot", [0, 1])
@pytest.mark.parametrize("by", [0.1, -0.1, 2e-3])
def test_a_rollout_that_another_policy_played_is_refused_and_its_slot_named(
    slot: int, by: float
) -> None:
    run = Run(minibatch_size=None)
    rollouts = run.collect()
    rollouts[slot] = tampered(rollouts[slot], by)
    with pytest.raises(RunError, match=f"slot {slot} "):
        run.learner.update(rollouts)


def test_a_single_step_that_another_policy_played_is_refused() -> None:
    run = Run(minibatch_size=None)
    rollouts = run.collect()
    rollouts[1].logprobs[3, 1] += 0.01
    with pytest.raises(RunError, match=r"slot 1 .* max"):
        run.learner.update(rollouts)


def test_many_small_differences_are_refused_by_their_median() -> None:
    run = Run(minibatch_size=None)
    rollouts = [tampered(rollout, 1e-4) for rollout in run.collect()]
    with pytest.raises(RunError, match="median"):
        run.learner.update(rollouts)


def test_a_logprob_that_is_no_number_is_refused() -> None:
    run = Run(minibatch_size=None)
    rollouts = [tampered(rollout, float("nan")) for rollout in run.collect()]
    with pytest.raises(RunError):
        run.learner.update(rollouts)


def test_a_refused_batch_leaves_policy_and_version_as_they_were() -> None:
    run = Run(minibatch_size=None)
    before = run.learner.state()
    rollouts = run.collect()
    for refused in (rollouts[:1], [rollouts[0], tampered(rollouts[1], 0.1)]):
        with pytest.raises(RunError):
            run.learner.update(refused)
    assert_same_state(run.learner.snapshot(), before)


@pytest.mark.parametrize("settings", [{}, {"algo": "a2c", "num_epochs": 1}, LONG], ids=str)
def test_on_the_first_minibatch_of_every_update_the_ratio_is_1(settings: dict[str, Any]) -> None:
    # from the second update on, the normalizer has statistics that acting and updating must share
    run = Run(**settings)
    for _ in range(3):
        stats = run.iterate()
        assert 0 <= stats["train/on_policy_median"] <= 1e-6
        assert 0 <= stats["train/on_policy_max"] <= 1e-5


@pytest.mark.parametrize(
    "settings",
    [
        {"log_std": "state"},
        {"action_distribution": "squashed_gaussian", "ent_coef": 0.01},
        {"action_distribution": "squashed_gaussian", "log_std": "state", "algo": "ppo_kl"},
        {"action_distribution": "beta", "ent_coef": 0.01},
        {"action_distribution": "beta", "algo": "ppo_kl"},
        {"action_distribution": "beta", "surrogate": "importance", "advantage": "vtrace"},
        {"action_distribution": "gsde", "ent_coef": 0.01},
        {"action_distribution": "gsde", "acting": "torch", "sde_sample_freq": 3},
        {"action_distribution": "gsde", "algo": "ppo_kl"},
        {"action_distribution": "gsde", "surrogate": "importance", "advantage": "vtrace"},
        {"action_distribution": "gsde", "recurrent": "lstm", "normalize_rewards": True},
    ],
    ids=str,
)
def test_every_distribution_of_continuous_actions_is_learned_from_as_it_was_played(
    settings: dict[str, Any],
) -> None:
    run = Run(env_id="Pendulum-v1", **{**LONG, "learning_rate": 0.02, **settings})
    before = run.learner.weights()
    for _ in range(4):
        stats = run.iterate()
        assert stats["train/on_policy_max"] <= 1e-5
        assert all(np.isfinite(value) for value in stats.values()), stats
        assert stats["train/approx_kl"] > 0
        assert stats["train/std"] > 0
    assert differ(parameters(run.learner.weights()), parameters(before))


def test_a_single_step_on_the_whole_batch_measures_no_divergence() -> None:
    stats = Run(**ONE_STEP).iterate()
    assert abs(stats["train/approx_kl"]) < 1e-6
    assert stats["train/clip_fraction"] == 0


def test_steps_after_the_first_move_the_ratio_away_from_1() -> None:
    stats = Run(num_epochs=5, learning_rate=0.02).iterate()
    assert stats["train/approx_kl"] > 1e-4
    assert stats["train/clip_fraction"] > 0


def test_clipping_takes_a_step_for_each_minibatch_of_each_epoch() -> None:
    run = Run(num_epochs=3, minibatch_size=10)
    # 2 slots x 2 envs x 8 steps = 32 samples are 4 minibatches, the last of 2
    assert run.iterate()["train/optimizer_steps"] == 12


@pytest.mark.parametrize("minibatch_size", [None, 8, 5])
def test_log_prob_takes_exactly_one_step_a_batch(minibatch_size: int | None) -> None:
    run = Run(algo="a2c", num_epochs=1, minibatch_size=minibatch_size)
    for number in (1, 2):
        assert run.iterate()["train/optimizer_steps"] == number
        steps = {float(a) for n, a in run.learner.state().arrays.items() if "/step/" in n}
        assert steps == {number}


@pytest.mark.parametrize("minibatch_size", [8, 5, 1])
def test_with_log_prob_the_size_of_minibatches_bounds_memory_alone(minibatch_size: int) -> None:
    run = Run(algo="a2c", num_epochs=1, minibatch_size=None, ent_coef=0.01)
    micro = run.make_learner(minibatch_size=minibatch_size)
    for _ in range(2):
        rollouts = run.collect()
        whole, whole_update = run.learner.update(rollouts)
        parts, parts_update = micro.update(rollouts)
        whole_stats, parts_stats = whole_update.scalars, parts_update.scalars
        for name, array in whole.arrays.items():
            np.testing.assert_allclose(parts.arrays[name], array, rtol=0, atol=1e-6)
        for name in ("train/policy_gradient_loss", "train/value_loss", "train/entropy_loss"):
            assert parts_stats[name] == pytest.approx(whole_stats[name], abs=1e-5)
        assert parts_stats["gradient/norm"] == pytest.approx(whole_stats["gradient/norm"], rel=1e-4)


def test_the_first_gradient_of_ppo_is_the_policy_gradient() -> None:
    run = Run(**ONE_STEP, **{"num_steps": 40}, ent_coef=0.01)
    reinforce = run.make_learner(surrogate="log_prob")
    rollouts = run.collect()
    run.learner.update(rollouts)
    reinforce.update(rollouts)
    clipped, plain = first_gradient(run.learner), first_gradient(reinforce)
    assert norm(plain) > 1e-3
    assert clipped.keys() == plain.keys()
    for name, gradient in plain.items():
        np.testing.assert_allclose(clipped[name], gradient, rtol=0, atol=1e-6, err_msg=name)


def update_by_definition(
    learner: Learner, rollouts: list[Rollout]
) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """Write the loss of the whole batch down, slot by slot; return its gradient and its terms."""
    config = learner.config
    columns: dict[str, list[Tensor]] = {"score": [], "entropy": [], "v": [], "target": []}
    for rollout in rollouts:
        raw = {"obs": torch.tensor(rollout.obs["obs"])}
        seen = learner.policy.normalizer(raw)
        acting, values = learner.policy({"obs": seen["obs"][:-1]}), learner.model.values(seen)
        advantages = gae(
            torch.tensor(rollout.rewards),
            values[:-1].detach(),
            values[1:].detach(),
            torch.tensor(rollout.terminated),
            torch.tensor(rollout.truncated),
            gamma=config.gamma,
            gae_lambda=config.gae_lambda,
        )
        valid = torch.tensor(rollout.valid)
        columns["score"].append(acting.log_prob(torch.tensor(rollout.actions))[valid])
        columns["entropy"].append(acting.entropy()[valid])
        columns["v"].append(values[:-1][valid])
        columns["target"].append((advantages + values[:-1].detach())[valid])
    score, entropy, v, target = (torch.cat(parts) for parts in columns.values())
    weights = target - v.detach()
    if config.normalize_advantages:
        weights = (weights - weights.mean()) / weights.std(correction=0)
    value_loss = ((target - v) ** 2).mean()
    loss = -(weights * score).mean() - config.ent_coef * entropy.mean()
    names, parameters = zip(*learner.model.named_parameters(), strict=True)
    gradients = torch.autograd.grad(loss + config.vf_coef * value_loss, parameters)
    terms = {
        "train/entropy_loss": -float(entropy.mean()),
        "train/value_loss": float(value_loss),
        "train/explained_variance": 1 - float((target - v).var() / target.var()),
    }
    return {n: g.numpy() for n, g in zip(names, gradients, strict=True)}, terms


@pytest.mark.parametrize("surrogate", ["log_prob", "clip"])
@pytest.mark.parametrize("normalize_advantages", [True, False])
def test_the_gradient_is_that_of_the_loss_as_defined(
    surrogate: str, normalize_advantages: bool
) -> None:
    settings = {"surrogate": surrogate, "normalize_advantages": normalize_advantages}
    run = Run(**ONE_STEP, **settings, num_steps=40, ent_coef=0.1, vf_coef=0.7, gae_lambda=0.8)
    run.iterate()
    # a fresh optimizer, and a normalizer that has seen something
    fresh = run.make_learner()
    fresh.start_from(run.learner.state())
    run.learner = fresh
    rollouts = run.collect()
    assert all(rollout.terminated.any() for rollout in rollouts)
    ended = rollouts[1].terminated
    rollouts[1] = dataclasses.replace(rollouts[1], terminated=ended & False, truncated=ended)
    expected, terms = update_by_definition(fresh, rollouts)
    _, update = fresh.update(rollouts)
    found = first_gradient(fresh)
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        np.testing.assert_allclose(found[name], gradient, rtol=1e-3, atol=1e-5, err_msg=name)
    for name, term in terms.items():
        assert update.scalars[name] == pytest.approx(term, rel=1e-3), name


def test_advantages_are_normalized_over_each_minibatch() -> None:
    run = Run(**ONE_STEP, num_steps=40)
    samples, trajectories = seen(run.learner, run.collect())
    targets = targets_of(run.learner, samples, trajectories)

    def gradient(advantages: list[float], **settings: Any) -> np.ndarray:
        learner = run.make_learner(**settings)
        learner.load(run.learner.state())
        values = torch.zeros(len(samples))
        values[:4] = torch.tensor(advantages)
        coefficients, _ = learner.schedules.now(0)
        learner.steps.begin(samples, dataclasses.replace(targets, advantages=values), coefficients)
        return learner.steps.gradient(torch.arange(4)).flat.numpy()

    over_minibatch = {"normalize_over": "minibatch"}
    # mean 3, variance (4 + 1 + 0 + 9) / 4 = 3.5
    worked = [-2 / 3.5**0.5, -1 / 3.5**0.5, 0.0, 3 / 3.5**0.5]
    given = [1.0, 2.0, 3.0, 6.0]
    np.testing.assert_allclose(gradient(given, **over_minibatch), gradient(worked), atol=1e-6)
    off = gradient(given, **over_minibatch, normalize_advantages=False)
    np.testing.assert_array_equal(off, gradient(given))
    assert np.abs(gradient(given) - gradient(worked)).max() > 1e-3


def test_the_gradient_is_cut_to_its_norm() -> None:
    run = Run(**{**ONE_STEP, "max_grad_norm": 1e-3})
    free = run.make_learner(max_grad_norm=1e6)
    rollouts = run.collect()
    _, update = run.learner.update(rollouts)
    _, free_update = free.update(rollouts)
    cut, whole = first_gradient(run.learner), first_gradient(free)
    assert norm(whole) > 0.01
    assert norm(cut) == pytest.approx(1e-3, rel=1e-3)
    # what is reported is the norm before the cut
    for reported in (update, free_update):
        assert reported.scalars["gradient/norm"] == pytest.approx(norm(whole), rel=1e-4)
    for name, gradient in whole.items():
        np.testing.assert_allclose(cut[name], gradient * 1e-3 / norm(whole), rtol=1e-3, atol=1e-9)


def test_the_linear_schedule_falls_to_0_and_then_nothing_moves() -> None:
    # 32 samples a batch: no episode of CartPole ends within 7 steps
    run = Run(lr_schedule="linear", total_steps=64, learning_rate=0.01)
    assert run.iterate()["train/learning_rate"] == pytest.approx(0.01)
    assert run.iterate()["train/learning_rate"] == pytest.approx(0.005)
    while run.learner.trained_steps < 64:
        run.iterate()
    before = run.learner.weights()
    assert run.iterate()["train/learning_rate"] == 0
    assert_same(parameters(run.learner.weights()), parameters(before))


def test_the_constant_schedule_stays() -> None:
    run = Run(total_steps=1, learning_rate=0.01)
    assert [run.iterate()["train/learning_rate"] for _ in range(3)] == [0.01] * 3


def test_the_normalizer_moves_after_the_update_and_counts_the_valid_rows() -> None:
    run = Run(**LONG)
    seen: list[np.ndarray] = []
    rows = 0
    for _ in range(3):
        before = run.learner.weights()
        rollouts = run.collect()
        valid = [rollout.valid for rollout in rollouts]
        assert not all(flags.all() for flags in valid)
        assert_same(run.learner.snapshot().policy.arrays, before.arrays)
        assert float(statistic(before, "count")) == rows
        weights, _ = run.learner.update(rollouts)
        rows += sum(int(flags.sum()) for flags in valid)
        seen += [r.obs["obs"][:-1][flags] for r, flags in zip(rollouts, valid, strict=True)]
        assert float(statistic(weights, "count")) == rows
        everything = np.concatenate(seen).astype(np.float64)
        np.testing.assert_allclose(statistic(weights, "mean"), everything.mean(0), atol=1e-9)
        np.testing.assert_allclose(statistic(weights, "variance"), everything.var(0), atol=1e-9)
    assert run.learner.trained_steps == rows


def test_what_stands_on_invalid_rows_does_not_enter_the_update() -> None:
    run = Run(**LONG, normalize_rewards=True)
    other = run.make_learner()
    rollouts = run.collect()
    assert not all(rollout.valid.all() for rollout in rollouts)
    changed = [
        dataclasses.replace(
            rollout,
            actions=np.where(rollout.valid, rollout.actions, 1 - rollout.actions),
            logprobs=np.where(rollout.valid, rollout.logprobs, np.float32(-9)),
            rewards=np.where(rollout.valid, rollout.rewards, np.float32(1e6)),
        )
        for rollout in rollouts
    ]
    run.learner.update(rollouts)
    other.update(changed)
    assert_same_state(run.learner.state(), other.state())


def test_an_update_does_not_alter_the_rollouts() -> None:
    run = Run(**LONG, normalize_rewards=True)
    rollouts = run.collect()
    fields = ("actions", "logprobs", "rewards", "terminated", "truncated", "valid")
    kept = [
        {name: getattr(r, name).copy() for name in fields} | {"obs": r.obs["obs"].copy()}
        for r in rollouts
    ]
    run.learner.update(rollouts)
    for rollout, arrays in zip(rollouts, kept, strict=True):
        assert_same({name: getattr(rollout, name) for name in fields} | dict(rollout.obs), arrays)


@pytest.mark.parametrize(
    "settings",
    [
        {**LONG, "normalize_rewards": True, "lr_schedule": "linear", "total_steps": 1000},
        {"algo": "a2c", "num_epochs": 1},
        {"algo": "reinforce", "num_epochs": 1, "minibatch_size": None},
        {**LONG, "optimizer": "sgd", "learning_rate": 0.01},
        {"optimizer": "sgd", "momentum": 0.0, "learning_rate": 0.01},
        {"algo": "ppo_kl", "lr_schedule": "kl_adaptive", "clip_schedule": "kl_adaptive"},
        {**LONG, "surrogate": "importance", "advantage": "vtrace", "importance_clip": 1.1},
        {
            "surrogate": "importance",
            "advantage": "reward_to_go",
            "episodes_per_env": 1,
            "minibatch_size": 50,
        },
        {"advantage": "vtrace", "rho_bar": 0.9, "ent_coef": 0.01, "ent_schedule": "linear"},
        {**LONG, "advantage": "n_step", "value_epochs": 2, "value_clip": 0.1},
        {"algo": "trpo", "num_epochs": 1, "lr_schedule": "kl_adaptive", "ent_coef": 0.01},
        {"algo": "npg", "num_epochs": 1, "optimizer": "sgd", "learning_rate": 1e-3},
        {"hidden_sizes": (), "optimizer": "sgd", "value_epochs": 1, "loss_average": "per_episode"},
        {"env_id": "Pendulum-v1", "action_distribution": "beta", "ent_coef": 0.01},
        {"env_id": "Pendulum-v1", "action_distribution": "squashed_gaussian", "log_std": "state"},
        {
            "optimizer": "rmsprop_tf",
            "weight_decay": 0.1,
            "value_clip": 0.5,
            "value_clip_schedule": "linear",
        },
        {
            "env_id": "distpg/CartPoleNoVel-v1",
            "recurrent": "lstm",
            "recurrent_size": 8,
            "recurrent_layers": 2,
            "recurrent_critic": "own",
            "recompute_advantages": True,
        },
        {"env_id": "Pendulum-v1", "action_distribution": "gsde", "sde_sample_freq": 3},
    ],
    ids=[
        "ppo",
        "a2c",
        "reinforce",
        "sgd",
        "plain sgd",
        "ppo_kl",
        "importance",
        "importance, whole episodes",
        "vtrace",
        "value epochs",
        "trpo",
        "npg",
        "linear",
        "beta",
        "squashed",
        "rmsprop",
        "own recurrent layers",
        "gsde",
    ],
)
def test_a_learner_that_is_loaded_goes_on_bit_for_bit(settings: dict[str, Any]) -> None:
    run = Run(**settings)
    run.iterate()
    run.iterate()
    other = run.make_learner()
    other.load(run.learner.state())
    assert_same_state(other.state(), run.learner.state())
    for _ in range(2):
        rollouts = run.collect()
        weights, update = run.learner.update(rollouts)
        other_weights, other_update = other.update(rollouts)
        assert_same(weights.arrays, other_weights.arrays)
        timeless = {"learner_s": 0.0, "prepare_s": 0.0}
        assert dataclasses.replace(update, **timeless) == dataclasses.replace(
            other_update, **timeless
        )
        assert_same_state(other.state(), run.learner.state())


def test_the_state_is_a_copy() -> None:
    run = Run(normalize_rewards=True)
    run.iterate()
    state = run.learner.state()
    kept = {name: array.copy() for name, array in {**state.policy.arrays, **state.arrays}.items()}
    run.iterate()
    assert_same({**state.policy.arrays, **state.arrays}, kept)


def test_learners_of_one_seed_begin_alike_and_those_of_another_differ() -> None:
    run = Run()
    assert_same_state(run.make_learner().state(), run.learner.state())
    other = run.make_learner(seed=2)
    assert differ(other.weights().arrays, run.learner.weights().arrays)


def test_starting_from_another_run_takes_its_networks_and_nothing_else() -> None:
    run = Run()
    run.iterate()
    state = run.learner.state()
    other = run.make_learner(seed=2)
    other.start_from(state)
    assert_same(other.weights().arrays, state.policy.arrays)
    critic = {name: array for name, array in state.arrays.items() if name.startswith("critic/")}
    assert critic
    assert_same({name: other.state().arrays[name] for name in critic}, critic)
    assert set(other.state().counters.values()) == {0}
    kept = {n: a for n, a in other.state().arrays.items() if n.startswith("optimizer/")}
    assert kept
    assert not any(array.any() for array in kept.values())


def test_a_small_target_kl_ends_the_update_early() -> None:
    free = Run(num_epochs=10, learning_rate=0.02)
    stats = free.iterate()
    assert (stats["train/early_stop"], stats["train/optimizer_steps"]) == (0, 40)
    assert stats["train/approx_kl"] > 4.5e-3
    early = Run(num_epochs=10, learning_rate=0.02, target_kl=3e-3)
    stopped = early.iterate()
    assert stopped["train/early_stop"] == 1
    assert 1 <= stopped["train/optimizer_steps"] < 40
    # minibatches over the limit are not learned from
    assert stopped["train/approx_kl"] <= 4.5e-3


def test_a_large_target_kl_changes_nothing() -> None:
    run = Run()
    other = run.make_learner(target_kl=1e3)
    rollouts = run.collect()
    run.learner.update(rollouts)
    other.update(rollouts)
    assert_same_state(run.learner.state(), other.state())


def test_the_sign_of_rewards_is_what_is_learned_from() -> None:
    run = Run()
    signed = run.make_learner(sign_rewards="on")
    rollouts = run.collect()
    tripled = [dataclasses.replace(r, rewards=r.rewards * np.float32(3)) for r in rollouts]
    # CartPole pays 1 a step, its own sign
    run.learner.update(rollouts)
    signed.update(tripled)
    assert_same_state(run.learner.state(), signed.state())


@pytest.mark.parametrize(
    "settings", [{"normalize_rewards": True}, {"algo": "reinforce", "baseline": "none"}], ids=str
)
def test_scaled_credit_does_not_depend_on_the_unit_of_the_rewards(settings: dict[str, Any]) -> None:
    run = Run(**{**LONG, **settings}, **({"num_epochs": 1} if "algo" in settings else {}))
    other = run.make_learner()
    rollouts = run.collect()
    scaled = [dataclasses.replace(r, rewards=r.rewards * np.float32(64)) for r in rollouts]
    one, _ = run.learner.update(rollouts)
    two, _ = other.update(scaled)
    for name, array in one.arrays.items():
        np.testing.assert_allclose(two.arrays[name], array, rtol=0, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("better", [0, 1])
def test_actions_that_pay_become_likelier(better: int) -> None:
    run = Run(gamma=0.0, gae_lambda=0.0, num_epochs=4, learning_rate=3e-3, **{"num_steps": 20})
    chosen: list[float] = []
    for _ in range(8):
        rollouts = run.collect()
        valid = np.concatenate([rollout.valid for rollout in rollouts], 1)
        actions = np.concatenate([rollout.actions for rollout in rollouts], 1)[valid]
        chosen.append(float((actions == better).mean()))
        paid = [(rollout.actions == better).astype(np.float32) for rollout in rollouts]
        run.learner.update(
            [dataclasses.replace(r, rewards=pay) for r, pay in zip(rollouts, paid, strict=True)]
        )
    assert chosen[-1] > 0.8 > 0.7 > chosen[0]


def test_weights_do_not_move_while_the_learner_updates() -> None:
    run = Run()
    weights = run.learner.weights()
    kept = {name: array.copy() for name, array in weights.arrays.items()}
    run.iterate()
    assert_same(weights.arrays, kept)


def test_kl_and_loss_are_those_that_stable_baselines3_reports(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # of the last epoch's minibatches and of the last minibatch; all other terms are means over all
    run = Run(num_epochs=3, learning_rate=0.01)
    gradient, losses, kls = run.learner.steps.gradient, list[float](), list[float]()

    def watched(rows: Tensor) -> Gradient:
        found = gradient(rows)
        losses.append(float(found.terms[-1]))
        kls.append(float((found.log_ratio.exp() - 1 - found.log_ratio).mean()))
        return found

    monkeypatch.setattr(run.learner.steps, "gradient", watched)
    stats = run.iterate()
    assert len(kls) == 12
    assert stats["train/approx_kl"] == pytest.approx(np.mean(kls[8:]), rel=1e-3)
    assert abs(np.mean(kls[8:]) - np.mean(kls)) > 1e-4
    assert stats["train/loss"] == losses[-1]
    policy, entropy, value = (
        stats[f"train/{name}"] for name in ("policy_gradient_loss", "entropy_loss", "value_loss")
    )
    config = run.config
    total = policy + config.ent_coef * entropy + config.vf_coef * value
    assert total == pytest.approx(np.mean(losses), rel=1e-4)
