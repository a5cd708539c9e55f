"""Checks of an environment: one copy in random steps, then what runs build on."""

import copy
import pickle
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cached_property
from itertools import islice
from typing import Any

import cloudpickle
import numpy as np
import psutil

from distpg.config.settings import EnvKwargs
from distpg.doctor import trace
from distpg.doctor.check import Check
from distpg.doctor.process import Report
from distpg.doctor.trace import KEPT, SECONDS, SEED, STEPS, Moment, play, same, sample
from distpg.envs.make import EnvSource, find_env, make_unchecked, make_vector_env
from distpg.envs.masks import find_masks
from distpg.envs.single import make_single_env
from distpg.envs.vector_env import Step, VectorEnv
from distpg.rollout.slot_state import SlotState, slots_from_bytes, slots_to_bytes
from distpg.spaces import MASK, ActionSpec, ObsSpec

LEAK_MB = 0.5
"""Per 1,000 steps; half a gigabyte in a million."""
FEWEST = 500
"""Steps that say something about memory."""
AHEAD = 100
"""Steps that are taken again from a state."""


class Subject:
    """The environment under examination, and what several checks need of it."""

    def __init__(self, unmasked: EnvSource) -> None:
        """Make nothing yet."""
        self.unmasked = unmasked

    @cached_property
    def source(self) -> EnvSource:
        """How a copy is made whose action mask, if it tells one, stands in its observation."""
        env = make_single_env(self.unmasked)
        _, info = env.reset(seed=SEED)
        found = replace(self.unmasked, masks=find_masks(env, info))
        env.close()
        return found

    @cached_property
    def env(self) -> Any:
        """One copy."""
        return make_single_env(self.source)

    @cached_property
    def moments(self) -> list[Moment]:
        """What that copy did in its first steps."""
        return list(play(self.env, self.specs, keep=KEPT))

    @property
    def specs(self) -> tuple[ObsSpec, ActionSpec]:
        """What it observes and accepts."""
        return self.pair.obs_spec, self.pair.action_spec

    @cached_property
    def pair(self) -> VectorEnv:
        """Two copies."""
        return make_vector_env(self.source, 2)


def checks(env_id: str, kwargs: EnvKwargs) -> Iterator[Report]:
    """Check an environment; what would only repeat a FAIL in other words is left out.

    Raises:
        InputError: no such environment.
    """
    subject = Subject(find_env(env_id, kwargs))
    for group in (ALONE, BUILT_ON):
        failed = False
        for name, check in group.items():
            yield name
            result = check(subject)
            yield result
            failed |= result.status == "FAIL"
        if failed:
            return


def made(subject: Subject) -> Check:
    """Make two copies."""
    began = time.perf_counter()
    envs = make_unchecked(subject.unmasked, 2)
    took = time.perf_counter() - began
    found = f"2 copies in {1000 * took:.0f} ms, by {type(envs).__name__}"
    envs.close()
    return Check("PASS", "made", found)


def spaces(subject: Subject) -> Check:
    """Describe both spaces."""
    envs = make_vector_env(subject.unmasked, 1).envs
    found = f"observes {envs.single_observation_space}, acts in {envs.single_action_space}"
    return Check("PASS", "spaces", " ".join(found.split()))


def autoreset(subject: Subject) -> Check:
    """See that the step after an end resets: it pays nothing and does not depend on its action."""
    name = "autoreset"
    ended, again = (after_an_end(subject, action=action) for action in (0, 1))
    if ended is None or again is None:
        return Check("PASS", name, "not seen: no episode ended")
    advice = "reset a copy in the step after its end, as AutoresetMode.NEXT_STEP says"
    last, first, reward, needs_reset = ended
    if reward or needs_reset:
        end = " and ended" if needs_reset else ""
        return Check("FAIL", name, f"the step after an end paid {reward:g}{end}", advice)
    if same(last, again[0]) and not same(first, again[1]):
        found = "what follows an end depends on the action of the step that should reset"
        return Check("FAIL", name, found, advice)
    return Check("PASS", name, "the step after an end resets and pays 0")


def after_an_end(
    subject: Subject, *, action: int
) -> tuple[trace.Obs, trace.Obs, float, bool] | None:
    """Play until a copy's episode ends, and take one step more with an action, 0 or the last one.

    Returns:
        The last observation, the next one, what the step to it paid and whether it ended: of that
        copy; None where no episode ended.
    """
    envs = make_vector_env(subject.source, 2)
    spec = envs.action_spec
    for step, actions in walk(envs):
        if step.needs_reset.any():
            index = int(np.flatnonzero(step.needs_reset)[0])
            last = row(step, index)
            highest = np.asarray(spec.sizes or 2) - 1
            after = envs.step((0 * actions + action * highest).astype(spec.stored_dtype))
            envs.close()
            return (
                last,
                row(after, index),
                float(after.rewards[index]),
                bool(after.needs_reset[index]),
            )
    envs.close()
    return None


