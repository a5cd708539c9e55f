from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close

from distpg.config.settings import LearnerSettings
from distpg.errors import InputError
from distpg.learner.optimizer import Optimizer
from distpg.learner.optimizer_step import OptimizerState, optimizer_step

SETTINGS: dict[str, dict[str, Any]] = {
    "adam": {"optimizer": "adam", "learning_rate": 0.01},
    "sgd": {"optimizer": "sgd", "momentum": 0.5, "learning_rate": 0.125},
    "plain sgd": {"optimizer": "sgd", "momentum": 0.0, "learning_rate": 0.125},
    "rmsprop": {"optimizer": "rmsprop", "rmsprop_decay": 0.75, "learning_rate": 0.5},
    "rmsprop_tf": {"optimizer": "rmsprop_tf", "rmsprop_decay": 0.75, "learning_rate": 0.5},
    "decaying adam": {"optimizer": "adam", "learning_rate": 0.01, "weight_decay": 0.1},
}
every_optimizer = pytest.mark.parametrize("name", SETTINGS)


class Learned:
    """Two parts, a weight of two numbers and a bias, and the optimizer that moves them."""

    def __init__(self, name: str, **changes: Any) -> None:
        self.model = nn.ParameterDict({"weight": torch.tensor([1.0, -2.0]), "bias": torch.zeros(1)})
        self.optimizer = Optimizer(self.model, LearnerSettings(**SETTINGS[name] | changes))
        self.norm = 0.0

    def step(
        self, weight: tuple[float, float], bias: float | None, max_norm: float = 1e9
    ) -> list[float]:
        """Take a step along given gradients, None for a part to hold; return all parameters."""
        loss = torch.tensor(weight) @ self.model["weight"]
        if bias is None:
            with self.optimizer.freezing("bias"):
                loss.backward()
                self.norm = float(self.optimizer.step(max_norm))
        else:
            (loss + bias * self.model["bias"].sum()).backward()
            self.norm = float(self.optimizer.step(max_norm))
        return [*self.model["weight"].tolist(), *self.model["bias"].tolist()]

    def arrays(self) -> dict[str, np.ndarray]:
        return self.optimizer.arrays()

    def load(self, arrays: dict[str, np.ndarray]) -> None:
        self.optimizer.load(arrays)


def test_the_first_step_of_sgd_is_the_gradient_times_the_learning_rate() -> None:
    for name in ("sgd", "plain sgd"):
        assert Learned(name).step((8.0, -4.0), 1.0) == [1 - 8 / 8, -2 + 4 / 8, -1 / 8]


def test_momentum_carries_the_last_steps_on() -> None:
    # velocities 8, then 0.5 * 8 + 4 = 8, then 0.5 * 8 + 0 = 4
    learned = Learned("sgd")
    found = [learned.step((gradient, 0.0), 0.0)[0] for gradient in (8.0, 4.0, 0.0)]
    assert found == [0, -1, -1.5]


def test_without_momentum_nothing_is_carried_on_or_kept() -> None:
    learned = Learned("plain sgd")
    assert [learned.step((gradient, 0.0), 0.0)[0] for gradient in (8.0, 0.0)] == [0, 0]
    assert learned.arrays() == {}


def test_the_first_step_of_adam_is_the_learning_rate_whatever_the_gradient() -> None:
    # but for epsilon, 1e-5
    found = Learned("adam").step((8.0, -0.5), 1e-5)
    assert found[:2] == pytest.approx([1 - 0.01, -2 + 0.01], abs=1e-6)
    assert found[2] == pytest.approx(-0.01 / 2, rel=1e-4)


def test_adam_with_other_betas_and_epsilon_by_hand() -> None:
    learned = Learned("adam", adam_betas=(0.5, 0.75), optimizer_epsilon=2.0)
    # m = 4 and v = 16, corrected to 8 and 64; then m = 2 and v = 12, divided by 3/4 and 7/16
    first = 1 - 0.01 * 8 / (8 + 2)
    second = first - 0.01 * (8 / 3) / ((192 / 7) ** 0.5 + 2)
    found = [learned.step((gradient, 0.0), 0.0)[0] for gradient in (8.0, 0.0)]
    assert found == pytest.approx([first, second], rel=1e-6)


def test_rmsprop_divides_by_the_root_of_the_mean_square_and_epsilon_by_hand() -> None:
    learned = Learned("rmsprop", optimizer_epsilon=0.25)
    # squares: 1/4 * 16 = 4, and 3/4 * 4 + 1/4 * 4 = 4
    first = 1 - 0.5 * 4 / (2 + 0.25)
    second = first - 0.5 * 2 / (2 + 0.25)
    found = [learned.step((gradient, 0.0), 0.0)[0] for gradient in (4.0, 2.0)]
    assert found == pytest.approx([first, second], rel=1e-6)
    assert learned.arrays()["square_avg/weight"].tolist() == [4, 0]


