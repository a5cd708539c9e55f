"""Predict an iteration from measured speeds, and advise on what limits the run.

Each worker collects its slots one after the other, so the worker with the most slots determines
when collecting ends. Then the workers wait while the learner updates.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

Device = Literal["cpu", "cuda"]
NAMES: dict[Device, str] = {"cpu": "CPU", "cuda": "GPU"}
DOMINANT = 2.0
"""Ratio of collecting to updating, or the reverse, from which the longer one limits the run."""
NOTICEABLE = 0.05
"""Fraction of an iteration that a change to the update must save to be recommended."""


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """Speeds of one slot and of an update, on this machine."""

    cores: int
    """Cores of this machine that the process may use."""
    num_workers: int
    num_slots: int
    overlap: bool
    """Whether rollouts are collected during the update."""
    may_overlap: bool
    """Whether --overlap is legal for these settings."""
    may_compile: bool
    """Whether the update is not compiled, but could be."""
    num_epochs: int
    value_epochs: int
    minibatch_size: int | None
    batch_steps: int
    """Env steps of an iteration over all slots, which are the samples of an update."""
    batch_bytes: int
    stepping_per_s: float
    """Env steps/s of a slot that only steps its envs, without a policy."""
    acting_per_s: float
    """Env steps/s of a slot that collects: policy inference, stepping, and buffer writes."""
    transfer_s: float
    """Seconds that one process needs to write and read the rollouts of all slots."""
    device: Device
    """The learner's device."""
    update_s: Mapping[Device, float]
    """Seconds of an update on each available device."""
    doubled_s: float | None
    """Seconds of an update with twice the minibatch size; None if the batch is too small."""

    @property
    def policy_share(self) -> float:
        """Fraction of collecting that is not stepping."""
        return max(0.0, 1 - self.acting_per_s / self.stepping_per_s)

    @property
    def passes(self) -> int:
        """Number of passes over the batch in an update."""
        return self.num_epochs + self.value_epochs

    @property
    def samples_per_s(self) -> Mapping[Device, float]:
        """Samples/s of an update on each device; a sample counts once per pass."""
        samples = self.batch_steps * self.passes
        return {device: samples / update_s for device, update_s in self.update_s.items()}

    def saves(self, update_s: float) -> bool:
        """Return whether updates of `update_s` would make iterations noticeably shorter."""
        return self.update_s[self.device] - update_s > NOTICEABLE * predict(self).seconds


@dataclass(frozen=True)
class Prediction:
    """The predicted seconds and speed of an iteration."""

    collect_s: float
    transfer_s: float
    update_s: float
    seconds: float
    """Of the iteration: the sum of the above; with overlap, the longer of collecting and update."""
    steps_per_s: float
    limit_per_s: float
    """Env steps/s if only stepping took time, with as many workers."""
    limit_share: float
    """Fraction of that limit that is reached."""

    @property
    def gather_s(self) -> float:
        """Seconds until the learner has the rollouts."""
        return self.collect_s + self.transfer_s


def predict(measured: Measurement) -> Prediction:
    """Predict an iteration from the measured speeds."""
    sequential = sequential_slots(measured)
    slot_steps = measured.batch_steps / measured.num_slots
    collect_s = sequential * slot_steps / measured.acting_per_s
    # rollouts are not transferred within one process
    transferred = sequential if measured.num_workers else 0
    transfer_s = transferred * measured.transfer_s / measured.num_slots
    update_s = measured.update_s[measured.device]
    parts = (collect_s + transfer_s, update_s)
    seconds = max(parts) if measured.overlap else sum(parts)
    steps_per_s = measured.batch_steps / seconds
    limit_per_s = measured.num_slots / sequential * measured.stepping_per_s
    share = steps_per_s / limit_per_s
    return Prediction(collect_s, transfer_s, update_s, seconds, steps_per_s, limit_per_s, share)


def sequential_slots(measured: Measurement) -> float:
    """Return the number of slots collected one after the other, by a worker or on a core.

    With more workers than cores, it is the number of slots per core.
    """
    busiest_worker = math.ceil(measured.num_slots / max(1, measured.num_workers))
    return max(busiest_worker, measured.num_slots / measured.cores)


def verdict(measured: Measurement) -> str:
    """Return one line: what limits the run, and what to change."""
    iteration = predict(measured)
    gather_s, update_s = iteration.gather_s, iteration.update_s
    here, fastest = measured.device, min(measured.update_s, key=measured.update_s.__getitem__)
    shorter_s = measured.update_s[fastest]
    if measured.saves(shorter_s):
        return (
            f"{NAMES[here]} slower than {NAMES[fastest]} for this network: use --device {fastest}; "
            f"updating takes {duration(update_s)} on the {NAMES[here]}, {duration(shorter_s)} on "
            f"the {NAMES[fastest]}"
        )
    facts = f"collecting takes {duration(gather_s)} of an iteration, updating {duration(update_s)}"
    more = more_workers(measured)
    if gather_s >= DOMINANT * update_s:
        return f"collection-bound: {facts}; {more or no_more_workers(measured)}"
    if update_s >= DOMINANT * gather_s:
        return f"update-bound: {facts}; {cheaper_update(measured)}"
    if measured.may_overlap and not measured.overlap:
        more = more or "--overlap does both at once"
    return f"balanced: {facts}" + (f"; {more}" if more else "")


def more_workers(measured: Measurement) -> str:
    """Advise to use idle cores for workers, leaving one to the learner; empty if none is idle."""
    slots, workers = measured.num_slots, max(1, measured.num_workers)
    max_workers = measured.cores - 1
    if workers >= max_workers:
        return ""
    machine = f"this machine has {measured.cores} cores"
    slots_each = math.ceil(slots / max_workers)
    # as fast as with all of them
    enough = math.ceil(slots / slots_each)
    if enough > workers:
        gather_s = predict(replace(measured, num_workers=enough)).gather_s
        return f"--num-workers {enough} ({machine}) would collect in {duration(gather_s)}"
    more_slots = max_workers * slots_each
    return (
        f"more workers need more slots: --num-slots {more_slots} --num-workers {max_workers} "
        f"({machine}) would collect {more_slots / slots:.3g} times the steps in the same time"
    )


def no_more_workers(measured: Measurement) -> str:
    """Advise a cluster when all cores of this machine are in use."""
    one_slot_each = measured.num_slots <= max(1, measured.num_workers)
    slots = ", which need more --num-slots" if one_slot_each else ""
    return (
        f"workers and learner use all cores of this machine ({measured.cores}): a cluster "
        f"(--address) adds workers{slots}"
    )


def cheaper_update(measured: Measurement) -> str:
    """List settings that make an update shorter."""
    options = ["--compile on"] if measured.may_compile else []
    if measured.num_epochs > 1:
        options.append(f"fewer --num-epochs (now {measured.num_epochs})")
    if measured.value_epochs:
        options.append(f"fewer --value-epochs (now {measured.value_epochs})")
    doubled_s, size = measured.doubled_s, measured.minibatch_size
    if doubled_s is not None and size is not None and measured.saves(doubled_s):
        options.append(f"--minibatch-size {2 * size}, which updates in {duration(doubled_s)}")
    return " or ".join(options) or "only a smaller network or another batch would help"


def duration(seconds: float) -> str:
    """Write seconds, or milliseconds if below one."""
    return f"{seconds:.3g} s" if seconds >= 1 else f"{1000 * seconds:.3g} ms"
