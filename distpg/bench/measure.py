"""Measure the speeds of one slot and one learner, in this process.

Each is the median of the repetitions that fit into its time, at least one; a first one warms up.
"""

import itertools
import pickle
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch

from distpg.bench.advice import Device, Measurement
from distpg.config.config import Config
from distpg.doctor.facts import cores
from distpg.envs.make import EnvSource
from distpg.learner.compiled import is_ahead_of_time
from distpg.learner.learner import Learner
from distpg.records import LearnerState, Rollout
from distpg.rollout.closing import closing
from distpg.rollout.slot_state import Collected
from distpg.rollout.worker import RolloutWorker


def measure(
    config: Config,
    source: EnvSource,
    seconds: float,
    *,
    start_from: LearnerState | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Measurement:
    """Collect and update with a configuration, and time both; nothing is written.

    Args:
        config: The settings.
        source: How to make the environment.
        seconds: Time for each measurement.
        start_from: Networks of another run.
        say: Called with a line if the update has to be compiled.

    Raises:
        InputError: the environment cannot be made, or the device is missing.
    """
    # all updates must do the same work
    config = replace(config, gradient_stats_every=0, histogram_every=0, target_kl=None)
    worker = RolloutWorker(config, source, slot=0)
    with closing(worker.envs):
        specs = (worker.envs.obs_spec, worker.envs.action_spec)
        learner = Learner(config, *specs)
        if start_from is not None:
            learner.start_from(start_from)
        weights, state = learner.weights(), learner.state()
        # as in a worker process
        torch.set_num_threads(1)
        first = worker.collect(weights, 0)
        collected = [worker.collect(weights, iteration) for iteration in repeat_for(seconds)]
        stepping_per_s = statistics.median(replay(worker, first) for _ in repeat_for(seconds))
    # one slot's rollouts are used for all slots, which differ only in their RNG seeds
    batch = [
        replace(one.rollout, slot=slot)
        for slot, one in zip(range(config.slots), itertools.cycle(collected), strict=False)
    ]
    batch_bytes, transfer_s = time_transfer(batch, seconds)
    devices: list[Device] = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]

    def median_update_s(**changes: Any) -> float:
        changed = Learner(replace(config, **changes), *specs)
        changed.compile({}, say)
        # with --compile the second update may compile, too
        for _ in range(2 if changed.compiles == "on" else 1):
            time_update(changed, state, batch)
        return statistics.median(time_update(changed, state, batch) for _ in repeat_for(seconds))

    update_s: dict[Device, float] = {device: median_update_s(device=device) for device in devices}
    batch_steps = sum(int(rollout.valid.sum()) for rollout in batch)
    doubled_s, size = None, config.minibatch_size
    if size is not None and 2 * size <= batch_steps:
        doubled_s = median_update_s(minibatch_size=2 * size)
    return Measurement(
        cores=cores(),
        num_workers=config.num_workers,
        num_slots=config.slots,
        # one process cannot overlap
        overlap=config.overlap and config.num_workers > 0,
        may_compile=learner.compiles == "off"
        and is_ahead_of_time(config, learner.device, specs[0]),
        may_overlap=config.num_workers > 0 and not config.requires_on_policy,
        num_epochs=config.num_epochs,
        value_epochs=config.value_epochs,
        minibatch_size=config.minibatch_size,
        batch_steps=batch_steps,
        batch_bytes=batch_bytes,
        stepping_per_s=stepping_per_s,
        acting_per_s=statistics.median(x.stats.env_steps / x.stats.collect_s for x in collected),
        transfer_s=transfer_s,
        device="cuda" if learner.device.type == "cuda" else "cpu",
        update_s=update_s,
        doubled_s=doubled_s,
    )


def repeat_for(seconds: float) -> Iterator[int]:
    """Count from 1 until the time is up, at least to 1."""
    end = time.perf_counter() + seconds
    for count in itertools.count(1):
        yield count
        if time.perf_counter() >= end:
            return


def replay(worker: RolloutWorker, first: Collected) -> float:
    """Repeat the steps of a slot's first rollout without the policy; return env steps/s.

    The same actions after the same reset give the same episodes.
    """
    began = time.perf_counter()
    worker.reset(0)
    if not worker.config.episodes:
        # only whole episodes reset in every rollout
        began = time.perf_counter()
    for actions in first.rollout.actions:
        worker.envs.step(worker.agent.units.to_bounds(actions))
    return first.stats.env_steps / (time.perf_counter() - began)


def time_transfer(batch: Sequence[Rollout], seconds: float) -> tuple[int, float]:
    """Write and read rollouts in this process, as Ray does between processes of a machine.

    Arrays are pickled out of band, copied into memory once, and read in place. The overhead of
    Ray's object store, its processes and a network is not included.

    Returns:
        The bytes of the batch, and the median seconds.
    """

    def copy(rollout: Rollout) -> int:
        buffers: list[pickle.PickleBuffer] = []
        header = pickle.dumps(rollout, protocol=5, buffer_callback=buffers.append)
        stored = [bytes(buffer.raw()) for buffer in buffers]
        pickle.loads(header, buffers=stored)
        return len(header) + sum(map(len, stored))

    size = sum(copy(rollout) for rollout in batch)
    taken_s: list[float] = []
    for _ in repeat_for(seconds):
        began = time.perf_counter()
        for rollout in batch:
            copy(rollout)
        taken_s.append(time.perf_counter() - began)
    return size, statistics.median(taken_s)


def time_update(learner: Learner, state: LearnerState, batch: Sequence[Rollout]) -> float:
    """Make one update from a given state; return its seconds."""
    learner.load(state)
    began = time.perf_counter()
    learner.update(batch)
    return time.perf_counter() - began
