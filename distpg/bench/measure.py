"""The speeds of one slot and one learner, measured on this machine, in this process.

Each is the median of what fits into its seconds, and of one at least; what comes first warms up.
"""

import itertools
import pickle
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch

from distpg.bench.advice import Device, Measurement
from distpg.config.config import Config
from distpg.doctor.facts import cores
from distpg.envs.make import EnvSource
from distpg.learner.learner import Learner
from distpg.records import LearnerState, Rollout
from distpg.rollout.worker import Collected, RolloutWorker


def measure(
    config: Config, source: EnvSource, seconds: float, *, start_from: LearnerState | None = None
) -> Measurement:
    """Play and learn as the configuration says, and keep nothing of it.

    Args:
        config: The settings.
        source: How to make the environment.
        seconds: Time for each measurement.
        start_from: Networks of another run.

    Raises:
        InputError: the environment cannot be made, or the device is not there.
    """
    # what only some updates do is left out
    config = replace(config, gradient_stats_every=0, target_kl=None)
    worker = RolloutWorker(config, source, slot=0)
    specs = (worker.envs.obs_spec, worker.envs.action_spec)
    learner = Learner(config, *specs)
    if start_from is not None:
        learner.start_from(start_from)
    weights, state = learner.weights(), learner.state()
    # as in a worker's process
    torch.set_num_threads(1)
    first = worker.collect(weights, 0)
    played = [worker.collect(weights, iteration) for iteration in within(seconds)]
    stepping_per_s = statistics.median(replay(worker, first) for _ in within(seconds))
    worker.envs.close()
    # slots differ in their random streams alone
    batch = [
        replace(one.rollout, slot=slot)
        for slot, one in zip(range(config.slots), itertools.cycle(played), strict=False)
    ]
    batch_bytes, transfer_s = transfer(batch, seconds)
    devices: list[Device] = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]

    def updating(**changes: Any) -> float:
        there = Learner(replace(config, **changes), *specs)
        # with --compile, the second one may compile, too
        for _ in range(1 + config.compile):
            update(there, state, batch)
        return statistics.median(update(there, state, batch) for _ in within(seconds))

    update_s: dict[Device, float] = {device: updating(device=device) for device in devices}
    batch_steps = sum(int(rollout.valid.sum()) for rollout in batch)
    doubled_s, size = None, config.minibatch_size
    if size is not None and 2 * size <= batch_steps:
        doubled_s = updating(minibatch_size=2 * size)
    return Measurement(
        cores=cores(),
        num_workers=config.num_workers,
        num_slots=config.slots,
        # in one process they take turns all the same
        overlap=config.overlap and config.num_workers > 0,
        may_compile=not config.compile and config.recurrent == "none",
        may_overlap=config.num_workers > 0 and not config.requires_on_policy,
        num_epochs=config.num_epochs,
        value_epochs=config.value_epochs,
        minibatch_size=config.minibatch_size,
        batch_steps=batch_steps,
        batch_bytes=batch_bytes,
        stepping_per_s=stepping_per_s,
        acting_per_s=statistics.median(x.stats.env_steps / x.stats.collect_s for x in played),
        transfer_s=transfer_s,
        device="cuda" if learner.device.type == "cuda" else "cpu",
        update_s=update_s,
        doubled_s=doubled_s,
    )


def within(seconds: float) -> Iterator[int]:
    """Count from 1 until the time is up; 1 always comes."""
    end = time.perf_counter() + seconds
    for count in itertools.count(1):
        yield count
        if time.perf_counter() >= end:
            return


def replay(worker: RolloutWorker, first: Collected) -> float:
    """Take the steps of a slot's first rollout again, without a policy; return them per second.

    The same actions from the same reset lead through the same episodes.
    """
    began = time.perf_counter()
    worker.reset(0)
    if not worker.config.episodes:
        # a segment goes on where the last one ended
        began = time.perf_counter()
    for actions in first.rollout.actions:
        worker.envs.step(worker.policy.to_bounds(actions))
    return first.stats.env_steps / (time.perf_counter() - began)


def transfer(batch: Sequence[Rollout], seconds: float) -> tuple[int, float]:
    """Write and read rollouts as Ray does between processes of a machine, but in this one.

    Arrays are pickled out of band, copied into memory once, and read where they lie. What Ray's
    store, its processes and a network add is not in it.

    Returns:
        Bytes of the batch, and the median of the seconds that it takes.
    """

    def move(rollout: Rollout) -> int:
        buffers: list[pickle.PickleBuffer] = []
        head = pickle.dumps(rollout, protocol=5, buffer_callback=buffers.append)
        stored = [bytes(buffer.raw()) for buffer in buffers]
        pickle.loads(head, buffers=stored)
        return len(head) + sum(map(len, stored))

    size = sum(move(rollout) for rollout in batch)
    taken: list[float] = []
    for _ in within(seconds):
        began = time.perf_counter()
        for rollout in batch:
            move(rollout)
        taken.append(time.perf_counter() - began)
    return size, statistics.median(taken)


def update(learner: Learner, state: LearnerState, batch: Sequence[Rollout]) -> float:
    """Make an update from a state, always the same one; return its seconds."""
    learner.load(state)
    began = time.perf_counter()
    learner.update(batch)
    return time.perf_counter() - began
