"""Histograms of what an update learns from; free of side effects."""

import numpy as np
from torch import Tensor

from distpg.gradient.trajectories import Trajectories
from distpg.learner import objective
from distpg.learner.minibatches import Samples
from distpg.learner.train_state import TrainState
from distpg.policy.actor_critic import Policy

NUM_BINS = 30
MAX_DIMENSIONS = 8
"""Dimensions of an action that have a histogram each."""


def count(values: np.ndarray, *, integer: bool = False) -> np.ndarray:
    """Count [B] numbers in bins of equal width; those that are not finite are left out.

    Args:
        values: The numbers.
        integer: Whether they are integers; each then has its bin, if there are bins for all.

    Returns:
        [K, 3] left edge, right edge and count; K is 0 without a number.
    """
    finite = values[np.isfinite(values)].astype(np.float64)
    if not len(finite):
        return np.zeros((0, 3))
    low, high, bins = finite.min(), finite.max(), NUM_BINS
    if integer:
        bins = min(bins, int(high - low) + 1)
        low, high = low - 0.5, high + 0.5
    elif low == high:
        # of a number so large that it swallows a half, bins would have no width
        half = max(0.5, abs(low) / 1000)
        low, high = low - half, high + half
    counts, edges = np.histogram(finite, bins, (low, high))
    return np.stack([edges[:-1], edges[1:], counts], axis=1)


def of_actions(policy: Policy, actions: Tensor) -> dict[str, np.ndarray]:
    """Count actions, [B] or [B, A] as sampled, in the units in which the environment gets them.

    Returns:
        By TensorBoard tag, as `count` returns them.
    """
    spec = policy.action_spec
    given = spec.to_env(policy.to_bounds(actions.numpy(force=True)))
    # neighbouring float64 have no numbers between them for the edges of bins
    with np.errstate(over="ignore"):
        table = given.reshape(len(given), -1).astype(np.float32)
    integer = spec.kind != "continuous"
    if not 1 < table.shape[1] <= MAX_DIMENSIONS:
        return {"batch/actions": count(table.ravel(), integer=integer)}
    return {
        f"batch/actions/{dimension}": count(column, integer=integer)
        for dimension, column in enumerate(table.T)
    }


def of_batch(
    state: TrainState, samples: Samples, trajectories: Trajectories
) -> dict[str, np.ndarray]:
    """Count the actions, advantages, returns and values of a batch before its update.

    Returns:
        By TensorBoard tag, as `count` returns them; empty if the counts are not due.
    """
    if not state.is_due(state.config.histogram_every):
        return {}
    targets = objective.compute_targets(state.config, state.policy, samples, trajectories)
    numbers = {"advantages": targets.advantages, "returns": targets.returns}
    if state.model.critic:
        numbers["values"] = samples.values
    counts = {f"batch/{name}": count(x.float().numpy(force=True)) for name, x in numbers.items()}
    return of_actions(state.policy, samples.actions) | counts
