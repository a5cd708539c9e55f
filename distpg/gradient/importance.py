"""Importance weights: they correct for a different behaviour policy.

Pure functions on [T, N] tensors. A product over an episode starts at its first step, or at the
first row of the segment if the episode started earlier.
"""

from typing import Literal

import torch
from torch import Tensor

from distpg.gradient.trajectories import episode_starts


def importance_weights(
    log_ratio: Tensor,
    done: Tensor,
    valid: Tensor,
    kind: Literal["trajectory", "per_decision", "per_step"],
) -> Tensor:
    """Return the weight of each step's score, grad log pi(a|s).

    Args:
        log_ratio: [T, N] log pi(a|s) minus that of the behaviour policy.
        done: [T, N] bool.
        valid: [T, N] bool.
        kind: "trajectory" is the product of the ratios of the whole episode: unbiased, with a
            variance exponential in its length. "per_decision" is the product up to the step
            (Precup et al. 2000): unbiased with a Psi that corrects for the steps after it.
            "per_step" is the step's own ratio, which neglects the change of state distribution.

    Returns:
        [T, N] weights; 0 if a step is not valid.
    """
    log_ratio = log_ratio.masked_fill(~valid, 0)
    if kind == "per_step":
        return log_ratio.exp() * valid
    starts = episode_starts(done, valid)
    products = torch.empty_like(log_ratio)
    so_far = torch.zeros_like(log_ratio[0])
    for t in range(len(log_ratio)):
        so_far = so_far.masked_fill(starts[t], 0) + log_ratio[t]
        products[t] = so_far
    if kind == "trajectory":
        for t in reversed(range(len(log_ratio) - 1)):
            products[t] = torch.where(done[t], products[t], products[t + 1])
    return products.exp() * valid
