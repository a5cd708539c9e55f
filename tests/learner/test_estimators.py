"""The family of estimators as the learner puts it together."""

import dataclasses
import itertools
import math
import typing
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from distpg.config.config import Config, hints
from distpg.learner import diagnosis
from distpg.learner.learner import Learner
from distpg.learner.objective import surrogate_inputs
from distpg.policy.distributions import Categorical
from distpg.records import Rollout
from tests.learner.runs import (
    LONG,
    ONE_STEP,
    Run,
    arrays_of,
    assert_close,
    assert_same,
    differ,
    norm,
    parameters,
    policy_gradient,
    seen,
    targets_of,
)

SURROGATES: tuple[str, ...] = typing.get_args(hints()["surrogate"])
BASELINES: tuple[str, ...] = typing.get_args(hints()["baseline"])
KINDS: tuple[str, ...] = typing.get_args(hints()["importance"])
PSI: list[dict[str, Any]] = [
    {"advantage": "total_return"},
    {"advantage": "reward_to_go"},
    {"advantage": "n_step", "bootstrap_steps": "inf"},
    {"advantage": "n_step", "bootstrap_steps": 3},
    {"advantage": "gae"},
    {"advantage": "vtrace"},
]
IMAGES: dict[str, Any] = {
    "env_id": "tests.environments:AnyKind-v0",
    "env_kwargs": {"kind": "image obs"},
    "num_slots": 1,
    "num_steps": 4,
    "learner_threads": 1,
}
SGD: dict[str, Any] = {"optimizer": "sgd", "momentum": 0.0, "learning_rate": 0.1}


def legal() -> list[dict[str, Any]]:
    """List every Psi, baseline and surrogate that go together."""
    found: list[dict[str, Any]] = []
    for psi, baseline, surrogate in itertools.product(PSI, BASELINES, SURROGATES):
        if baseline == "value" or not Config(**psi).bootstraps:
            found.append({**psi, "baseline": baseline, "surrogate": surrogate})
    return found


def epochs_of(surrogate: str) -> int:
    return 1 if surrogate in ("log_prob", "detached_ratio", "trust_region") else 2


@pytest.mark.parametrize("settings", legal(), ids=lambda one: " ".join(map(str, one.values())))
def test_every_legal_combination_updates_with_finite_statistics(settings: dict[str, Any]) -> None:
    run = Run(
        **settings, num_epochs=epochs_of(settings["surrogate"]), minibatch_size=40, num_steps=16
    )
    before = run.learner.weights()
    stats = run.iterate()
    assert differ(parameters(run.learner.weights()), parameters(before))
    assert all(np.isfinite(array).all() for array in run.learner.state().arrays.values())
    assert all(math.isfinite(value) for value in stats.values()), stats
    assert ("train/value_loss" in stats) == (settings["baseline"] == "value")


@pytest.mark.parametrize("psi", PSI, ids=lambda one: " ".join(map(str, one.values())))
def test_at_the_parameters_that_acted_every_surrogate_has_the_same_gradient(
    psi: dict[str, Any],
) -> None:
    run = Run(**LONG, **psi)
    run.iterate()  # so that V and normalizer have something to say
    state, rollouts = run.learner.state(), run.collect()
    gradients: dict[str, dict[str, np.ndarray]] = {}
    for surrogate, kind in itertools.product(SURROGATES, KINDS):
        settings = {"surrogate": surrogate, "importance": kind}
        learner = run.make_learner(**settings, num_epochs=1)
        learner.load(state)
        gradients[f"{surrogate} {kind}"] = policy_gradient(learner, rollouts)
    reference = gradients["log_prob per_step"]
    assert norm(reference) > 1e-3
    for gradient in gradients.values():
        assert_close(gradient, reference)


def moved(before: dict[str, np.ndarray], after: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: after[name] - array for name, array in before.items()}


@pytest.mark.parametrize("surrogate", [one for one in SURROGATES if one != "trust_region"])
def test_the_first_step_of_sgd_is_the_learning_rate_times_the_policy_gradient(
    surrogate: str,
) -> None:
    settings: dict[str, Any] = {**LONG, **ONE_STEP, "advantage": "reward_to_go"}
    run = Run(**settings, baseline="time", surrogate=surrogate, optimizer="sgd", learning_rate=0.5)
    rollouts = run.collect()
    gradient = policy_gradient(run.learner, rollouts)
    before = parameters(run.learner.weights())
    run.learner.update(rollouts)
    step = moved(before, parameters(run.learner.weights()))
    assert_close(step, {name: 0.5 * array for name, array in gradient.items()})


