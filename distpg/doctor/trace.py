"""What an environment did in some random steps, and what is wrong with it."""

import copy
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np

from distpg.doctor.check import Check
from distpg.spaces import MASK, ActionSpec, Leaf, Obs, ObsSpec

SEED = 1
STEPS, SECONDS = 2000, 4.0
"""A play ends at whichever comes first."""
KEPT = 300
"""Observations that are kept."""
SLOW_S = 1.0
FIXED_LENGTHS = 3
"""Episodes of one length from which a time limit is suspected."""


@dataclass(frozen=True)
class Moment:
    """What a reset or a step gave."""

    start: bool
    """A reset's: there are no reward and flags."""
    returned: Any
    """The observation itself; None beyond those that are kept."""
    obs: Any
    """A copy of it, from before the next step."""
    reward: Any
    terminated: Any
    truncated: Any
    seconds: float


def sample(spec: ActionSpec, rng: np.random.Generator, count: int, mask: Any) -> np.ndarray:
    """Draw actions as a policy would, [count] or [count, A]: such as a mask [count, n] allows."""
    shape = (count, *spec.stored_shape)
    if mask is not None:
        scores = np.where(mask != 0, rng.random(mask.shape), -1.0)
        choices = np.split(scores, np.cumsum(spec.sizes[:-1]), -1)
        return np.stack([choice.argmax(-1) for choice in choices], -1).reshape(shape)
    if spec.kind == "continuous":
        return rng.standard_normal(shape, np.float32)
    return rng.integers(spec.sizes or 2, size=shape)


def play(
    env: Any,
    specs: tuple[ObsSpec, ActionSpec],
    *,
    num_steps: int = STEPS,
    seconds: float = SECONDS,
    keep: int = 0,
) -> Iterator[Moment]:
    """Reset with the one seed there is and take random steps, the same ones at every call.

    It ends where an action mask allows nothing.

    Args:
        env: One copy.
        specs: Its observations and actions.
        num_steps: Steps and resets, at most.
        seconds: After which no more are taken.
        keep: How many observations are kept.
    """
    rng = np.random.default_rng(SEED)
    end = time.perf_counter() + seconds
    needs_reset, seed = True, SEED
    obs_spec, spec = specs
    obs: Any = None
    for number in range(num_steps):
        began = time.perf_counter()
        if needs_reset:
            obs, _ = env.reset(seed=seed)
            start, reward, terminated, truncated = True, 0.0, False, False
            seed = None
        else:
            mask = obs[MASK][None] if obs_spec.is_masked else None
            action = spec.to_env(sample(spec, rng, 1, mask))[0]
            obs, reward, terminated, truncated, _ = env.step(action)
            start = False
        took = time.perf_counter() - began
        kept = (obs, copy.deepcopy(obs)) if number < keep else (None, None)
        yield Moment(start, *kept, reward, terminated, truncated, took)
        needs_reset = bool(terminated or truncated)
        if time.perf_counter() > end or (not needs_reset and allows_nothing(obs, *specs)):
            return


def allows_nothing(obs: Any, obs_spec: ObsSpec, spec: ActionSpec) -> bool:
    """Tell whether an observation has an action mask that allows no action."""
    return obs_spec.is_masked and bool(spec.fully_masked({MASK: obs[MASK][None]})[0])


def steps(moments: Sequence[Moment]) -> Check:
    """Count what was played."""
    taken = sum(not moment.start for moment in moments)
    return Check("PASS", "steps", f"{taken:,} random steps and {len(moments) - taken} resets")


def observations(moments: Sequence[Moment], space: Any, spec: ObsSpec) -> Check:
    """See that observations are of the shape, the type and within the bounds of their space."""
    name = "observations"
    problems = [
        problem
        for moment in moments
        if moment.returned is not None
        for leaf in spec.leaves
        if (problem := misfit(leaf, leaf.get(space), leaf.get(moment.obs)))
    ]
    if not problems:
        held = ", ".join(f"{x.name} {list(x.shape)} of {x.dtype}" for x in spec.leaves)
        return Check("PASS", name, f"within their space: {held}")
    # a FAIL, if there is one, whichever came first
    fatal, found = max(problems, key=lambda problem: problem[0])
    advice = "return what observation_space says, or say in it what is returned"
    if fatal:
        return Check("FAIL", name, found, advice)
    return Check("WARN", name, found, f"{advice}; distpg takes it as it comes")


def misfit(leaf: Leaf, space: Any, value: Any) -> tuple[bool, str] | None:
    """Say what is wrong with a value of a leaf, and whether a run cannot do with it.

    Numbers that are not finite are left to `finite`.
    """
    array = np.asarray(value)
    where = f"{leaf.name} is"
    if array.shape != leaf.shape:
        return True, f"{where} of shape {list(array.shape)}; its space says {list(leaf.shape)}"
    if not np.can_cast(array.dtype, space.dtype, "same_kind"):
        return True, f"{where} of {array.dtype}; its space says {space.dtype}"
    if leaf.kind == "categories":
        number = array.ravel() - leaf.starts
        if ((number < 0) | (number >= leaf.sizes)).any():
            return True, f"{where} {array}, which is not in {space}"
        return None
    low, high = getattr(space, "low", 0), getattr(space, "high", 1)
    outside = np.isfinite(array) & ((array < low) | (array > high))
    if outside.any():
        return False, f"{where} {array[outside].ravel()[0]:g} at an entry, outside of {space}"
    if array.dtype != space.dtype:
        return False, f"{where} of {array.dtype}; its space says {space.dtype}"
    return None


