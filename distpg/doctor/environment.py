"""Checks of an environment: first its random steps, then what a run needs besides."""

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
from distpg.doctor.trace import (
    MAX_KEPT,
    MAX_S,
    MAX_STEPS,
    SEED,
    StepResult,
    random_steps,
    same,
    sample,
)
from distpg.envs.guard import CLOSE_S
from distpg.envs.make import EnvSource, find_env, make_vector_env
from distpg.envs.masks import find_masks
from distpg.envs.native import NativeVectorEnv
from distpg.envs.single import Single
from distpg.envs.vector_env import Step, VectorEnv
from distpg.rollout.closing import closing
from distpg.rollout.slot_state import SlotState, slots_from_bytes, slots_to_bytes
from distpg.spaces import MASK, ActionSpec, Obs, ObsSpec

MAX_LEAK_MB = 0.5
"""Growth of memory per 1,000 steps; half a gigabyte in a million."""
MIN_LEAK_STEPS = 500
"""Steps needed to measure the growth of memory."""
REPEATED_STEPS = 100
"""Steps to repeat from a restored state."""


class Subject:
    """The environment under test, and objects that several checks share, made on first use."""

    def __init__(self, unmasked: EnvSource) -> None:
        """Take a source that has not been checked for action masks."""
        self.unmasked = unmasked
        self.opened: list[Any] = []
        """What the properties below have made."""

    def close(self) -> list[str]:
        """Close what was made; return what did not close in time."""
        opened, self.opened = self.opened, []
        return [name for envs in opened for name in envs.close()]

    @cached_property
    def source(self) -> EnvSource:
        """The source, with the action mask, if any, in the observation."""
        with closing(Single(self.unmasked)) as single:
            _, info = single.env.reset(seed=SEED)
            return replace(self.unmasked, masks=find_masks(single.env, info))

    @cached_property
    def env(self) -> Any:
        """One copy."""
        self.opened.append(single := Single(self.source))
        return single.env

    @cached_property
    def results(self) -> list[StepResult]:
        """The results of the first steps of `env`."""
        return list(random_steps(self.env, self.specs, max_kept=MAX_KEPT))

    @property
    def specs(self) -> tuple[ObsSpec, ActionSpec]:
        """Observations and actions."""
        return self.pair.obs_spec, self.pair.action_spec

    @cached_property
    def pair(self) -> VectorEnv:
        """Two copies."""
        self.opened.append(pair := make_vector_env(self.source, 2))
        return pair


def checks(env_id: str, kwargs: EnvKwargs) -> Iterator[Report]:
    """Check an environment; if a basic check fails, skip those that would repeat the FAIL.

    Raises:
        InputError: there is no such environment.
    """
    with closing(Subject(find_env(env_id, kwargs))) as subject:
        for group in (BASIC_CHECKS, RUN_CHECKS):
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
    with closing(make_vector_env(subject.unmasked, 1)):
        pass
    began = time.perf_counter()
    with closing(make_vector_env(replace(subject.unmasked, tried=True), 2)) as envs:
        took_s = time.perf_counter() - began
        native = isinstance(envs, NativeVectorEnv)
        how = f"as one {type(envs.envs).__name__}" if native else "one by one"
    return Check("PASS", "made", f"2 copies in {1000 * took_s:.0f} ms, {how}")


def spaces(subject: Subject) -> Check:
    """Check that both spaces are supported."""
    with closing(make_vector_env(subject.unmasked, 1)) as envs:
        found = f"observations {envs.observation_space}, actions {envs.action_space}"
    return Check("PASS", "spaces", " ".join(found.split()))


def autoreset(subject: Subject) -> Check:
    """Check that the step after an end resets: its reward is 0 and its action has no effect."""
    name = "autoreset"
    lowest, highest = (step_after_end(subject, highest=highest) for highest in (False, True))
    if lowest is None or highest is None:
        return Check("PASS", name, "not checked: no episode ended")
    advice = "reset a copy in the step after its end, as AutoresetMode.NEXT_STEP requires"
    last_obs, next_obs, reward, needs_reset = lowest
    if reward or needs_reset:
        end = " and ended" if needs_reset else ""
        found = f"the step after an end returned reward {reward:g}{end}"
        return Check("FAIL", name, found, advice)
    if same(last_obs, highest[0]) and not same(next_obs, highest[1]):
        found = "the observation after an end depends on the action of the step that should reset"
        return Check("FAIL", name, found, advice)
    return Check("PASS", name, "the step after an end resets, with reward 0")


def step_after_end(subject: Subject, *, highest: bool) -> tuple[Obs, Obs, float, bool] | None:
    """Step two copies until an episode ends, then once more with the lowest or highest action.

    Returns:
        Of the copy that ended: its last observation, and the next observation, the reward and
        whether the episode ended, of the step after it. None if no episode ended.
    """
    with closing(make_vector_env(subject.source, 2)) as envs:
        spec = envs.action_spec
        for step, actions in random_vector_steps(envs):
            if step.needs_reset.any():
                env = int(np.flatnonzero(step.needs_reset)[0])
                action = np.asarray(spec.sizes or 2) - 1 if highest else 0
                after = envs.step((0 * actions + action).astype(spec.stored_dtype))
                return (
                    obs_of(step, env),
                    obs_of(after, env),
                    float(after.rewards[env]),
                    bool(after.needs_reset[env]),
                )
    return None


def random_vector_steps(envs: VectorEnv) -> Iterator[tuple[Step, np.ndarray]]:
    """Reset two copies and take random steps, the same ones at every call."""
    rng = np.random.default_rng(SEED)
    end = time.perf_counter() + MAX_S
    obs = envs.reset([SEED, SEED + 1])
    for _ in range(MAX_STEPS):
        actions = sample(envs.action_spec, rng, 2, obs.get(MASK))
        step = envs.step(actions)
        obs = step.obs
        yield copy.deepcopy(step), actions
        if time.perf_counter() > end:
            return