MOVING = [{"surrogate": "importance", "importance": kind} for kind in KINDS] + [
    {"surrogate": "importance", "importance": "per_decision", "advantage": "total_return"},
    {"surrogate": "importance", "importance": "trajectory", "importance_clip": 1.05},
    {"surrogate": "clip"},
    {"surrogate": "kl_fixed", "kl_coef": 5.0},
]


@pytest.mark.parametrize("settings", MOVING, ids=lambda one: " ".join(map(str, one.values())))
def test_the_second_step_follows_the_gradient_at_the_parameters_that_the_first_led_to(
    settings: dict[str, Any],
) -> None:
    settings = {"advantage": "reward_to_go", "baseline": "none"} | settings
    run = Run(**{**LONG, **ONE_STEP, **SGD}, **settings)
    twice = run.make_learner(num_epochs=2)
    rollouts = run.collect()
    samples, trajectories = seen(run.learner, rollouts)
    stale = targets_of(run.learner, samples, trajectories)
    twice.update(rollouts)
    run.learner.update(rollouts)
    first = parameters(run.learner.weights())
    fresh = targets_of(run.learner, samples, trajectories)
    gradient = arrays_of(diagnosis.policy_gradient(run.learner, samples, fresh))
    step = moved(first, parameters(twice.weights()))
    assert norm(step) > 1e-4
    assert_close(step, {name: 0.1 * array for name, array in gradient.items()})
    # as if nothing had moved, it would be another step
    if settings["surrogate"] == "importance":
        blind = arrays_of(diagnosis.policy_gradient(run.learner, samples, stale))
        assert norm(moved(blind, gradient)) > 1e-3 * norm(gradient)


def gradient_by_definition(learner: Learner, rollouts: list[Rollout]) -> dict[str, np.ndarray]:
    """Sum weights times rewards times scores, episode by episode, in plain loops."""
    config, total, count = learner.config, torch.zeros(()), 0
    for rollout, env in itertools.product(rollouts, range(learner.config.num_envs)):
        obs = {"obs": torch.tensor(rollout.obs["obs"][:-1, env])}
        actions = torch.tensor(rollout.actions[:, env])
        logprobs = learner.policy(learner.policy.normalizer(obs)).log_prob(actions)
        ratios = np.exp(logprobs.detach().numpy() - rollout.logprobs[:, env])
        (rows,) = rollout.valid[:, env].nonzero()
        ends = (rollout.terminated | rollout.truncated)[:, env]
        episodes = np.split(rows, ends[rows].nonzero()[0] + 1)
        for episode in filter(len, episodes):
            assert ends[episode[-1]], "whole episodes"
            for k, row in enumerate(episode):
                weight, to_go = weigh(config, ratios[episode], k), 0.0
                for ahead, later in enumerate(episode[k:]):
                    through = 1.0
                    if config.importance == "per_decision":
                        through = float(ratios[episode[k + 1 : k + ahead + 1]].prod())
                    to_go += config.gamma**ahead * through * float(rollout.rewards[later, env])
                total = total + weight * to_go * logprobs[row]
                count += 1
    names, tensors = zip(*learner.policy.named_parameters(), strict=True)
    gradients = torch.autograd.grad(total / count, tensors)
    return arrays_of(dict(zip(names, gradients, strict=True)))


def weigh(config: Config, ratios: np.ndarray, step: int) -> float:
    """Multiply the ratios of an episode that the kind of weight takes, up to the limit."""
    taken = {
        "trajectory": ratios,
        "per_decision": ratios[: step + 1],
        "per_step": ratios[step : step + 1],
    }[config.importance]
    return min(float(taken.prod()), config.importance_clip or math.inf)


