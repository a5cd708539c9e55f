"""Validate a batch before an update, and the result after it.

A batch is finite, and was collected with this policy: before the first step of an update the
probability ratio is 1 up to float32 rounding. Anything else means that worker and learner differ:
in weights, normalizer or precision.
"""

import math
from collections.abc import Mapping, Sequence

from torch import Tensor

from distpg.errors import AnomalyError, RunError
from distpg.gradient.diagnostics import approx_kl
from distpg.records import Batch, Rollout

LIMITS = {"float32": {"median": 1e-5, "max": 1e-3}, "bf16": {"median": 0.02, "max": 1.0}}


def check_versions(rollouts: Sequence[Rollout], num_slots: int, version: int, allowed: int) -> int:
    """Refuse a batch that is not each slot once, in order, of this policy version or a recent one.

    Args:
        rollouts: Of one batch.
        num_slots: Slots of a batch.
        version: Of the learner's policy.
        allowed: How many updates old the behaviour policy may be.

    Returns:
        How many updates old it is; the same for all rollouts.

    Raises:
        RunError: names the slot and both versions.
    """
    slots = [rollout.slot for rollout in rollouts]
    if slots != list(range(num_slots)):
        raise RunError(f"a batch needs each of {num_slots} slots once, not {slots}")
    staleness = version - rollouts[0].policy_version
    for rollout in rollouts:
        if version - rollout.policy_version != staleness or not 0 <= staleness <= allowed:
            raise RunError(
                f"slot {rollout.slot} acted with version {rollout.policy_version} of the policy; "
                f"the learner is at version {version}"
            )
    return staleness


def check_batch_finite(batch: Batch, num_envs: int) -> None:
    """Refuse rewards and observations that are NaN or infinite.

    Raises:
        RunError: one is NaN or infinite; names slot, env, step and field.
    """
    fields = {"reward": batch.rewards}
    for name, leaf in batch.obs.items():
        fields |= {f"observation {name}": leaf[:-1], f"observation {name} after": leaf[1:]}
    real = {field: values for field, values in fields.items() if values.is_floating_point()}
    for field, values in real.items():
        bad = ~values.isfinite().flatten(2).all(2) if values.ndim > 2 else ~values.isfinite()
        bad &= batch.valid
        if bad.any():
            t, column = bad.nonzero()[0].tolist()
            slot, env = divmod(column, num_envs)
            value = values[t, column][~values[t, column].isfinite()][0]
            raise RunError(
                f"slot {slot}, env {env}: the {field} at step {t} of the rollout is not finite: "
                f"{value:g}; correct the environment, or pass --on-bad-value drop"
            )


def check_on_policy(
    log_ratio: Tensor, slots: Tensor, limits: Mapping[str, float]
) -> dict[str, float]:
    """Check |log ratio| before the first step of an update.

    Args:
        log_ratio: [B] log pi(a|s) of the learner minus that of the worker.
        slots: [B] int64 slot that each sample came from.
        limits: Of the precision; empty if the behaviour policy is an older one.

    Returns:
        Its median and maximum, by TensorBoard tag.

    Raises:
        RunError: a limit is exceeded; names the slot that is farthest off.
    """
    distance = log_ratio.abs()
    found = {"median": float(distance.median()), "max": float(distance.max())}
    for measure, limit in limits.items():
        if not found[measure] <= limit:
            slot = int(slots[distance.argmax()])
            raise RunError(
                f"slot {slot} was not collected with this policy: before the update the {measure} "
                f"|log ratio| is {found[measure]:.2g}; at most {limit:.0e} is rounding"
            )
    return {f"train/on_policy_{measure}": value for measure, value in found.items()}


def distance(log_ratio: Tensor, num_samples: int, clip: float | None) -> dict[str, float]:
    """Measure how far the minibatches of an update found the policy from the behaviour policy.

    Args:
        log_ratio: [M] of all minibatches of all epochs, in their order.
        num_samples: Of an epoch.
        clip: The clip range, if there is one.

    Returns:
        The KL in the last epoch, which may have ended early, and, with a clip range, the fraction
        of all ratios beyond it, by TensorBoard tag; both as in Stable-Baselines3.
    """
    in_last_epoch = (len(log_ratio) - 1) % num_samples + 1
    found = {"train/approx_kl": float(approx_kl(log_ratio[-in_last_epoch:]))}
    if clip is not None:
        beyond = (log_ratio.exp() - 1).abs() > clip
        found["train/clip_fraction"] = float(beyond.float().mean())
    return found


def check_update_finite(stats: Mapping[str, float], version: int, *, finite: bool) -> None:
    """Raise if the update produced non-finite values.

    Args:
        stats: Of the update, by TensorBoard tag.
        version: Of the policy before it.
        finite: Whether all parameters are finite after it.

    Raises:
        AnomalyError: a loss, the gradient's norm or a parameter is NaN or infinite.
    """
    tags = ("train/policy_gradient_loss", "train/value_loss", "imitation/loss", "gradient/norm")
    bad = [tag for tag in tags if not math.isfinite(stats.get(tag, 0.0))]
    bad += [] if finite else ["a parameter"]
    if bad:
        raise AnomalyError(f"update {version}: {' and '.join(bad)} is not finite", stats)