def obs_of(step: Step, env: int) -> Obs:
    """Copy the observation of one env."""
    return {name: leaf[env].copy() for name, leaf in step.obs.items()}


def repeatable(subject: Subject) -> Check:
    """Repeat the first steps on another copy, with the same seed and actions."""
    obs_spec, _ = subject.specs
    with closing(Single(subject.source)) as single:
        repeated = random_steps(single.env, subject.specs, max_steps=MAX_KEPT, max_kept=MAX_KEPT)
        for number, (one, other) in enumerate(zip(subject.results, repeated, strict=False)):
            obs = (obs_spec.flatten(result.obs) for result in (one, other))
            outcomes = {(x.reward, x.terminated, x.truncated) for x in (one, other)}
            if not same(*obs) or len(outcomes) > 1:
                found = f"the same seed and actions give different results at step {number}"
                advice = "runs cannot be reproduced: draw random numbers from self.np_random only"
                return Check("WARN", "repeatable", found, advice)
    return Check("PASS", "repeatable", "the same seed and actions give the same bits")


def memory(subject: Subject) -> Check:
    """Measure how much memory steps leave allocated."""
    name = "memory"
    growth_mb: list[float] = []
    num_steps = 0
    process = psutil.Process()
    results = random_steps(subject.env, subject.specs, max_steps=3 * MAX_STEPS)
    # the first third warms up; a one-time allocation is in at most one of the other two
    for third in range(3):
        before = process.memory_info().rss
        count = sum(1 for _ in islice(results, MAX_STEPS))
        num_steps += count
        if third and count:
            growth_mb.append((process.memory_info().rss - before) / 1e6 / count * 1000)
    if num_steps < MIN_LEAK_STEPS or not growth_mb:
        found = f"not measured: {num_steps} steps in {MAX_S:g} s are too few"
        return Check("PASS", name, found)
    rate = max(0.0, min(growth_mb))
    found = f"grows by {rate:.2f} MB per 1,000 steps"
    if rate <= MAX_LEAK_MB:
        return Check("PASS", name, found)
    return Check("WARN", name, found, "find what the env keeps of every step")


def state(subject: Subject) -> Check:
    """Save the state as a checkpoint does, restore it in new copies, and compare further steps."""
    name = "state"
    envs = subject.pair
    steps = random_vector_steps(envs)
    last = list(islice(steps, REPEATED_STEPS))[-1][0]
    saved = envs.get_state()
    if saved is None:
        found = "not exposed: a resumed run starts new episodes, so resume is inexact"
        advice = "add get_state() and set_state(state) to the env, if that matters"
        return Check("WARN", name, found, advice)
    zeros = np.zeros(2)
    slot = SlotState(0, last.obs, last.needs_reset, zeros, zeros.astype(np.int64), zeros, saved)
    (restored,) = slots_from_bytes(slots_to_bytes([slot]))
    with closing(make_vector_env(subject.source, 2)) as other_envs:
        other_envs.set_state(restored.envs)
        for number, (one, actions) in enumerate(islice(steps, REPEATED_STEPS)):
            other = other_envs.step(actions)
            pairs = zip(one[1:5], other[1:5], strict=True)
            if not same(one.obs, other.obs) or not all(np.array_equal(x, y) for x, y in pairs):
                found = f"set_state(get_state()) gives different results after {number + 1} steps"
                advice = "make get_state() return copies of everything that a step depends on"
                return Check("FAIL", name, found, advice)
    return Check("PASS", name, "exposed: resume and recovery are exact")


def closed(subject: Subject) -> Check:
    """Close all copies that are open."""
    began = time.perf_counter()
    if late := subject.close():
        found = f"not within {CLOSE_S:g} s: {', '.join(late)}"
        return Check("WARN", "close", found, "what it leaves behind stays; see --close-timeout")
    return Check("PASS", "close", f"all copies in {1000 * (time.perf_counter() - began):.0f} ms")


def pickled(subject: Subject) -> Check:
    """Pickle the source, as Ray does to send it to a worker."""
    try:
        size = len(cloudpickle.dumps(subject.source))
    except (AttributeError, TypeError, ValueError, pickle.PicklingError) as error:
        advice = "it is sent to the workers: register a class or a plain function"
        return Check("FAIL", "pickle", f"the source cannot be pickled: {error}", advice)
    return Check("PASS", "pickle", f"the source is {size:,} bytes")


BASIC_CHECKS: dict[str, Callable[[Subject], Check]] = {
    "made": made,
    "spaces": spaces,
    "steps": lambda subject: trace.steps(subject.results),
    "observations": lambda subject: trace.observations(
        subject.results, subject.env.observation_space, subject.pair.obs_spec
    ),
    "masks": lambda subject: trace.masks(subject.results, *subject.specs),
    "finite": lambda subject: trace.finite(subject.results, subject.pair.obs_spec),
    "rewards": lambda subject: trace.rewards(subject.results),
    "episode ends": lambda subject: trace.ends(
        subject.results, getattr(subject.env.spec, "max_episode_steps", None)
    ),
    "aliasing": lambda subject: trace.aliasing(subject.results, subject.pair.obs_spec),
    "speed": lambda subject: trace.speed(subject.results),
}
RUN_CHECKS: dict[str, Callable[[Subject], Check]] = {
    "autoreset": autoreset,
    "repeatable": repeatable,
    "state": state,
    "memory": memory,
    "pickle": pickled,
    "close": closed,
}