@pytest.mark.parametrize("importance_clip", [None, 1.02])
@pytest.mark.parametrize("importance", KINDS)
def test_the_gradient_on_actions_of_another_policy_is_the_weighted_sum_as_defined(
    importance: str, importance_clip: float | None
) -> None:
    settings: dict[str, Any] = {"importance": importance, "importance_clip": importance_clip}
    run = Run(
        **settings,
        surrogate="importance",
        advantage="reward_to_go",
        baseline="none",
        normalize_advantages=False,
        learning_rate=3e-3,
        minibatch_size=None,
    )
    rollouts = run.collect()
    run.learner.update(rollouts)
    found = policy_gradient(run.learner, rollouts)
    samples, trajectories = seen(run.learner, rollouts)
    weights = targets_of(run.learner, samples, trajectories).importance
    assert float((weights - 1).abs().max()) > 0.01
    assert importance_clip is None or float(weights.max()) == pytest.approx(importance_clip)
    assert_close(found, gradient_by_definition(run.learner, rollouts), atol=1e-4)


@pytest.mark.parametrize("surrogate", [one for one in SURROGATES if one != "importance"])
def test_no_other_surrogate_takes_importance_weights(surrogate: str) -> None:
    run = Run(surrogate=surrogate, num_epochs=1)
    rollouts = run.collect()
    run.learner.update(rollouts)
    samples, trajectories = seen(run.learner, rollouts)
    targets = targets_of(run.learner, samples, trajectories)
    assert torch.equal(targets.importance, torch.ones_like(targets.importance))


def credit_of(learner: Learner, rollouts: list[Rollout]) -> tuple[Tensor, Tensor]:
    targets = targets_of(learner, *seen(learner, rollouts))
    return targets.advantages, targets.returns