def walk(envs: VectorEnv) -> Iterator[tuple[Step, np.ndarray]]:
    """Reset and take random steps, the same ones at every call."""
    rng = np.random.default_rng(SEED)
    end = time.perf_counter() + SECONDS
    obs = envs.reset([SEED, SEED + 1])
    for _ in range(STEPS):
        actions = sample(envs.action_spec, rng, 2, obs.get(MASK))
        step = envs.step(actions)
        obs = step.obs
        yield copy.deepcopy(step), actions
        if time.perf_counter() > end:
            return


def row(step: Step, index: int) -> trace.Obs:
    """Take what one copy observes."""
    return {name: leaf[index].copy() for name, leaf in step.obs.items()}


def repeatable(subject: Subject) -> Check:
    """Play the first steps again on another copy, with the same seed and actions."""
    obs_spec, _ = subject.specs
    again = play(make_single_env(subject.source), subject.specs, num_steps=KEPT, keep=KEPT)
    for number, (one, other) in enumerate(zip(subject.moments, again, strict=False)):
        obs = (obs_spec.flatten(moment.obs) for moment in (one, other))
        felt = ((x.reward, x.terminated, x.truncated) for x in (one, other))
        if not same(*obs) or len(set(felt)) > 1:
            found = f"the same seed and actions went another way at step {number}"
            advice = "runs cannot be repeated: draw random numbers from self.np_random alone"
            return Check("WARN", "repeatable", found, advice)
    return Check("PASS", "repeatable", "the same seed and actions give the same bits")


def memory(subject: Subject) -> Check:
    """See how much memory steps leave behind."""
    name = "memory"
    grown: list[float] = []
    taken = 0
    resident = psutil.Process().memory_info
    # the first third warms up; what is allocated once is in one of the others at most
    moments = play(subject.env, subject.specs, num_steps=3 * STEPS)
    for number in range(3):
        before = resident().rss
        count = sum(1 for _ in islice(moments, STEPS))
        taken += count
        if number and count:
            grown.append((resident().rss - before) / 1e6 / count * 1000)
    if taken < FEWEST or not grown:
        return Check("PASS", name, f"not measured: {taken} steps in {SECONDS:g} s say too little")
    rate = max(0.0, min(grown))
    found = f"grows by {rate:.2f} MB per 1,000 steps"
    if rate <= LEAK_MB:
        return Check("PASS", name, found)
    return Check("WARN", name, found, "find what the env keeps of every step")


def state(subject: Subject) -> Check:
    """Take the state out as a checkpoint does, put it into fresh copies, and play on in both."""
    name = "state"
    envs = subject.pair
    steps = walk(envs)
    last = list(islice(steps, AHEAD))[-1][0]
    read = envs.get_state()
    if read is None:
        found = "not told: an interrupted run goes on with fresh episodes, so a resume is inexact"
        advice = "give the env get_state() and set_state(state), if that matters"
        return Check("WARN", name, found, advice)
    zeros = np.zeros(2)
    slot = SlotState(0, last.obs, last.needs_reset, zeros, zeros.astype(np.int64), zeros, read)
    (kept,) = slots_from_bytes(slots_to_bytes([slot]))
    other = make_vector_env(subject.source, 2)
    other.set_state(kept.envs)
    for number, (one, actions) in enumerate(islice(steps, AHEAD)):
        two = other.step(actions)
        pairs = zip(one[1:5], two[1:5], strict=True)
        if not same(one.obs, two.obs) or not all(np.array_equal(x, y) for x, y in pairs):
            found = f"set_state(get_state()) goes another way after {number + 1} steps"
            advice = "let get_state() return copies of everything that a step depends on"
            return Check("FAIL", name, found, advice)
    return Check("PASS", name, "told: resume and recovery are exact")


def pickled(subject: Subject) -> Check:
    """Carry the source over as Ray carries it to a worker."""
    try:
        size = len(cloudpickle.dumps(subject.source))
    except (AttributeError, TypeError, ValueError, pickle.PicklingError) as error:
        advice = "workers are sent how to make the env: register a class or a plain function"
        return Check("FAIL", "pickle", f"the source cannot be pickled: {error}", advice)
    return Check("PASS", "pickle", f"the source is {size:,} bytes")


ALONE: dict[str, Callable[[Subject], Check]] = {
    "made": made,
    "spaces": spaces,
    "steps": lambda subject: trace.steps(subject.moments),
    "observations": lambda subject: trace.observations(
        subject.moments, subject.env.observation_space, subject.pair.obs_spec
    ),
    "masks": lambda subject: trace.masks(subject.moments, *subject.specs),
    "finite": lambda subject: trace.finite(subject.moments, subject.pair.obs_spec),
    "rewards": lambda subject: trace.rewards(subject.moments),
    "episode ends": lambda subject: trace.ends(
        subject.moments, getattr(subject.env.spec, "max_episode_steps", None)
    ),
    "aliasing": lambda subject: trace.aliasing(subject.moments, subject.pair.obs_spec),
    "speed": lambda subject: trace.speed(subject.moments),
}
BUILT_ON: dict[str, Callable[[Subject], Check]] = {
    "autoreset": autoreset,
    "repeatable": repeatable,
    "state": state,
    "memory": memory,
    "pickle": pickled,
}
