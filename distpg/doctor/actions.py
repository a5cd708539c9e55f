"""Whether a Gaussian policy can reach what the actions' bounds suggest."""

from distpg.config.config import Config
from distpg.doctor.check import Check
from distpg.policy.action_units import BOUNDED
from distpg.policy.reach import out_of_reach
from distpg.spaces import ActionSpec

NAME = "action scale"


def action_scale(spec: ActionSpec, config: Config) -> Check:
    """Compare the bounds of continuous actions with the unit of a Gaussian policy."""
    if spec.kind != "continuous":
        return Check("PASS", NAME, "discrete actions have none")
    if config.action_distribution in BOUNDED:
        return Check("PASS", NAME, f"{config.action_distribution} covers the bounds")
    if (far := out_of_reach(spec, config)) is not None:
        return Check("WARN", NAME, *far)
    scaled = spec.is_bounded & (config.action_scale == "bounds")
    _, half = spec.middle_and_half
    units = half[scaled]
    if not units.size:
        return Check("PASS", NAME, "1 around 0 for all actions")
    span = (
        f"{units.min():g}" if units.min() == units.max() else f"{units.min():g} to {units.max():g}"
    )
    rest = "" if units.size == half.size else "; 1 around 0 for the others"
    return Check("PASS", NAME, f"half the range of the bounds: {span}{rest}")