def test_on_its_own_actions_vtrace_credits_as_n_step_to_the_end() -> None:
    run = Run(**LONG, advantage="vtrace")
    run.iterate()
    rollouts = run.collect()
    found = credit_of(run.learner, rollouts)
    other = run.make_learner(advantage="n_step", bootstrap_steps=10**6)
    other.load(run.learner.state())
    for one, another in zip(found, credit_of(other, rollouts), strict=True):
        torch.testing.assert_close(one, another, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("normalize_advantages", [True, False])
@pytest.mark.parametrize("episodes_per_env", [0, 2])
def test_per_episode_is_per_step_times_the_mean_length_of_an_episode(
    episodes_per_env: int, normalize_advantages: bool
) -> None:
    settings: dict[str, Any] = {"episodes_per_env": episodes_per_env, "num_steps": 40}
    run = Run(**settings, normalize_advantages=normalize_advantages)
    rollouts = run.collect()
    # an episode is over with a done, or where the rollout of its env ends before it
    steps = sum(int(rollout.valid.sum()) for rollout in rollouts)
    episodes = 0
    for rollout, env in itertools.product(rollouts, range(2)):
        ends = (rollout.terminated | rollout.truncated)[rollout.valid[:, env], env]
        episodes += int(ends.sum()) + int(not ends[-1])
    assert 1 < steps / episodes < steps
    per_step = policy_gradient(run.learner, rollouts)
    per_episode = policy_gradient(run.make_learner(loss_average="per_episode"), rollouts)
    longer = {name: array * (steps / episodes) for name, array in per_step.items()}
    assert norm(per_step) > 1e-4
    assert_close(per_episode, longer)


def critic(learner: Learner) -> dict[str, np.ndarray]:
    return {n: a for n, a in learner.state().arrays.items() if n.startswith("critic/")}


@pytest.mark.parametrize(
    ("optimizer", "where"),
    [("adam", {}), ("sgd", {}), ("adam", IMAGES)],
    ids=["adam", "sgd", "images, whose encoder is shared"],
)
def test_value_epochs_move_the_critic_and_nothing_else(
    optimizer: str, where: dict[str, Any]
) -> None:
    run = Run(**where, optimizer=optimizer, num_epochs=1)
    fitted = run.make_learner(value_epochs=3)
    rollouts = run.collect()
    _, update = run.learner.update(rollouts)
    _, fitted_update = fitted.update(rollouts)
    assert_same(fitted.weights().arrays, run.learner.weights().arrays)
    assert differ(critic(fitted), critic(run.learner))
    # each of the three epochs takes as many steps as the policy's one
    assert (
        fitted_update.scalars["train/optimizer_steps"]
        == 4 * update.scalars["train/optimizer_steps"]
    )


def test_value_epochs_bring_the_values_closer_to_the_returns() -> None:
    run = Run(**LONG, learning_rate=0.01)
    fitted = run.make_learner(value_epochs=20)
    rollouts = run.collect()
    samples, trajectories = seen(run.learner, rollouts)
    returns = targets_of(run.learner, samples, trajectories).returns
    errors: list[float] = []
    for learner in (run.learner, fitted):
        learner.update(rollouts)
        values = learner.model.values(samples.obs)
        errors.append(float((values - returns).square().mean()))
    assert errors[1] < 0.8 * errors[0]


def test_without_a_critic_value_epochs_do_nothing() -> None:
    run = Run(advantage="reward_to_go", baseline="none")
    other = run.make_learner(value_epochs=3)
    rollouts = run.collect()
    run.learner.update(rollouts)
    other.update(rollouts)
    assert_same(other.state().arrays, run.learner.state().arrays)
    assert other.num_updates == run.learner.num_updates


def test_a_tight_value_clip_holds_the_values_back() -> None:
    run = Run(num_epochs=20, learning_rate=0.01, vf_coef=1.0)
    clipped = run.make_learner(value_clip=0.01)
    same = run.make_learner(value_clip=1e6)
    rollouts = run.collect()
    samples, _ = seen(run.learner, rollouts)
    distances: list[float] = []
    for learner in (run.learner, clipped, same):
        learner.update(rollouts)
        values = learner.model.values(samples.obs)
        distances.append(float((values - samples.values).abs().mean()))
    assert distances[1] < 0.5 * distances[0]
    assert distances[2] == distances[0]


# 32 samples a batch, and no episode of CartPole ends within 7 steps: half of 64 steps are trained
# after one update.
HALVES = [
    ({"lr_schedule": "linear", "learning_rate": 0.01}, {"learning_rate": 0.005}),
    ({"clip_schedule": "linear", "clip_coef": 0.2}, {"clip_coef": 0.1}),
    ({"ent_schedule": "linear", "ent_coef": 0.5}, {"ent_coef": 0.25}),
]


@pytest.mark.parametrize(("falling", "half"), HALVES, ids=["lr", "clip", "entropy"])
def test_half_way_down_a_linear_schedule_half_of_the_value_is_used(
    falling: dict[str, Any], half: dict[str, float]
) -> None:
    common: dict[str, Any] = {"total_steps": 64, "num_epochs": 4, "learning_rate": 0.02}
    run = Run(**{**common, **falling})
    (name,) = half
    first = run.iterate()
    constant = dict.fromkeys((key for key in falling if key.endswith("schedule")), "constant")
    whole, other = run.make_learner(**constant), run.make_learner(**constant, **half)
    for learner in (whole, other):
        learner.load(run.learner.state())
    rollouts = run.collect()
    tag = {"clip_coef": "clip_range"}.get(name, name)
    _, update = run.learner.update(rollouts)
    assert first[f"train/{tag}"] == falling[name]
    assert update.scalars[f"train/{tag}"] == half[name]
    other.update(rollouts)
    whole.update(rollouts)
    assert_same(run.learner.weights().arrays, other.weights().arrays)
    assert differ(whole.weights().arrays, other.weights().arrays)


@pytest.mark.parametrize(
    ("schedule", "tag"),
    [
        ("lr_schedule", "learning_rate"),
        ("clip_schedule", "clip_range"),
        ("ent_schedule", "ent_coef"),
    ],
)
def test_the_adaptive_schedules_follow_the_kl_of_the_updates(schedule: str, tag: str) -> None:
    settings: dict[str, Any] = {schedule: "kl_adaptive", "ent_coef": 0.01, "learning_rate": 1e-3}
    # an update is much farther than one target and much nearer than the other
    for kl_target, change in ((1e-9, 1 / 1.5), (1e3, 1.5)):
        run = Run(**settings, kl_target=kl_target)
        found = [run.iterate()[f"train/{tag}"] for _ in range(3)]
        assert found == pytest.approx([found[0], found[0] * change, found[0] * change**2])


def test_the_penalty_follows_the_kl_of_the_updates_where_it_adapts() -> None:
    for surrogate, kl_target, found in (
        ("kl_adaptive", 1e-9, [1, 2, 4]),
        ("kl_adaptive", 1e3, [1, 0.5, 0.25]),
        ("kl_fixed", 1e-9, [1, 1, 1]),
    ):
        run = Run(surrogate=surrogate, kl_target=kl_target)
        assert [run.iterate()["train/kl_coef"] for _ in range(3)] == found


def test_a_larger_penalty_keeps_the_policy_nearer() -> None:
    run = Run(surrogate="kl_fixed", num_epochs=10, learning_rate=0.02, kl_coef=1e-6)
    near = run.make_learner(kl_coef=30.0)
    rollouts = run.collect()
    free_kl, near_kl = (
        learner.update(rollouts)[1].scalars["train/approx_kl"] for learner in (run.learner, near)
    )
    assert free_kl > 1e-3
    assert near_kl < 0.3 * free_kl


@pytest.mark.parametrize("kind", ["multi-discrete action", "multi-binary action", "matrix action"])
@pytest.mark.parametrize("surrogate", ["kl_fixed", "importance"])
def test_penalty_and_weights_take_every_kind_of_action(surrogate: str, kind: str) -> None:
    where = {"env_id": "tests.environments:AnyKind-v0", "env_kwargs": {"kind": kind}}
    run = Run(**where, surrogate=surrogate, learning_rate=0.01)
    for _ in range(2):
        stats = run.iterate()
        assert stats["train/on_policy_max"] < 1e-5
        assert stats["train/approx_kl"] > 0


def test_under_a_trajectorys_weight_vtrace_leaves_the_steps_ahead_to_it() -> None:
    run = Run(**LONG, surrogate="importance", advantage="vtrace", learning_rate=0.01)
    rollouts = run.collect()
    run.learner.update(rollouts)
    state, found = run.learner.state(), {}
    settings: dict[str, dict[str, Any]] = {
        "trajectory": {"importance": "trajectory"},
        "per_decision": {"importance": "per_decision"},
        "played": {"advantage": "n_step", "bootstrap_steps": 10**6, "importance": "per_step"},
    }
    for name, changed in settings.items():
        learner = run.make_learner(**changed)
        learner.load(state)
        found[name], _ = credit_of(learner, rollouts)
    torch.testing.assert_close(found["trajectory"], found["played"], rtol=1e-4, atol=1e-4)
    assert float((found["per_decision"] - found["played"]).abs().max()) > 0.01


def test_the_penalty_is_the_kl_from_the_policy_before_the_update_by_hand() -> None:
    # of (1/2, 1/2) before and (9/10, 1/10) now: log(5/9) / 2 + log(5) / 2
    run = Run(surrogate="kl_fixed")
    samples, trajectories = seen(run.learner, run.collect())
    rows = torch.tensor([0])
    targets = targets_of(run.learner, samples, trajectories)[rows]
    before = dataclasses.replace(samples[rows], parameters=torch.zeros(1, 2))
    now = Categorical(torch.tensor([[0.9, 0.1]]).log())
    inputs = surrogate_inputs(run.learner.policy, now, before, targets, penalizes_kl=True)
    assert inputs.kl.item() == pytest.approx(math.log(5 / 9) / 2 + math.log(5) / 2)


@pytest.mark.parametrize("settings", [{"surrogate": "kl_adaptive"}, {"lr_schedule": "kl_adaptive"}])
def test_what_adapts_follows_the_kl_of_the_whole_batch_after_the_update(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any]
) -> None:
    run = Run(**settings, num_epochs=3, learning_rate=0.01)
    observed: list[float] = []
    monkeypatch.setattr(run.learner.schedules, "observe", observed.append)
    rollouts = run.collect()
    samples, _ = seen(run.learner, rollouts)
    run.learner.update(rollouts)
    now = run.learner.policy.rebuild(run.learner.policy.parameters_at(samples.obs))
    ratio = (now.log_prob(samples.actions) - samples.logprobs).double().exp()
    assert observed == [pytest.approx(float((ratio - 1 - ratio.log()).mean()), rel=1e-3)]


def test_importance_weights_are_cut_to_their_limit() -> None:
    run = Run(**LONG, surrogate="importance", importance="per_step", importance_clip=1.2)
    samples, trajectories = seen(run.learner, run.collect())
    # as if another policy had acted, twice as likely or half as likely to do it
    shift = torch.where(torch.arange(len(samples)) % 2 == 0, 1.0, -1.0) * math.log(2)
    samples = dataclasses.replace(samples, logprobs=samples.logprobs - shift)
    found = targets_of(run.learner, samples, trajectories).importance
    assert found[::2].tolist() == pytest.approx([1.2] * len(found[::2]))
    assert found[1::2].tolist() == pytest.approx([0.5] * len(found[1::2]), rel=1e-4)
