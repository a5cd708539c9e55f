"""What is measured of the gradient and of an update, and that measuring changes nothing."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from distpg.learner.diagnosis import StepDiagnosis, diagnose_step, gradients_of_groups
from distpg.learner.noise import NoiseAverage
from distpg.records import Rollout
from tests.learner.runs import Run, assert_same_state, policy_gradient, seen, targets_of

STEP: dict[str, Any] = {
    "num_steps": 40,
    "num_epochs": 1,
    "minibatch_size": None,
    "optimizer": "sgd",
    "momentum": 0.0,
    "learning_rate": 1e-3,
    "max_grad_norm": 1e6,
    "normalize_advantages": False,
}
"""One plain step along the gradient of the whole batch."""
NOISE = {"gradient/noise_scale", "gradient/snr", "gradient/recommended_batch_size"}


def paying(rollouts: list[Rollout], factor: float) -> list[Rollout]:
    return [
        dataclasses.replace(rollout, rewards=rollout.rewards * np.float32(factor))
        for rollout in rollouts
    ]


def measured(run: Run, rollouts: list[Rollout]) -> StepDiagnosis:
    """Update, and measure the step on the batch that it was taken on."""
    samples, trajectories = seen(run.make_learner(), rollouts)
    run.learner.update(rollouts)
    return diagnose_step(run.learner, samples, trajectories)


def test_no_step_moves_nothing_and_promises_nothing() -> None:
    run = Run(**STEP)
    found = diagnose_step(run.learner, *seen(run.learner, run.collect()))
    assert found.effective_sample_size == pytest.approx(1, abs=1e-6)
    assert found.kl == pytest.approx(0, abs=1e-6)
    assert found.surrogate_gain == pytest.approx(0, abs=1e-5)
    # the root of what rounding leaves of the divergence
    assert found.kl_term == pytest.approx(0, abs=0.1)


def test_a_small_step_gains_its_size_times_the_square_of_the_gradient() -> None:
    run = Run(**{**STEP, "normalize_advantages": True})
    rollouts = run.collect()
    gradient = policy_gradient(run.learner, rollouts)
    squared = sum(float(np.square(g.astype(np.float64)).sum()) for g in gradient.values())
    raw = run.make_learner(normalize_advantages=False)
    deviation = float(targets_of(raw, *seen(raw, rollouts)).advantages.std(correction=0))
    found = measured(run, rollouts)
    # the step was along advantages of deviation 1; the gain is in units of the score
    expected = 1e-3 * squared * deviation
    assert found.surrogate_gain == pytest.approx(expected, rel=0.02)
    assert found.effective_sample_size == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("seed", range(5))
def test_a_step_along_the_gradient_is_predicted_to_gain(seed: int) -> None:
    # the gain is along advantages of mean 0, so the step has to be, too
    settings = {**STEP, "normalize_advantages": True}
    run = Run(**settings, seed=seed)
    gain = measured(run, run.collect()).surrogate_gain
    assert gain is not None
    assert gain > 0


def test_what_is_predicted_is_in_units_of_the_score_though_rewards_are_scaled() -> None:
    run, richer = (Run(**STEP, normalize_rewards=True) for _ in range(2))
    rollouts = run.collect()
    plain, tenfold = measured(run, rollouts), measured(richer, paying(rollouts, 10))
    # V is that of an untrained critic in either case, and scaled back with everything else
    assert plain.surrogate_gain is not None
    assert plain.kl_term is not None
    assert tenfold.surrogate_gain == pytest.approx(10 * plain.surrogate_gain, rel=1e-3)
    assert tenfold.kl_term == pytest.approx(10 * plain.kl_term, rel=1e-3)


def test_where_the_sign_of_rewards_is_learned_from_no_score_is_predicted() -> None:
    run = Run(**STEP, sign_rewards="on")
    found = measured(run, run.collect())
    assert (found.surrogate_gain, found.kl_term) == (None, None)
    assert found.kl == pytest.approx(0, abs=1e-3)
    assert found.effective_sample_size == pytest.approx(1, abs=1e-3)


def test_the_sample_size_is_that_of_the_weights_that_the_estimator_takes() -> None:
    settings = {**STEP, "surrogate": "importance", "learning_rate": 0.3}
    run = Run(**settings, importance="trajectory")
    rollouts = run.collect()
    batch = seen(run.learner, rollouts)
    run.learner.update(rollouts)
    found = diagnose_step(run.learner, *batch).effective_sample_size
    weights = targets_of(run.learner, *batch).importance.double()
    share = float(weights.sum() ** 2 / (len(weights) * weights.square().sum()))
    assert found == pytest.approx(share, rel=1e-4)
    other = Run(**settings, importance="per_step")
    assert measured(other, rollouts).effective_sample_size > found


def test_the_parts_of_a_batch_make_up_its_gradient() -> None:
    run = Run(**STEP, num_envs=3)
    rollouts = run.collect()
    gradients, sizes = gradients_of_groups(run.learner, *seen(run.learner, rollouts))
    assert len(gradients) == 6
    whole = np.concatenate([g.ravel() for g in policy_gradient(run.learner, rollouts).values()])
    mean = (sizes[:, None] * gradients).sum(0) / sizes.sum()
    np.testing.assert_allclose(mean.numpy(), whole, rtol=1e-3, atol=1e-5)


def test_a_batch_of_one_env_tells_nothing_of_noise() -> None:
    assert NoiseAverage().measure(torch.ones(1, 4), torch.tensor([8.0])) == {}


def test_noise_scale_and_signal_to_noise_ratio_by_hand() -> None:
    # parts of 4 samples with gradients 1 and 3: mean 2; noise 4 * (1 + 1) / 1 = 8; signal 4 - 8/8
    found = NoiseAverage().measure(torch.tensor([[1.0], [3.0]]), torch.tensor([4.0, 4.0]))
    assert found["gradient/noise_scale"] == pytest.approx(8 / 3)
    assert found["gradient/recommended_batch_size"] == pytest.approx(8 / 3)
    assert found["gradient/snr"] == pytest.approx((3 * 8 / 8) ** 0.5)


def test_a_batch_whose_noise_hides_the_signal_leaves_the_recommendation_to_the_others() -> None:
    average, sizes = NoiseAverage(), torch.tensor([4.0, 4.0])
    for _ in range(5):
        average.measure(torch.tensor([[1.0], [3.0]]), sizes)
    found = average.measure(torch.tensor([[-1.0], [1.0]]), sizes)
    assert set(found) == {"gradient/recommended_batch_size"}
    assert found["gradient/recommended_batch_size"] > 8 / 3


def test_measuring_every_iteration_or_never_leaves_the_same_weights() -> None:
    runs = [Run(**{**STEP, "num_epochs": 2}, gradient_stats_every=every) for every in (0, 1)]
    never, always = ([run.learner.update(run.collect())[1] for _ in range(3)][-1] for run in runs)
    assert {name for name in never.scalars if name.startswith("gradient/")} == {"gradient/norm"}
    assert (never.surrogate_gain, never.kl_term) == (None, None)
    assert "gradient/kl" in always.scalars
    assert None not in (always.surrogate_gain, always.kl_term)
    average = "noise/signal_and_noise"
    states = [run.learner.state() for run in runs]
    assert_same_state(
        *(
            dataclasses.replace(
                state, arrays={name: a for name, a in state.arrays.items() if name != average}
            )
            for state in states
        )
    )
