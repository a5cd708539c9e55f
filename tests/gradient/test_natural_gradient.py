import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from distpg.envs import diamond_hill
from distpg.gradient.natural_gradient import (
    Product,
    Trial,
    conjugate_gradient,
    flat,
    hessian_product,
    line_search,
    step_size,
)
from distpg.policy.distributions import (
    Bernoulli,
    Categorical,
    DiagonalGaussian,
    Distribution,
    MultiCategorical,
)
from distpg.proof.solver import Game, Solver

NUM_PARAMETERS = 6
OBS = torch.tensor([[1.0, 0.5], [-0.3, 2.0], [0.7, -1.1]], dtype=torch.float64)
"""[3, 2]: a weight [3, 2] makes three outputs of each."""
THETA = torch.tensor([0.3, -0.8, 0.5, 0.1, -0.4, 0.9], dtype=torch.float64)


def outputs(theta: Tensor) -> Tensor:
    """Compute [3 observations, 3 outputs], bent so that the policy is no linear one."""
    return (OBS @ theta.view(3, 2).T).tanh() * 2


BITS = torch.tensor([0, 1])
POLICIES: dict[str, tuple[Callable[[Tensor], Distribution], Tensor]] = {
    "categorical": (lambda theta: Categorical(outputs(theta)), torch.arange(3)),
    "multi": (
        lambda theta: MultiCategorical(outputs(theta)[:, [0, 1, 2, 0]], (2, 2)),
        torch.cartesian_prod(BITS, BITS),
    ),
    "binary": (
        lambda theta: Bernoulli(outputs(theta)),
        torch.cartesian_prod(BITS, BITS, BITS),
    ),
}
"""By name, from parameters [P] to a policy, and all of its actions."""


def fisher_by_definition(name: str, theta: Tensor) -> Tensor:
    """Sum p(a|s) grad log p grad log p^T over all actions, mean over states, [P, P]."""
    make, actions = POLICIES[name]
    total = torch.zeros(len(theta), len(theta), dtype=theta.dtype)
    for action in actions:

        def logprobs(theta: Tensor, action: Tensor = action) -> Tensor:
            return make(theta).log_prob(action.expand(len(OBS), *action.shape))

        scores = torch.autograd.functional.jacobian(logprobs, theta)
        assert isinstance(scores, Tensor)
        total += torch.einsum("s,sp,sq->pq", logprobs(theta).exp(), scores, scores)
    return total / len(OBS)


def product_of(make: Callable[[Tensor], Distribution], theta: Tensor) -> Product:
    """Multiply by the Fisher matrix, by differentiating the KL twice."""

    def product(vector: Tensor) -> Tensor:
        leaf = theta.clone().requires_grad_()
        return hessian_product(make(theta).kl(make(leaf)).mean(), [leaf], vector)

    return product


def matrix_of(product: Product, size: int) -> Tensor:
    return torch.stack([product(row) for row in torch.eye(size, dtype=torch.float64)], 1)


@pytest.mark.parametrize("name", POLICIES)
def test_the_product_is_with_the_sum_over_actions_of_scores_times_scores(name: str) -> None:
    found = matrix_of(product_of(POLICIES[name][0], THETA), NUM_PARAMETERS)
    torch.testing.assert_close(found, fisher_by_definition(name, THETA), rtol=1e-9, atol=1e-12)


def gaussian(theta: Tensor) -> DiagonalGaussian:
    """Two means of two parameters each, and two log standard deviations."""
    return DiagonalGaussian(OBS @ theta[:4].view(2, 2).T, theta[4:])


def test_of_a_gaussian_it_is_known_in_closed_form() -> None:
    # E[obs obs^T] / variance for each mean, 2 for each log standard deviation
    moments = OBS.T @ OBS / len(OBS)
    precision = (-2 * THETA[4:]).exp()
    expected = torch.block_diag(*(moments * one for one in precision), 2 * torch.eye(2).double())
    found = matrix_of(product_of(gaussian, THETA), NUM_PARAMETERS)
    torch.testing.assert_close(found, expected)


EVERY: dict[str, Callable[[Tensor], Distribution]] = {
    **{name: make for name, (make, _) in POLICIES.items()},
    "gaussian": gaussian,
}


@pytest.mark.parametrize("name", EVERY)
def test_the_kl_of_a_small_step_is_half_its_square_under_the_product(name: str) -> None:
    make = EVERY[name]
    step = 1e-4 * torch.tensor([1.0, -2.0, 0.5, 1.5, -1.0, 0.7], dtype=torch.float64)
    kl = float(make(THETA).kl(make(THETA + step)).mean())
    assert kl == pytest.approx(0.5 * float(step @ product_of(make, THETA)(step)), rel=1e-3)


