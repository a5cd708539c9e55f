"""The natural gradient: steepest descent in the KL metric, invariant to parametrization.

Pure functions on flat vectors [P] and of closures: from a vector to its product with a matrix, from
a step to its outcome.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Product = Callable[[Tensor], Tensor]
"""From x [P] to A x [P], for a symmetric positive semidefinite A."""


def conjugate_gradient(
    product: Product, vector: Tensor, *, iterations: int, tolerance: float
) -> Tensor:
    """Solve A x = b from products with A only (Hestenes and Stiefel 1952).

    Args:
        product: With A.
        vector: [P] b; in the range of A if that is singular.
        iterations: At most; P of them are exact, up to rounding.
        tolerance: Norm of the residual, relative to that of b, at which to stop.

    Returns:
        [P] x.
    """
    solution = torch.zeros_like(vector)
    residual = direction = vector
    squared = residual @ residual
    enough = tolerance**2 * squared
    for _ in range(iterations):
        image = product(direction)
        curvature = direction @ image
        if not (squared > enough and curvature > 0):
            break
        length = squared / curvature
        solution = solution + length * direction
        residual = residual - length * image
        before, squared = squared, residual @ residual
        direction = residual + squared / before * direction
    return solution


def hessian_product(scalar: Tensor, parameters: Sequence[Tensor], vector: Tensor) -> Tensor:
    """Multiply the Hessian of a scalar by [P], by differentiating twice (Pearlmutter 1994).

    The Fisher matrix is the Hessian of the mean over states of KL(pi || pi_theta), at the theta
    for which pi_theta is pi (Schulman et al. 2015, appendix C.1).
    """
    gradient = flat(torch.autograd.grad(scalar, parameters, create_graph=True))
    return flat(torch.autograd.grad(gradient, parameters, vector))


def flat(tensors: Iterable[Tensor]) -> Tensor:
    """Concatenate tensors into one vector, [P]."""
    return torch.cat([tensor.flatten() for tensor in tensors])


def step_size(product: Product, direction: Tensor, *, max_kl: float) -> float:
    """Return how far to go along a direction x for a KL of `max_kl`: sqrt(2 max_kl / x^T F x).

    The KL is taken to second order (Schulman et al. 2015, appendix C; Rajeswaran et al. 2017).

    Args:
        product: With the Fisher matrix F; its damping also shortens the step.
        direction: [P] x, the natural gradient if F x is the gradient (Kakade 2001).
        max_kl: In nats, a mean over states.

    Returns:
        The factor of x; 0 if x does not change the policy.
    """
    curvature = float(direction @ product(direction))
    return math.sqrt(2 * max_kl / curvature) if curvature > 0 else 0.0


@dataclass(frozen=True)
class Trial:
    """A step and its outcome."""

    step: Tensor
    """[P]"""
    gain: float
    """Increase of the surrogate."""
    kl: float
    """KL(before || after) in nats, the mean over states."""


def line_search(
    attempt: Callable[[Tensor], Trial], step: Tensor, *, max_kl: float, tries: int
) -> tuple[Trial | None, int]:
    """Halve a step until it gains within the trust region (Schulman et al. 2015, app. C).

    Args:
        attempt: Takes a step [P] from the start of the search.
        step: [P] the longest one.
        max_kl: Upper limit of the KL.
        tries: Step lengths to attempt.

    Returns:
        The first one accepted, or None, and how many were attempted.
    """
    for halvings in range(tries):
        trial = attempt(step * 0.5**halvings)
        if trial.gain > 0 and trial.kl <= max_kl:
            return trial, halvings + 1
    return None, tries