def test_tensorflows_rmsprop_begins_at_1_with_epsilon_inside_the_root_by_hand() -> None:
    learned = Learned("rmsprop_tf", optimizer_epsilon=0.25)
    # squares: 3/4 * 1 + 1/4 * 16 = 4.75, and 3/4 * 4.75 + 1/4 * 4 = 4.5625
    first = 1 - 0.5 * 4 / (4.75 + 0.25) ** 0.5
    second = first - 0.5 * 2 / (4.5625 + 0.25) ** 0.5
    found = [learned.step((gradient, 0.0), 0.0)[0] for gradient in (4.0, 2.0)]
    assert found == pytest.approx([first, second], rel=1e-6)
    assert learned.arrays()["square_avg/weight"].tolist() == [4.5625, 0.5625]


@pytest.mark.parametrize("name", ["adam", "rmsprop", "rmsprop_tf"])
def test_epsilon_is_1e_5_unless_it_is_given(name: str) -> None:
    plain, given, other = (
        Learned(name, **changes).step((1e-5, 3.0), 0.0)
        for changes in ({}, {"optimizer_epsilon": 1e-5}, {"optimizer_epsilon": 1e-3})
    )
    assert plain == given != other


def test_weight_decay_is_added_to_the_gradient_after_it_was_cut() -> None:
    learned = Learned("plain sgd", weight_decay=0.5)
    # (8, 0, 6) has norm 10 and is cut to (4, 0, 3); half the parameters (1, -2, 0) come on top
    found = learned.step((8.0, 0.0), 6.0, max_norm=5.0)
    assert found == pytest.approx([1 - 4.5 / 8, -2 + 1 / 8, -3 / 8], abs=1e-6)
    assert learned.norm == pytest.approx(10)


@pytest.mark.parametrize("name", ["adam", "rmsprop"])
def test_weight_decay_is_an_l2_penalty_which_adam_and_rmsprop_scale(name: str) -> None:
    # were it decoupled, the step would be a tenth of the rate for the first weight
    learned = Learned(name, weight_decay=0.1, learning_rate=0.01, rmsprop_decay=0.0)
    assert learned.step((0.0, 0.0), 0.0) == pytest.approx([0.99, -1.99, 0], abs=1e-5)


@pytest.mark.parametrize("name", SETTINGS)
def test_a_step_as_a_function_of_tensors_is_the_step_of_the_kernels(name: str) -> None:
    learned = Learned(name, weight_decay=0.1)
    state = learned.optimizer.whole
    kept = {kind: moment.clone() for kind, moment in state.moments.items()}
    before = OptimizerState(state.values.clone(), state.steps.clone(), kept)
    rate, rule = torch.tensor(learned.optimizer.rate).double(), learned.optimizer.rule
    # a dictionary of parameters is sorted: the bias is first
    for bias, *weight in ((1.0, 8.0, -4.0), (-3.0, 0.5, 0.0), (0.0, 1e-4, 2.0)):
        learned.step((weight[0], weight[1]), bias)
        before = optimizer_step(before, torch.tensor([bias, *weight]), [1, 2], rate, rule)
        assert_close(before.values, state.values)
        for kind, moment in before.moments.items():
            assert_close(moment, state.moments[kind])


@every_optimizer
def test_a_part_that_is_held_stays_while_others_move_and_goes_on_afterwards(name: str) -> None:
    learned = Learned(name)
    *_, before = learned.step((1.0, 1.0), 1.0)
    found = [learned.step((1.0, 1.0), None) for _ in range(3)]
    assert [bias for *_, bias in found] == [before] * 3
    assert found[0][0] > found[1][0] > found[2][0]
    assert learned.step((1.0, 1.0), 1.0)[-1] < before


def test_a_part_that_was_held_before_a_block_is_held_after_it() -> None:
    learned = Learned("plain sgd")
    learned.optimizer.frozen = {"bias"}
    assert learned.step((8.0, 0.0), None) == [0, -2, 0]
    assert learned.step((8.0, 0.0), 1.0) == [-1, -2, 0]


