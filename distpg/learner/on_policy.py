"""The check that the policy about to be updated is the one that played.

Before the first step of an update the ratio of their probabilities is 1, but for float32's last
bits. Anything else means that worker and learner differ: in weights, normalizer or precision.
"""

from torch import Tensor

from distpg.errors import RunError

LIMITS = {"median": 1e-5, "max": 1e-3}


def check_on_policy(log_ratio: Tensor, slots: Tensor) -> dict[str, float]:
    """Measure |log ratio| on the first minibatch.

    Args:
        log_ratio: [M] log pi(a|s) now minus when it was played.
        slots: [M] int64 slot that each sample came from.

    Returns:
        Its median and maximum, by TensorBoard tag.

    Raises:
        RunError: it is over the limits; names the slot that is farthest off.
    """
    distance = log_ratio.abs()
    found = {"median": float(distance.median()), "max": float(distance.max())}
    for measure, limit in LIMITS.items():
        if not found[measure] <= limit:
            slot = int(slots[distance.argmax()])
            raise RunError(
                f"slot {slot} was not played by this policy: before the update the {measure} "
                f"|log ratio| is {found[measure]:.2g}; at most {limit:.0e} is rounding"
            )
    return {f"train/on_policy_{measure}": value for measure, value in found.items()}
