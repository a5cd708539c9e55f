"""The exact solver, against DiamondHill worked by hand, and against itself by another way."""

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from distpg.envs import diamond_hill
from distpg.proof.solver import Game, Solver

START, SLOPE, HILLTOP = range(3)


def solver(time_limit: int | None = None) -> Solver:
    game = Game(diamond_hill.START, 2, diamond_hill.transitions, diamond_hill.observe, time_limit)
    return Solver(game)


def table(*left: float) -> Tensor:
    """Policy that goes left with these probabilities at start, slope and hilltop."""
    return torch.tensor([[p, 1 - p] for p in left], dtype=torch.float64)


EXAMPLE = table(0.7, 0.4, 0.8)


@pytest.mark.parametrize(
    ("policy", "expected"), [(EXAMPLE, 2.636), (table(0, 0, 0), 10.0), (table(1, 0, 0), 11.0)]
)
def test_expected_returns_are_those_worked_by_hand(policy: Tensor, expected: float) -> None:
    assert float(solver().expected_return(policy)) == pytest.approx(expected, abs=1e-12)


def test_values_are_those_worked_by_hand() -> None:
    # hilltop 0.2 * 10 = 2; slope 0.4 * -10 + 0.6 * (0.9 * 2 - 0.1 * 10) = -3.52
    expected = torch.tensor([2.636, -3.52, 2.0], dtype=torch.float64)
    assert_close(solver().values(EXAMPLE), expected)


def test_the_optimum_is_left_then_right_and_right() -> None:
    best = solver().optimal_action_values()
    assert best.argmax(1).tolist() == [0, 1, 1]
    assert_close(best[START], torch.tensor([11.0, 10.0], dtype=torch.float64))


def test_a_derivative_is_the_chance_of_the_node_times_the_return_after_the_action() -> None:
    policy = EXAMPLE.clone().requires_grad_()
    (found,) = torch.autograd.grad(solver().expected_return(policy), policy)
    reach = torch.tensor([1.0, 0.7, 0.7 * 0.6 * 0.9], dtype=torch.float64)
    # the return after an action counts what was earned before it nowhere
    after = solver().action_values(solver().values(EXAMPLE))
    earned_before = torch.tensor([0.0, 3.0, 3.0], dtype=torch.float64)
    # dJ/dpi of a node's own action, with the rewards on the way there, which autograd counts too
    assert_close(found, reach[:, None] * (after + earned_before[:, None]))


def test_the_gradient_in_logits_is_the_policy_gradient_theorem() -> None:
    logits = EXAMPLE.log()
    values = solver().values(EXAMPLE)
    advantages = solver().action_values(values) - values[:, None]
    reach = torch.tensor([1.0, 0.7, 0.7 * 0.6 * 0.9], dtype=torch.float64)
    assert_close(solver().gradient(logits), reach[:, None] * EXAMPLE * advantages)


def test_episodes_have_probability_one_in_all() -> None:
    for limit in (None, 2, 1):
        episodes = solver(limit).episodes(EXAMPLE)
        assert float(sum(episode.probability for episode in episodes)) == pytest.approx(1.0)


def test_expected_return_is_the_value_of_the_start() -> None:
    for gamma in (1.0, 0.9):
        assert_close(
            solver().expected_return(EXAMPLE, gamma), solver().values(EXAMPLE, gamma)[START]
        )


def test_a_time_limit_cuts_episodes_and_their_return() -> None:
    episodes = solver(2).episodes(EXAMPLE)
    (cut,) = [episode for episode in episodes if episode.truncated]
    assert cut.nodes == [START, SLOPE]
    assert cut.rewards == [3.0, 0.0]
    # without the last step's 0.2 * 10 on the hilltop
    expected = 2.636 - 0.7 * 0.6 * 0.9 * 2.0
    assert float(solver(2).expected_return(EXAMPLE)) == pytest.approx(expected, abs=1e-12)