@every_optimizer
@pytest.mark.parametrize("steps", [0, 1, 3])
def test_an_optimizer_that_is_loaded_goes_on_bit_for_bit(name: str, steps: int) -> None:
    learned, other = Learned(name), Learned(name)
    for k in range(steps):
        learned.step((1.0 + k, -0.3), 0.1 * k)
    arrays = learned.arrays()
    other.model.load_state_dict(learned.model.state_dict())
    other.step((9.0, 9.0), 9.0)  # what it kept before is forgotten
    other.model.load_state_dict(learned.model.state_dict())
    other.load(arrays)
    for k in range(3):
        gradient = (0.7 * k, 1.1)
        assert other.step(gradient, -0.2) == learned.step(gradient, -0.2)
    assert other.arrays().keys() == learned.arrays().keys()
    for key, array in other.arrays().items():
        np.testing.assert_array_equal(array, learned.arrays()[key])


def test_what_is_kept_is_named_by_kind_and_parameter_and_is_a_copy() -> None:
    kept_by = {
        "adam": {"step", "exp_avg", "exp_avg_sq"},
        "sgd": {"momentum_buffer"},
        "rmsprop": {"square_avg"},
    }
    for name, kinds in kept_by.items():
        learned = Learned(name)
        assert not any(array.any() for array in learned.arrays().values())
        learned.step((1.0, 2.0), 3.0)
        arrays = learned.arrays()
        assert set(arrays) == {f"{kind}/{of}" for kind in kinds for of in ("weight", "bias")}
        kept = {key: array.copy() for key, array in arrays.items()}
        learned.step((1.0, 2.0), 3.0)
        assert all(np.array_equal(arrays[key], kept[key]) for key in kept)


def test_moments_of_adam_that_are_incomplete_are_refused_by_name() -> None:
    learned = Learned("adam")
    learned.step((1.0, 2.0), 3.0)
    arrays = learned.arrays()
    del arrays["exp_avg_sq/bias"]
    with pytest.raises(InputError, match=r"exp_avg_sq of bias"):
        Learned("adam").load(arrays)


def test_the_momentum_of_sgd_is_the_gradient_at_first() -> None:
    learned = Learned("sgd")
    learned.step((8.0, -4.0), 1.0)
    velocity = torch.from_numpy(learned.arrays()["momentum_buffer/weight"])
    assert_close(velocity, torch.tensor([8.0, -4.0]))


def test_the_norm_is_that_of_all_gradients_and_what_is_longer_is_cut() -> None:
    # (3, 0, 4) has norm 5; half of it is a step of (1.5, 0, 2) / 8
    learned = Learned("plain sgd")
    found = learned.step((3.0, 0.0), 4.0, max_norm=2.5)
    assert learned.norm == pytest.approx(5.0)
    assert found == pytest.approx([1 - 1.5 / 8, -2, -2 / 8], abs=1e-6)
    # what is shorter stays as it is, and nothing is left of the step before
    assert learned.step((0.0, 8.0), 0.0, max_norm=100.0)[1] == pytest.approx(-3)
    assert learned.norm == pytest.approx(8.0)


def test_the_gradient_of_a_part_that_is_held_does_not_cut_those_of_the_others() -> None:
    # the norm of both is 5, that of the part that moves is 3: it is not cut
    learned = Learned("plain sgd")
    loss = torch.tensor([3.0, 0.0]) @ learned.model["weight"] + 4 * learned.model["bias"].sum()
    loss.backward()
    with learned.optimizer.freezing("bias"):
        norm = learned.optimizer.step(max_norm=3.5)
    assert norm == pytest.approx(5.0)
    assert learned.model["weight"].tolist() == pytest.approx([1 - 3 / 8, -2], abs=1e-6)
    assert learned.model["bias"].tolist() == [0]


def test_parameters_that_are_loaded_into_the_model_are_those_that_move() -> None:
    learned = Learned("plain sgd")
    learned.model.load_state_dict({"weight": torch.tensor([5.0, 6.0]), "bias": torch.ones(1)})
    assert learned.step((8.0, 0.0), 0.0) == [4.0, 6.0, 1.0]


def test_moments_of_another_size_are_refused_by_name() -> None:
    learned = Learned("adam")
    learned.step((1.0, 2.0), 3.0)
    arrays = learned.arrays()
    arrays["exp_avg/weight"] = np.zeros(3, np.float32)
    with pytest.raises(InputError, match=r"exp_avg of weight"):
        Learned("adam").load(arrays)


def test_the_moments_of_adam_after_one_step_by_hand() -> None:
    # a tenth of the gradient, and a thousandth of its square
    learned = Learned("adam")
    learned.step((8.0, -4.0), 1.0)
    arrays = learned.arrays()
    assert arrays["exp_avg/weight"] == pytest.approx([0.8, -0.4])
    assert arrays["exp_avg_sq/weight"] == pytest.approx([0.064, 0.016])