def masks(moments: Sequence[Moment], obs_spec: ObsSpec, spec: ActionSpec) -> Check:
    """See how much the action masks allow, and that each allows something."""
    name = "masks"
    if not obs_spec.is_masked:
        return Check("PASS", name, "none: all actions are allowed")
    on = [x for x in moments if x.returned is not None and not (x.terminated or x.truncated)]
    if allows_nothing(on[-1].returned, obs_spec, spec):
        advice = "end the episode where nothing can be done"
        found = f"after {len(moments) - 1:,} steps and resets no action is allowed"
        return Check("FAIL", name, found, advice)
    share = np.mean([np.mean(moment.obs[MASK] != 0) for moment in on])
    return Check("PASS", name, f"allow {share:.0%} of the actions, on average")


def finite(moments: Sequence[Moment], spec: ObsSpec) -> Check:
    """Look for NaN and infinite numbers in observations and rewards."""
    num_steps = -1
    for moment in moments:
        num_steps += not moment.start
        named = {"the reward": np.asarray(moment.reward)}
        if moment.returned is not None:
            with np.errstate(over="ignore"):
                named |= spec.flatten(moment.obs)
        for name, array in named.items():
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                odd = array[~np.isfinite(array)].ravel()[0]
                found = f"{name} has {odd} after {num_steps + 1} steps"
                return Check("FAIL", "finite", found, "one such number ruins the policy: repair it")
    return Check("PASS", "finite", "no NaN, nothing infinite")


def rewards(moments: Sequence[Moment]) -> Check:
    """See that every reward is a real number."""
    paid = [moment.reward for moment in moments if not moment.start]
    for reward in paid:
        if np.ndim(reward) or np.asarray(reward).dtype.kind not in "fiub":
            found = f"{reward!r} of type {type(reward).__name__}"
            return Check("FAIL", "rewards", found, "return a number from step")
    values = np.array(paid, np.float64)
    return Check("PASS", "rewards", f"numbers from {values.min():.4g} to {values.max():.4g}")


def ends(moments: Sequence[Moment], time_limit: int | None) -> Check:
    """See how episodes end: an end that is only a time limit's must not be a termination."""
    name = "episode ends"
    taken = [moment for moment in moments if not moment.start]
    for flag in (flag for step in taken for flag in (step.terminated, step.truncated)):
        if not isinstance(flag, bool | np.bool_):
            found = f"{flag!r} of type {type(flag).__name__} as terminated or truncated"
            return Check("WARN", name, found, "return two bools from step")
    at_step = [number for number, step in enumerate(taken) if step.terminated or step.truncated]
    lengths = np.diff([-1, *at_step])
    if not at_step:
        if time_limit is not None and time_limit > len(taken):
            found = f"none in {len(taken):,} steps; the time limit is {time_limit:,}"
            return Check("PASS", name, found)
        advice = "register it with max_episode_steps; whole episodes (Monte Carlo) need an end"
        limit = "no time limit" if time_limit is None else f"a time limit of {time_limit:,}"
        return Check("WARN", name, f"none in {len(taken):,} steps, and {limit}", advice)
    terminated = sum(bool(taken[number].terminated) for number in at_step)
    truncated = sum(bool(taken[number].truncated) for number in at_step)
    found = (
        f"{len(at_step)}, {terminated} terminated and {truncated} truncated, after "
        f"{lengths.min()} to {lengths.max()} steps"
    )
    limited = len(at_step) >= FIXED_LENGTHS and lengths.min() == lengths.max() > 1
    if limited and not truncated:
        advice = "if that is a time limit, report it as truncated: V of what follows then counts"
        return Check("WARN", name, found, advice)
    return Check("PASS", name, found)


def aliasing(moments: Sequence[Moment], spec: ObsSpec) -> Check:
    """See that an observation stays as it was returned."""
    kept = (moment for moment in moments if moment.returned is not None)
    if all(same(spec.flatten(moment.returned), spec.flatten(moment.obs)) for moment in kept):
        return Check("PASS", "aliasing", "observations stay as they were returned")
    found = "a later step changes an observation that was returned"
    return Check("WARN", "aliasing", found, "return a copy; distpg makes its own, others may not")


def speed(moments: Sequence[Moment]) -> Check:
    """Time the steps."""
    seconds = [moment.seconds for moment in moments if not moment.start]
    middle, slowest = median(seconds), max(seconds)
    found = f"{1e6 * middle:,.0f} us a step, {1 / middle:,.0f} steps/s; the slowest {slowest:.3g} s"
    if slowest <= SLOW_S:
        return Check("PASS", "speed", found)
    advice = "all workers wait for the slowest env: see what a step waits for"
    return Check("WARN", "speed", found, advice)


def same(one: Obs, other: Obs) -> bool:
    """Compare observations, number by number; NaN equals NaN."""
    return all(
        np.array_equal(one[name], other[name], equal_nan=one[name].dtype.kind == "f")
        for name in one
    )
