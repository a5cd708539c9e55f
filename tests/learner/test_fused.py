"""A minibatch as one function of tensors does what the learner does step by step."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from distpg.config.settings import LearnerSettings
from distpg.envs.make import find_env
from distpg.learner.ahead_of_time import flatten, unflatten
from distpg.learner.compiled import examples, names_of
from distpg.learner.compiled_steps import CompiledSteps, state_of
from distpg.learner.fused import Fused
from distpg.learner.learner import Learner
from distpg.learner.loss_form import LossForm
from distpg.learner.optimizer_step import OptimizerState, Rule, optimizer_step
from tests.learner.runs import LONG, Run

EVERY_FORM: dict[str, dict[str, Any]] = {
    "discrete": {
        "clip_schedule": "linear",
        "ent_coef": 0.01,
        "ent_schedule": "linear",
        "normalize_over": "minibatch",
    },
    "continuous": {
        "env_id": "Pendulum-v1",
        "value_clip": 0.2,
        "target_kl": 2e-4,
        "learning_rate": 3e-3,
        "value_epochs": 2,
        "recompute_advantages": True,
    },
    "beta": {
        "env_id": "Pendulum-v1",
        "action_distribution": "beta",
        "surrogate": "kl_fixed",
        "ent_coef": 0.01,
    },
    "gsde": {"env_id": "Pendulum-v1", "action_distribution": "gsde", "ent_coef": 0.01},
    "gsde, kl": {
        "env_id": "Pendulum-v1",
        "action_distribution": "gsde",
        "sde_sample_freq": 4,
        "surrogate": "kl_fixed",
    },
    "masks": {
        "source": replace(find_env("Taxi-v4", {}), masks="info"),
        "surrogate": "kl_adaptive",
        "optimizer": "sgd",
    },
    "trust region": {"algo": "trpo", "num_epochs": 1, "value_epochs": 2},
    "importance": {
        "surrogate": "importance",
        "advantage": "vtrace",
        "optimizer": "sgd",
        "momentum": 0.0,
    },
    "rmsprop": {
        "optimizer": "rmsprop",
        "activation": "leaky_relu",
        "value_hidden_sizes": (12, 10),
        "orthogonal_init": False,
    },
    "tensorflow": {
        "env_id": "Pendulum-v1",
        "optimizer": "rmsprop_tf",
        "weight_decay": 0.01,
        "log_std_init": -1.0,
        "log_std": "state",
        "value_epochs": 1,
    },
    "other adam": {
        "env_id": "Pendulum-v1",
        "activation": "gelu",
        "adam_betas": (0.8, 0.95),
        "optimizer_epsilon": 1e-3,
        "weight_decay": 0.01,
        "value_clip": 0.3,
        "value_clip_schedule": "linear",
        "value_epochs": 1,
        "clip_obs": 1.5,
        "value_hidden_sizes": (),
    },
}


def call_by_tensors(learner: Learner) -> None:
    """Have a learner use the functions that would be compiled, as they are."""
    config, optimizer = learner.config, learner.optimizer
    fused = Fused(LossForm.of(config), learner.model, optimizer.rule)

    def by_tensors(name: str) -> Callable[[Sequence[Tensor]], Sequence[Tensor]]:
        like = examples(fused, config, state_of(optimizer, name))
        return lambda tensors: getattr(fused, name)(*unflatten(like, iter(tensors)))

    functions = {name: by_tensors(name) for name in names_of(config)}
    _, *like, _, _ = examples(fused, config, optimizer.whole)
    learner.steps = CompiledSteps(config, optimizer, functions, like)


def assert_same_updates(run: Run, other: Learner) -> None:
    """Check that another learner's updates are those of the run's, but for the last bits."""
    stops = 0.0
    # sizes of batch and last minibatch change, and so do the coefficients
    for _ in range(4):
        rollouts = run.collect()
        other.load(run.learner.state())
        _, update = run.learner.update(rollouts)
        _, other_update = other.update(rollouts)
        state, other_state = run.learner.state(), other.state()
        for name, array in state.policy.arrays.items():
            np.testing.assert_allclose(other_state.policy.arrays[name], array, rtol=1e-4, atol=1e-5)
        for name, array in state.arrays.items():
            np.testing.assert_allclose(other_state.arrays[name], array, rtol=1e-3, atol=1e-5)
        assert state.counters == other_state.counters
        assert update.scalars.keys() == other_update.scalars.keys()
        for name, value in update.scalars.items():
            assert other_update.scalars[name] == pytest.approx(value, rel=1e-3, abs=1e-4), name
        stops += update.scalars["train/early_stop"]
    assert bool(stops) == bool(run.config.target_kl), "an update ended early"


@pytest.mark.parametrize("settings", EVERY_FORM.values(), ids=EVERY_FORM)
def test_whole_minibatches_are_those_of_the_learner(settings: dict[str, Any]) -> None:
    run = Run(**{**LONG, **settings})
    other = run.make_learner()
    call_by_tensors(other)
    assert_same_updates(run, other)


def test_the_tensors_of_nested_values_are_put_back_in_their_places() -> None:
    state = OptimizerState(torch.ones(2), torch.ones(1), {"a": torch.zeros(3), "b": torch.ones(3)})
    tensors = list(flatten((state, torch.ones(4))))
    assert [len(tensor) for tensor in tensors] == [2, 1, 3, 3, 4]
    again, last = unflatten((state, torch.ones(4)), iter(tensors))
    assert isinstance(again, OptimizerState)
    assert again.moments["b"] is tensors[3]
    assert last is tensors[4]
    first, _ = flatten({"b": tensors[1], "a": tensors[0]})
    assert first is tensors[0], "the order is that of the names"


def test_children_have_their_own_counts_of_steps() -> None:
    # Adam's first step is the rate, whatever the gradient; a later one is corrected less
    moments = {name: torch.zeros(2) for name in ("exp_avg", "exp_avg_sq")}
    state = OptimizerState(torch.zeros(2), torch.tensor([0.0, 9.0]), moments)
    rate = torch.tensor(0.5, dtype=torch.float64)
    rule = Rule.of(LearnerSettings())
    after = optimizer_step(state, torch.tensor([8.0, 8.0]), [1, 1], rate, rule)
    # of the second: m = 0.8 / (1 - 0.9^10), v = 0.064 / (1 - 0.999^10)
    second = -0.5 * (0.8 / (1 - 0.9**10)) / (0.064 / (1 - 0.999**10)) ** 0.5
    assert after.values.tolist() == pytest.approx([-0.5, second], rel=1e-5)
    assert after.steps.tolist() == [1, 10]
