"""Checks of an environment: first its random steps, then what a run needs besides."""

import pickle
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice

import cloudpickle
import numpy as np
import psutil

from distpg.config.config import Config
from distpg.doctor import repeating, trace
from distpg.doctor.actions import action_scale
from distpg.doctor.check import Begin, Check, Report
from distpg.doctor.subject import Subject, obs_of, random_vector_steps
from distpg.doctor.trace import (
    MAX_S,
    MAX_STEPS,
    random_steps,
    same,
)
from distpg.envs.make import make_vector_env
from distpg.envs.native import NativeVectorEnv
from distpg.envs.single import Single, SingleEnv
from distpg.envs.state import wrappers
from distpg.policy.readings import describe_leaf
from distpg.rollout.closing import closing
from distpg.spaces import Obs

MAX_LEAK_MB = 0.5
"""Growth of memory per 1,000 steps; half a gigabyte in a million."""
MIN_LEAK_STEPS = 500
"""Steps needed to measure the growth of memory."""
NORMALIZING = {"NormalizeObservation", "NormalizeReward"}
"""Wrappers with running statistics."""
SLOWEST_IN_DEADLINE = 30
"""Each check may take this many times the slowest reset or step of a copy, besides its deadline."""


def checks(config: Config) -> Iterator[Report]:
    """Check an environment; if a basic check fails, skip those that would repeat the FAIL.

    Raises:
        InputError: there is no such environment.
    """
    with closing(Subject(config)) as subject:
        for group in (BASIC_CHECKS, RUN_CHECKS):
            failed = False
            for name, check in group.items():
                yield Begin(name, SLOWEST_IN_DEADLINE * subject.slowest_s)
                found = check(subject)
                results = found if isinstance(found, list) else [found]
                yield from results
                failed |= any(result.status == "FAIL" for result in results)
            if failed:
                return


def made(subject: Subject) -> Check:
    """Make two copies."""
    with closing(make_vector_env(subject.unmasked, 1)):
        pass
    began = time.perf_counter()
    with closing(make_vector_env(replace(subject.unmasked, tried=True), 2)) as envs:
        took_s = time.perf_counter() - began
        subject.slowest_s = took_s / 2
        native = isinstance(envs, NativeVectorEnv)
        how = f"as one {type(envs.envs).__name__}" if native else "one by one"
    return Check("PASS", "made", f"2 copies in {1000 * took_s:.0f} ms, {how}")


def spaces(subject: Subject) -> Check:
    """Check that both spaces are supported."""
    with closing(make_vector_env(subject.unmasked, 1)) as envs:
        found = f"observations {envs.observation_space}, actions {envs.action_space}"
    return Check("PASS", "spaces", " ".join(found.split()))


def first_step(subject: Subject) -> Check:
    """Reset one copy and step it once."""
    with closing(Single(subject.source)) as one:
        both = random_steps(one.env, subject.specs, max_steps=2)
        seconds = [result.step_s for result in both]
    subject.slowest_s = max(subject.slowest_s, *seconds)
    reset_s, *step_s = seconds
    found = f"reset in {1000 * reset_s:.3g} ms"
    found += f", a step in {1000 * step_s[0]:.3g} ms" if step_s else "; no action is allowed"
    return Check("PASS", "first step", found)


def leaves(subject: Subject) -> list[Check]:
    """Report how each leaf of the observation is read and encoded."""
    obs_spec, _ = subject.specs
    return [
        Check("PASS", "leaf", f"{leaf.name} {describe_leaf(leaf, obs_spec, subject.config)}")
        for leaf in obs_spec.leaves
    ]


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


def wrapped(subject: Subject) -> Check:
    """Look for wrappers that normalize, each copy by statistics of its own that nobody saves."""
    name = "wrappers"
    env = subject.env
    around = [type(one) for one in wrappers(env.vector.envs if isinstance(env, SingleEnv) else env)]
    normalizing = [
        kind.__name__ for kind in around if NORMALIZING & {base.__name__ for base in kind.__mro__}
    ]
    if normalizing:
        found = f"{', '.join(normalizing)}: each copy has statistics of its own, which no run saves"
        advice = "remove it, and use --normalize-obs or --normalize-rewards"
        return Check("WARN", name, found, advice)
    return Check("PASS", name, ", ".join(kind.__name__ for kind in around) or "none")


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


def closed(subject: Subject) -> Check:
    """Close all copies that are open."""
    began = time.perf_counter()
    if late := subject.close():
        found = f"not within {subject.unmasked.close_s:g} s: {', '.join(late)}"
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


BASIC_CHECKS: dict[str, Callable[[Subject], Check | list[Check]]] = {
    "made": made,
    "spaces": spaces,
    "leaf": leaves,
    "first step": first_step,
    "steps": lambda subject: trace.steps(subject.results),
    "observations": lambda subject: trace.observations(
        subject.results, subject.env.observation_space, subject.pair.obs_spec
    ),
    "masks": lambda subject: trace.masks(subject.results, *subject.specs),
    "finite": lambda subject: trace.finite(subject.results, subject.pair.obs_spec),
    "ranges": lambda subject: trace.ranges(subject.results, subject.pair.obs_spec),
    "rewards": lambda subject: trace.rewards(subject.results),
    "episode ends": lambda subject: trace.ends(
        subject.results, getattr(subject.env.spec, "max_episode_steps", None)
    ),
    "aliasing": lambda subject: trace.aliasing(subject.results, subject.pair.obs_spec),
    "action scale": lambda subject: action_scale(subject.pair.action_spec, subject.config),
    "speed": lambda subject: trace.speed(subject.results),
}
RUN_CHECKS: dict[str, Callable[[Subject], Check | list[Check]]] = {
    "autoreset": autoreset,
    "repeatable": repeating.repeatable,
    "copies": repeating.copies,
    "wrappers": wrapped,
    "state": repeating.state,
    "memory": memory,
    "pickle": pickled,
    "close": closed,
}
