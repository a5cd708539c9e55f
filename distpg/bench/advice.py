"""What limits a run: from measured speeds to a predicted iteration, and one sentence of advice.

Slots are what workers share out: a worker plays its slots one after the other, so the one with the
most decides when collecting ends. Then the learner updates, and the workers wait.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

Device = Literal["cpu", "cuda"]
NAMES: dict[Device, str] = {"cpu": "CPU", "cuda": "GPU"}
DOMINANT = 2.0
"""Times that the longer part of an iteration takes the shorter, where it is what limits the run."""
NOTICEABLE = 0.05
"""Share of an iteration that a change to the update must save to be worth a word."""


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One slot's speeds and a batch's update, on this machine."""

    cores: int
    """Of this machine, that the process may use."""
    num_workers: int
    num_slots: int
    overlap: bool
    """Whether rollouts are played during the update."""
    may_overlap: bool
    """Whether they may be: there are workers, and what is learned from them may be older."""
    may_compile: bool
    """Whether the update's gradient is not compiled, but may be."""
    num_epochs: int
    value_epochs: int
    minibatch_size: int | None
    batch_steps: int
    """Env steps of an iteration, all slots together; each is a sample of the update."""
    batch_bytes: int
    stepping_per_s: float
    """Env steps/s of a slot whose envs alone are stepped, without a policy."""
    acting_per_s: float
    """Env steps/s of a slot that collects: policy, envs, and what is noted of both."""
    transfer_s: float
    """Seconds in which one process writes and reads the rollouts of all slots."""
    device: Device
    """Where the learner is to compute."""
    update_s: Mapping[Device, float]
    """Seconds of an update on each device that there is."""
    doubled_s: float | None
    """Seconds of one with minibatches of twice the size, or None where the batch holds no two."""

    @property
    def policy_share(self) -> float:
        """Return the share of collecting that stepping alone would not take."""
        return max(0.0, 1 - self.acting_per_s / self.stepping_per_s)

    @property
    def passes(self) -> int:
        """Return how often an update goes over its batch."""
        return self.num_epochs + self.value_epochs

    @property
    def samples_per_s(self) -> Mapping[Device, float]:
        """Return the samples/s of an update on each device, counted anew in each pass."""
        samples = self.batch_steps * self.passes
        return {device: samples / update_s for device, update_s in self.update_s.items()}

    def saves(self, update_s: float) -> bool:
        """Whether an iteration would be noticeably shorter if an update took so long."""
        return self.update_s[self.device] - update_s > NOTICEABLE * predict(self).seconds


@dataclass(frozen=True)
class Iteration:
    """An iteration as the measurements predict it."""

    collect_s: float
    transfer_s: float
    update_s: float
    seconds: float
    """Of it all: one after the other, or with overlap the longer of the two."""
    steps_per_s: float
    limit_per_s: float
    """Env steps/s if nothing but stepping, on as many workers, took time."""
    limit_share: float
    """Share of that limit that is reached."""

    @property
    def gather_s(self) -> float:
        """Seconds until the learner has the rollouts; workers shorten them."""
        return self.collect_s + self.transfer_s


def predict(measured: Measurement) -> Iteration:
    """Put an iteration together from its parts."""
    in_turn = slots_in_turn(measured)
    slot_steps = measured.batch_steps / measured.num_slots
    collect_s = in_turn * slot_steps / measured.acting_per_s
    # in one process rollouts stay where they are
    moving = in_turn if measured.num_workers else 0
    transfer_s = moving * measured.transfer_s / measured.num_slots
    update_s = measured.update_s[measured.device]
    parts = (collect_s + transfer_s, update_s)
    seconds = max(parts) if measured.overlap else sum(parts)
    steps_per_s = measured.batch_steps / seconds
    limit_per_s = measured.num_slots / in_turn * measured.stepping_per_s
    share = steps_per_s / limit_per_s
    return Iteration(collect_s, transfer_s, update_s, seconds, steps_per_s, limit_per_s, share)


def slots_in_turn(measured: Measurement) -> float:
    """Count the slots that one follows the other: the busiest worker's, or those of a core.

    More workers than cores take turns, so that all of them together are what a core is shared by.
    """
    busiest = -(-measured.num_slots // max(1, measured.num_workers))
    return max(busiest, measured.num_slots / measured.cores)


def verdict(measured: Measurement) -> str:
    """Say in one line what limits the run, and what to change about it."""
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
        return f"update-bound: {facts}; {less_to_learn(measured)}"
    if measured.may_overlap and not measured.overlap:
        more = more or "--overlap does both at once"
    return f"balanced: {facts}" + (f"; {more}" if more else "")


def more_workers(measured: Measurement) -> str:
    """Advise workers for the cores that have none, one core being the learner's."""
    slots, workers, most = measured.num_slots, max(1, measured.num_workers), measured.cores - 1
    if workers >= most:
        return ""
    machine = f"this machine has {measured.cores} cores"
    each = -(-slots // most)
    # the fewest of which none has more slots
    enough = -(-slots // each)
    if enough > workers:
        gather_s = predict(replace(measured, num_workers=enough)).gather_s
        return f"--num-workers {enough} ({machine}) would collect in {duration(gather_s)}"
    grown = most * each
    return (
        f"more workers need more slots: --num-slots {grown} --num-workers {most} ({machine}) would "
        f"collect {grown / slots:.3g} times the steps in as many seconds"
    )


def no_more_workers(measured: Measurement) -> str:
    """Say where workers are to come from when this machine has no core for one."""
    unshared = measured.num_slots <= max(1, measured.num_workers)
    slots = ", and more --num-slots for them" if unshared else ""
    return (
        f"workers and learner have all cores of this machine ({measured.cores}): a cluster "
        f"(--address) adds workers{slots}"
    )


def less_to_learn(measured: Measurement) -> str:
    """Name the settings that there is something to take from."""
    options = ["--compile, for a run of many minutes"] if measured.may_compile else []
    if measured.num_epochs > 1:
        options.append(f"fewer --num-epochs (now {measured.num_epochs})")
    if measured.value_epochs:
        options.append(f"fewer --value-epochs (now {measured.value_epochs})")
    doubled_s, size = measured.doubled_s, measured.minibatch_size
    if doubled_s is not None and size is not None and measured.saves(doubled_s):
        options.append(f"--minibatch-size {2 * size}, which updates in {duration(doubled_s)}")
    return " or ".join(options) or "only a smaller network or another batch would help"


def duration(seconds: float) -> str:
    """Write seconds, or milliseconds below one."""
    return f"{seconds:.3g} s" if seconds >= 1 else f"{1000 * seconds:.3g} ms"
