"""From actions as they are sampled to those of the environment, and back; needs no torch."""

from collections.abc import Callable
from typing import Any

import numpy as np

from distpg.spaces import ActionSpec

BOUND_MARGIN = 1e-3
"""Distance, as a fraction of the range, at which given actions are kept from a bound."""


Map = Callable[[np.ndarray], np.ndarray]


def squash(actions: np.ndarray) -> np.ndarray:
    """Map u [*B, A], whose tanh is the action, into [0, 1]."""
    return (1 + np.tanh(actions)) / 2


def unsquash(unit: np.ndarray) -> np.ndarray:
    """Map [*B, A] in (0, 1) back to u."""
    return np.arctanh(2 * unit - 1)


def unchanged(actions: np.ndarray) -> np.ndarray:
    """Return what is in [0, 1] already."""
    return actions


BOUNDED: dict[str, tuple[Map, Map]] = {
    "squashed_gaussian": (squash, unsquash),
    "beta": (unchanged, unchanged),
}
"""By distribution, from sampled actions to [0, 1], and back."""


class ActionUnits:
    """The units of continuous actions in a rollout; all other actions have none."""

    def __init__(self, spec: ActionSpec, action_distribution: str, action_scale: str) -> None:
        """Take over the actions of an env, `--action-distribution` and `--action-scale`."""
        self.spec = spec
        self.bounded = BOUNDED.get(action_distribution) if spec.kind == "continuous" else None
        scaled = self.bounded is None and spec.is_scaled and action_scale == "bounds"
        self.gaussian = spec.middle_and_half if scaled else None
        """Where a Gaussian's 0 lies, and how far its 1 from there, [A] each; None if at 0 and 1."""

    def to_bounds(self, actions: np.ndarray) -> np.ndarray:
        """Map sampled actions to what `VectorEnv.step` accepts, [*B] or [*B, A].

        Those of a bounded distribution are scaled to the bounds, those of a Gaussian by
        `--action-scale`, in float64; all others are returned unchanged. What is out of bounds is
        clipped by `VectorEnv.step`.
        """
        if self.gaussian is not None:
            middle, half = self.gaussian
            return middle + half * actions
        if self.bounded is None:
            return actions
        low, high = self.spec.bounds
        to_unit, _ = self.bounded
        unit = to_unit(actions.astype(np.float64))
        # not low + (high - low) * unit, which misses the upper bound
        return low * (1 - unit) + high * unit

    def from_env(self, actions: Any) -> np.ndarray:
        """Map actions that the env accepts, [B, *shape], to ones as sampled, [B] or [B, A].

        A bounded distribution never samples a bound, whose log-probability may be infinite: actions
        there are moved inside by a thousandth of the range.

        Raises:
            InputError: they are not actions of the env.
        """
        stored = self.spec.from_env(actions)
        if self.gaussian is None and self.bounded is None:
            return stored
        middle, half = self.spec.middle_and_half
        # a range may be a single number
        scaled = (stored - middle) / np.where(half > 0, half, 1)
        if self.bounded is not None:
            _, from_unit = self.bounded
            scaled = from_unit(((1 + scaled) / 2).clip(BOUND_MARGIN, 1 - BOUND_MARGIN))
        return scaled.astype(stored.dtype)
