"""Whether a new Gaussian policy can reach the actions that the bounds of their space suggest."""

import numpy as np

from distpg.config.config import Config
from distpg.policy.action_units import BOUNDED
from distpg.spaces import ActionSpec

FAR = 10.0
"""Bounds of actions without a range, in standard deviations of a new policy."""
HUGE = 1e6
"""Half range of bounds that may stand for infinite ones."""


def out_of_reach(spec: ActionSpec, config: Config) -> tuple[str, str] | None:
    """Return what lies out of reach of a new policy, and the remedy; None if nothing does."""
    if spec.kind != "continuous" or config.action_distribution in BOUNDED:
        return None
    scaled = spec.is_bounded & (config.action_scale == "bounds")
    low, high = (bound[~scaled] for bound in spec.bounds)
    sides = np.concatenate([low, high])
    sides = sides[np.abs(sides) < spec.infinity]
    if (low > 1).any() or (high < -1).any() or (np.abs(sides) > FAR).any():
        worst = sides[np.abs(sides).argmax()]
        start = "the length of its features" if config.action_distribution == "gsde" else "1"
        return (
            f"a Gaussian starts at 0 +- {start}, and an action in units has the bound {worst:g}",
            "use --action-scale bounds, give both bounds, or scale the action within the env",
        )
    _, half = spec.middle_and_half
    if (half[scaled] > HUGE).any():
        return (
            f"the unit of the Gaussian is half the range of the bounds, {half.max():g}",
            "if the bounds stand for infinite ones, use --action-scale unit, or give inf",
        )
    return None