def positive(size: int, seed: int) -> tuple[Tensor, Tensor]:
    """Draw a symmetric matrix with eigenvalues from 0.1 up, and a vector."""
    generator = torch.Generator().manual_seed(seed)
    factor = torch.randn(size, size, generator=generator, dtype=torch.float64)
    vector = torch.randn(size, generator=generator, dtype=torch.float64)
    return factor @ factor.T + 0.1 * torch.eye(size, dtype=torch.float64), vector


def solve(matrix: Tensor, vector: Tensor, iterations: int, tolerance: float = 1e-12) -> Tensor:
    return conjugate_gradient(
        lambda x: matrix @ x, vector, iterations=iterations, tolerance=tolerance
    )


@given(size=st.integers(1, 12), seed=st.integers(0, 10**6))
def test_conjugate_gradients_solve_what_numpy_solves(size: int, seed: int) -> None:
    matrix, vector = positive(size, seed)
    found = solve(matrix, vector, iterations=4 * size)
    np.testing.assert_allclose(found, np.linalg.solve(matrix, vector), rtol=1e-5, atol=1e-6)


@given(seed=st.integers(0, 10**6))
def test_each_iteration_comes_nearer(seed: int) -> None:
    matrix, vector = positive(6, seed)
    exact = torch.linalg.solve(matrix, vector)
    errors = [solve(matrix, vector, iterations) - exact for iterations in range(6)]
    distances = [float(error @ matrix @ error) for error in errors]
    assert distances == sorted(distances, reverse=True)


def test_the_identity_takes_one_product_and_as_many_eigenvalues_as_many() -> None:
    diagonal = torch.tensor([1.0, 4.0, 4.0, 9.0, 9.0, 9.0], dtype=torch.float64)
    calls: list[Tensor] = []

    def product(vector: Tensor) -> Tensor:
        calls.append(vector)
        return diagonal * vector

    found = conjugate_gradient(product, THETA, iterations=50, tolerance=1e-8)
    torch.testing.assert_close(found, THETA / diagonal)
    # the one after the last sees that there is nothing left
    assert len(calls) == 4


def test_the_tolerance_is_relative_to_the_vector() -> None:
    matrix, vector = torch.linspace(1, 3, NUM_PARAMETERS).double().diag(), THETA
    found = solve(matrix, vector, 100, tolerance=0.1)
    residual = float((vector - matrix @ found).norm() / vector.norm())
    assert 1e-4 < residual <= 0.1
    torch.testing.assert_close(solve(matrix, 1e-6 * vector, 100, 0.1), 1e-6 * found)


def test_nothing_comes_of_nothing() -> None:
    nothing = torch.zeros(3, dtype=torch.float64)
    found = conjugate_gradient(lambda x: 2 * x, nothing, iterations=5, tolerance=1e-8)
    assert not found.any()
    assert step_size(lambda x: 2 * x, found, max_kl=0.01) == 0
    # a matrix that says nothing of the vector: no step along it has a length
    assert step_size(lambda x: 0 * x, THETA, max_kl=0.01) == 0


def test_the_length_is_that_of_the_kl_to_second_order() -> None:
    # (3, 4) under the identity has the square 25: sqrt(2 * 0.5 / 25) = 0.2
    direction = torch.tensor([3.0, 4.0])
    assert step_size(lambda x: x, direction, max_kl=0.5) == pytest.approx(0.2)
    # four times the Fisher matrix is half the step
    assert step_size(lambda x: 4 * x, direction, max_kl=0.5) == pytest.approx(0.1)


@pytest.mark.parametrize("name", EVERY)
def test_a_step_of_that_length_has_that_kl(name: str) -> None:
    make = EVERY[name]
    product = product_of(make, THETA)
    direction = torch.tensor([1.0, -2.0, 0.5, 1.5, -1.0, 0.7], dtype=torch.float64)
    step = direction * step_size(product, direction, max_kl=1e-6)
    assert float(make(THETA).kl(make(THETA + step)).mean()) == pytest.approx(1e-6, rel=1e-2)


def natural(make: Callable[[Tensor], Distribution], theta: Tensor) -> Tensor:
    """Take the natural step of a small KL that makes one action of each state likelier."""
    leaf = theta.clone().requires_grad_()
    wanted = make(leaf).log_prob(torch.tensor([0, 1, 2])) * torch.tensor([1.0, 2.0, -1.0])
    gradient = flat(torch.autograd.grad(wanted.sum(), [leaf]))
    product = product_of(make, theta)
    direction = conjugate_gradient(product, gradient, iterations=50, tolerance=1e-12)
    return theta + direction * step_size(product, direction, max_kl=1e-3)


