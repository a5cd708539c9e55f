"""Whether a Gaussian policy can reach what the actions' bounds suggest."""

import numpy as np

from distpg.config.config import Config
from distpg.doctor.check import Check
from distpg.spaces import ActionSpec

NAME = "action scale"
FAR = 10.0
"""Bounds of actions without a range, in standard deviations of a new policy."""
HUGE = 1e6
"""Half range of bounds that may stand for infinite ones."""


def action_scale(spec: ActionSpec, config: Config) -> Check:
    """Compare the bounds of continuous actions with the unit of a Gaussian policy."""
    if spec.kind != "continuous":
        return Check("PASS", NAME, "discrete actions have none")
    if config.action_distribution != "gaussian":
        return Check("PASS", NAME, f"{config.action_distribution} covers the bounds")
    scaled = spec.is_bounded & (config.action_scale == "bounds")
    low, high = (bound[~scaled] for bound in spec.bounds)
    sides = np.concatenate([low, high])
    sides = sides[np.abs(sides) < spec.infinity]
    if (low > 1).any() or (high < -1).any() or (np.abs(sides) > FAR).any():
        worst = sides[np.abs(sides).argmax()]
        found = (
            f"a Gaussian starts at 0 +- 1, and an action that is not scaled has the bound {worst:g}"
        )
        advice = "use --action-scale bounds, give both bounds, or scale the action within the env"
        return Check("WARN", NAME, found, advice)
    _, half = spec.middle_and_half
    if (half[scaled] > HUGE).any():
        found = f"the unit of the Gaussian is half the range of the bounds, {half.max():g}"
        advice = "if the bounds stand for infinite ones, use --action-scale unit, or give inf"
        return Check("WARN", NAME, found, advice)
    units = half[scaled]
    if not units.size:
        return Check("PASS", NAME, "1 around 0 for all actions")
    span = (
        f"{units.min():g}" if units.min() == units.max() else f"{units.min():g} to {units.max():g}"
    )
    rest = "" if units.size == half.size else "; 1 around 0 for the others"
    return Check("PASS", NAME, f"half the range of the bounds: {span}{rest}")
