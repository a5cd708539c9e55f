"""What the cloner makes of labels, against numbers worked by hand and closed forms."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from distpg.envs.make import find_env, make_vector_env
from distpg.errors import RunError
from distpg.imitation.cloner import Cloner, Labels
from distpg.policy.distributions import LOG_STD_LOW
from distpg.records import Rollout
from tests import environments
from tests.settings import config_of

assert environments

FULL_BATCH: dict[str, Any] = {
    "num_workers": 0,
    "hidden_sizes": (),
    "minibatch_size": None,
    "max_grad_norm": 1e6,
    "learner_threads": 1,
}


def cloner(env_id: str, env_kwargs: dict[str, Any], num_rounds: int = 1, **settings: Any) -> Cloner:
    config = config_of({"env_id": env_id, "env_kwargs": env_kwargs, **FULL_BATCH, **settings})
    envs = make_vector_env(find_env(env_id, env_kwargs), 1)
    envs.close()
    return Cloner(config, envs.obs_spec, envs.action_spec, num_rounds)


def table(**settings: Any) -> Cloner:
    """A student whose policy is a table of logits, all 0."""
    student = cloner("distpg/DiamondHill-v0", {"tabular": True}, **settings)
    with torch.no_grad():
        student.policy.head.weight.zero_()
    return student


def shown(obs: np.ndarray, actions: np.ndarray, valid: Sequence[bool] | None = None) -> Rollout:
    """T steps of one env: [T+1, *O] observations, [T] or [T, A] actions."""
    steps = (len(actions), 1)
    nothing = np.zeros(steps, bool)
    return Rollout(
        obs={"obs": obs[:, None]},
        state=np.zeros((1, 0), np.float32),
        actions=actions[:, None],
        logprobs=np.zeros(steps, np.float32),
        rewards=np.zeros(steps, np.float32),
        terminated=nothing,
        truncated=nothing,
        valid=~nothing if valid is None else np.array(valid).reshape(steps),
        policy_version=0,
        slot=0,
    )


def numbers(*values: int) -> Tensor:
    return torch.tensor(values)


def test_the_gradient_is_that_of_the_likelihood_by_hand() -> None:
    student = table()
    # of four labels in state 5 three go left, and both ways are equally likely: 1/2 - 3/4
    student.loss(Labels({"obs": numbers(5, 5, 5, 5)}, numbers(0, 0, 1, 0))).backward()
    gradient = student.policy.head.weight.grad
    assert gradient is not None
    expected = torch.zeros(2, 8)
    expected[0, 5], expected[1, 5] = -0.25, 0.25
    assert_close(gradient, expected)


def test_the_loss_is_the_mean_negative_log_likelihood() -> None:
    student = table()
    with torch.no_grad():
        student.policy.head.weight[1, 3] = math.log(3)
    # P(right | 3) = 3/4; 1/2 elsewhere
    loss = student.loss(Labels({"obs": numbers(3, 3, 1)}, numbers(1, 0, 0)))
    assert float(loss) == pytest.approx(-(math.log(3 / 4) + math.log(1 / 4) + math.log(1 / 2)) / 3)


def test_a_table_learns_the_frequencies_that_it_is_shown() -> None:
    student = table(num_epochs=300, optimizer="sgd", learning_rate=2.0, momentum=0.0)
    obs = np.array([5, 5, 5, 5, 2, 2, 2])
    _, update = student.update([shown(obs, np.array([0, 0, 1, 0, 1, 0]))])
    probabilities = student.policy.head.weight.detach().softmax(0)
    assert_close(probabilities[:, 5], torch.tensor([0.75, 0.25]), atol=1e-4, rtol=0)
    assert_close(probabilities[:, 2], torch.tensor([0.5, 0.5]), atol=1e-4, rtol=0)
    assert_close(probabilities[:, 0], torch.tensor([0.5, 0.5]))
    assert update.scalars["train/optimizer_steps"] == student.num_updates == 300


GAUSSIAN: dict[str, Any] = {"num_epochs": 2000, "learning_rate": 2e-2}


def test_a_gaussian_learns_the_mean_and_the_deviation_that_it_is_shown() -> None:
    student = cloner("AnyKind-v0", {"kind": "unbounded action"}, **GAUSSIAN)
    actions = np.array([[1.0, -2.0], [3.0, -2.5], [1.0, -2.0], [3.0, -2.5]], np.float32)
    student.update([shown(np.zeros((5, 3), np.float32), actions)])
    distribution: Any = student.policy({"obs": torch.zeros(1, 3)})
    assert_close(distribution.greedy(), torch.tensor([[2.0, -2.25]]), atol=1e-3, rtol=0)
    assert_close(distribution.std(), torch.tensor([1.0, 0.25]), atol=1e-3, rtol=0)


@pytest.mark.parametrize(("family", "shape"), [("gaussian", (2,)), ("gsde", (1, 2))])
def test_a_gaussian_that_is_shown_no_deviation_stays_as_wide_as_float32_can_tell(
    family: str, shape: tuple[int, ...]
) -> None:
    student = cloner(
        "AnyKind-v0",
        {"kind": "unbounded action"},
        hidden_sizes=(1,),
        action_distribution=family,
        normalize_obs=False,
        **GAUSSIAN,
    )
    actions = np.tile(np.array([0.5, -0.5], np.float32), (4, 1))
    student.update([shown(np.ones((5, 3), np.float32), actions)])
    assert student.policy.log_std is not None
    assert_close(student.policy.log_std.detach(), torch.full(shape, LOG_STD_LOW))


def test_labels_gather_from_round_to_round_and_none_that_is_not_valid() -> None:
    student = table(num_epochs=1, num_rounds=2)
    first = shown(np.array([1, 2, 3, 4]), np.array([0, 1, 0]), [True, False, True])
    second = shown(np.array([5, 6]), np.array([1]))
    student.update([first])
    assert student.gather_labels(student.batches).obs["obs"].tolist() == [1, 3]
    student.update([second])
    labels = student.gather_labels(student.batches)
    assert labels.obs["obs"].tolist() == [1, 3, 5]
    assert labels.actions.tolist() == [0, 0, 1]
    assert student.trained_steps == len(labels) == 3
    assert student.state().counters["labels"] == 3
    assert student.version == 2


def test_labels_that_come_to_no_number_are_forgotten_and_the_update_with_them() -> None:
    student, twin = (cloner("CartPole-v1", {}, 3, normalize_obs=False) for _ in range(2))
    good = shown(np.ones((3, 4), np.float32), np.array([0, 1]))
    for one in (student, twin):
        one.update([good])
    before = student.state()
    _, update = student.update([shown(np.full((3, 4), 3e38, np.float32), np.array([0, 1]))])
    assert update.rolled_back
    assert not np.isfinite(update.scalars["gradient/norm"])
    for one in (student, twin):
        assert not one.update([good])[1].rolled_back
        assert len(one.gather_labels(one.batches)) == 4
    after, other = student.state(), twin.state()
    assert after.counters == other.counters
    for name, array in {**after.arrays, **after.policy.arrays}.items():
        np.testing.assert_array_equal(array, {**other.arrays, **other.policy.arrays}[name], name)
    assert before.counters["num_updates"] < after.counters["num_updates"]


def test_agreement_is_of_the_new_labels_before_they_are_learned() -> None:
    student = table(num_epochs=50, learning_rate=1.0, num_rounds=2)
    obs, left = np.array([5, 5, 5]), np.array([0, 0])
    student.update([shown(obs, left)])
    _, same = student.update([shown(obs, left)])
    _, other = student.update([shown(obs, 1 - left)])
    assert same.scalars["imitation/agreement"] == 1.0
    assert other.scalars["imitation/agreement"] == 0.0


def test_distance_is_in_the_units_of_the_environment() -> None:
    # in Box([-0.1, 0.2], [0, 9]), of which a new policy takes the middle
    kind, family = {"kind": "asymmetric action"}, "squashed_gaussian"
    student = cloner("AnyKind-v0", kind, action_distribution=family, num_epochs=1)
    with torch.no_grad():
        student.policy.head.weight.zero_()
    labels = student.policy.from_env(np.array([[-0.05, 4.6], [-0.05, 6.6]], np.float32))
    _, update = student.update([shown(np.zeros((3, 3), np.float32), labels)])
    assert update.scalars["imitation/distance"] == pytest.approx(1.0, abs=1e-4)


def test_the_student_learns_under_the_statistics_that_it_will_act_under() -> None:
    settings: dict[str, Any] = {"num_epochs": 400, "learning_rate": 3e-2}
    student = cloner("AnyKind-v0", {"kind": "unbounded action"}, **settings)
    # 1000 and 1001 are one and the same to a network without normalization
    obs = np.repeat(np.array([1000, 1001, 1000, 1001, 0], np.float32)[:, None], 3, axis=1)
    actions = np.repeat(obs[:4, :1] - 1000.5, 2, axis=1)
    student.update([shown(obs, actions)])
    seen = student.policy.normalizer({"obs": torch.from_numpy(obs[:2])})
    modes = student.policy(seen).greedy()
    assert_close(modes, torch.tensor([[-0.5, -0.5], [0.5, 0.5]]), atol=0.02, rtol=0)


def test_the_critic_stays_as_it_is() -> None:
    student = cloner("distpg/DiamondHill-v0", {}, num_epochs=3, hidden_sizes=(8,))
    before = {name: x.clone() for name, x in student.model.critic.state_dict().items()}
    student.update([shown(np.ones((3, 2), np.float32), np.array([0, 1]))])
    for name, after in student.model.critic.state_dict().items():
        assert_close(after, before[name], rtol=0, atol=0)


def test_a_surrogate_whose_policy_the_optimizer_does_not_move_is_cloned_into_all_the_same() -> None:
    student = table(algo="trpo", num_epochs=1, learning_rate=1.0, optimizer="sgd", momentum=0.0)
    student.update([shown(np.array([5, 5]), np.array([0]))])
    assert_close(student.policy.head.weight.detach()[:, 5], torch.tensor([0.5, -0.5]))


def test_a_linear_schedule_falls_over_the_rounds() -> None:
    student = table(lr_schedule="linear", learning_rate=0.1, num_epochs=1, num_rounds=4)
    rates = [
        student.update([shown(np.array([5, 5]), np.array([0]))])[1].scalars["train/learning_rate"]
        for _ in range(4)
    ]
    assert rates == pytest.approx([0.1, 0.075, 0.05, 0.025])


def test_an_observation_that_is_no_number_is_refused() -> None:
    student = cloner("distpg/DiamondHill-v0", {}, num_epochs=1)
    with pytest.raises(RunError, match="observation obs at step 1"):
        student.update([shown(np.array([[0, 1], [np.nan, 0], [0, 1]]), np.array([0, 1]))])