@pytest.mark.parametrize("seed", range(3))
def test_the_natural_step_does_not_depend_on_how_the_policy_is_parametrized(seed: int) -> None:
    make, _ = POLICIES["categorical"]
    matrix, shift = positive(NUM_PARAMETERS, seed)

    def other(phi: Tensor) -> Distribution:
        return make(matrix @ phi + shift)

    phi = torch.linalg.solve(matrix, THETA - shift)
    torch.testing.assert_close(
        other(natural(other, phi)).log_prob(torch.tensor([0, 1, 2])),
        make(natural(make, THETA)).log_prob(torch.tensor([0, 1, 2])),
        rtol=1e-3,
        atol=1e-4,
    )


class Slope:
    """Gains and KL of steps along one axis by a table; notes where it was sent."""

    def __init__(self, table: dict[float, tuple[float, float]]) -> None:
        self.table = table
        self.visited: list[float] = []

    def __call__(self, step: Tensor) -> Trial:
        self.visited.append(float(step))
        return Trial(step, *self.table[float(step)])


NAN = math.nan
SEARCHES: list[tuple[dict[float, tuple[float, float]], float | None]] = [
    ({8: (1.0, 0.01)}, 8),
    ({8: (1.0, 0.02), 4: (0.5, 0.005)}, 4),
    ({8: (-1.0, 0.001), 4: (0.0, 0.001), 2: (0.1, 0.001)}, 2),
    ({8: (9.0, 1.0), 4: (9.0, 0.011), 2: (-1.0, 0.001), 1: (0.1, 0.01)}, 1),
    ({8: (NAN, 0.001), 4: (1.0, NAN), 2: (NAN, NAN), 1: (1.0, 0.001)}, 1),
    ({8: (1.0, 0.02), 4: (1.0, 0.02), 2: (-1.0, 0.0), 1: (NAN, NAN)}, None),
]


@pytest.mark.parametrize(("table", "expected"), SEARCHES)
def test_the_first_length_that_gains_and_keeps_to_the_kl_is_taken(
    table: dict[float, tuple[float, float]], expected: float | None
) -> None:
    attempt = Slope(table)
    trial, tries = line_search(attempt, torch.tensor(8.0), max_kl=0.01, tries=4)
    assert attempt.visited == list(table)
    assert tries == len(table)
    assert (trial and float(trial.step)) == expected
    if trial and expected:
        assert (trial.gain, trial.kl) == table[expected]


SOLVER = Solver(Game(diamond_hill.START, 2, diamond_hill.transitions, diamond_hill.observe))
LEFT = torch.tensor([0.7, 0.4, 0.8], dtype=torch.float64)
BAD_START = torch.stack([LEFT, 1 - LEFT], 1).log()


def exact_product(logits: Tensor) -> Product:
    """Multiply by the Fisher matrix of a table of logits, over an episode."""
    visits = torch.zeros(len(logits), dtype=torch.float64)
    for episode in SOLVER.episodes(logits.softmax(1)):
        visits[episode.nodes] += episode.probability

    def product(vector: Tensor) -> Tensor:
        leaf = logits.clone().requires_grad_()
        return hessian_product(Categorical(logits).kl(Categorical(leaf)) @ visits, [leaf], vector)

    return product


def natural_direction(logits: Tensor) -> Tensor:
    """Solve for the exact natural gradient of the expected return, [3, 2]."""
    gradient = SOLVER.gradient(logits)
    found = conjugate_gradient(
        exact_product(logits), gradient.flatten(), iterations=6, tolerance=1e-9
    )
    return found.view_as(logits)


def test_the_natural_gradient_passes_the_plateau_that_the_gradient_stays_on() -> None:
    plain = natural = BAD_START
    for _ in range(60):
        plain = plain + 0.1 * SOLVER.gradient(plain)
        natural = natural + 0.1 * natural_direction(natural)
    policies = plain.softmax(1), natural.softmax(1)
    found = [float(SOLVER.expected_return(policy)) for policy in policies]
    assert found == pytest.approx([9.9, 11], abs=0.1)
    left = [float(policy[0, diamond_hill.LEFT]) for policy in policies]
    assert left == pytest.approx([0, 1], abs=0.03)


def test_the_natural_gradient_of_a_table_is_the_advantage_of_each_action() -> None:
    # how often a state is visited does not matter (Kakade 2001)
    found = natural_direction(BAD_START)
    values = SOLVER.values(BAD_START.softmax(1))
    advantages = SOLVER.action_values(values) - values[:, None]
    # logits that differ by a constant are the same policy
    torch.testing.assert_close(found[:, 0] - found[:, 1], advantages[:, 0] - advantages[:, 1])
