"""Take random steps in an environment, and check what it returned."""

import copy
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np

from distpg.doctor.check import Check
from distpg.envs.ranges import Ranges
from distpg.envs.returned import to_flag, to_reward
from distpg.errors import EnvError
from distpg.spaces import MASK, ActionSpec, Leaf, Obs, ObsSpec

SEED = 1
MAX_STEPS, MAX_S = 2000, 4.0
"""Random steps end at whichever comes first, but not before `MIN_STEPS`."""
MIN_STEPS = 3
"""Steps and resets to take, however slow they are."""
MAX_KEPT = 300
"""Observations to keep."""
SLOW_S = 1.0
MIN_EQUAL_EPISODES = 3
"""Episodes of equal length that suggest a time limit."""


@dataclass(frozen=True)
class StepResult:
    """What a reset or a step returned."""

    is_reset: bool
    """Then reward and flags are placeholders."""
    returned: Any
    """The observation itself, or None if it was not kept."""
    obs: Any
    """A copy of it from before the next step, or None."""
    reward: Any
    terminated: Any
    truncated: Any
    step_s: float


def sample(spec: ActionSpec, rng: np.random.Generator, count: int, mask: Any) -> np.ndarray:
    """Sample actions, [count] or [count, A], allowed by a mask [count, n].

    Continuous ones are uniform within finite bounds, else normal around 0.
    """
    shape = (count, *spec.stored_shape)
    if mask is not None:
        priorities = np.where(mask != 0, rng.random(mask.shape), -1.0)
        choices = np.split(priorities, np.cumsum(spec.sizes[:-1]), -1)
        return np.stack([choice.argmax(-1) for choice in choices], -1).reshape(shape)
    if spec.kind == "continuous":
        middle, half = spec.middle_and_half
        within = middle + half * rng.uniform(-1, 1, shape)
        return np.where(spec.is_bounded, within, rng.standard_normal(shape)).astype(np.float32)
    return rng.integers(spec.sizes or 2, size=shape)


def random_steps(
    env: Any,
    specs: tuple[ObsSpec, ActionSpec],
    *,
    max_steps: int = MAX_STEPS,
    max_s: float = MAX_S,
    max_kept: int = 0,
    seed: int = SEED,
) -> Iterator[StepResult]:
    """Reset with a seed and take random steps, the same ones at every call.

    Ends early when an action mask allows no action.

    Args:
        env: One copy.
        specs: Its observations and actions.
        max_steps: Steps and resets.
        max_s: Seconds after which no more steps are taken.
        max_kept: Observations to keep.
        seed: Of the first reset and of the actions.
    """
    rng = np.random.default_rng(seed)
    end = time.perf_counter() + max_s
    needs_reset, reset_seed = True, seed
    obs_spec, spec = specs
    mask: np.ndarray | None = None
    for number in range(max_steps):
        began = time.perf_counter()
        is_reset = needs_reset
        if is_reset:
            obs, _ = env.reset(seed=reset_seed)
            reward, terminated, truncated = 0.0, False, False
            reset_seed = None
        else:
            action = spec.to_env(sample(spec, rng, 1, mask))[0]
            obs, reward, terminated, truncated, _ = env.step(action)
        step_s = time.perf_counter() - began
        mask = np.array(obs[MASK])[None] if obs_spec.is_masked else None
        kept = (obs, copy.deepcopy(obs)) if number < max_kept else (None, None)
        yield StepResult(is_reset, *kept, reward, terminated, truncated, step_s)
        needs_reset = to_flag(terminated, "terminated", 0) or to_flag(truncated, "truncated", 0)
        is_late = number + 1 >= MIN_STEPS and time.perf_counter() > end
        if is_late or (not needs_reset and allows_nothing(obs, *specs)):
            return


def allows_nothing(obs: Any, obs_spec: ObsSpec, spec: ActionSpec) -> bool:
    """Return whether the action mask in an observation allows no action."""
    return obs_spec.is_masked and bool(spec.fully_masked({MASK: obs[MASK][None]})[0])


def steps(results: Sequence[StepResult]) -> Check:
    """Count steps and resets."""
    num_steps = sum(not result.is_reset for result in results)
    found = f"{num_steps:,} random steps and {len(results) - num_steps} resets"
    return Check("PASS", "steps", found)


def observations(results: Sequence[StepResult], space: Any, spec: ObsSpec) -> Check:
    """Check that observations have the shape and dtype of their space, and are in its bounds."""
    name = "observations"
    mismatches = [
        found
        for result in results
        if result.returned is not None
        for leaf in spec.leaves
        if (found := mismatch(leaf, leaf.get(space), leaf.get(result.obs)))
    ]
    if not mismatches:
        leaves = ", ".join(f"{x.name} {list(x.shape)} of {x.dtype}" for x in spec.leaves)
        return Check("PASS", name, f"within their space: {leaves}")
    # the first fatal one, or the first if none is
    fatal, found = max(mismatches, key=lambda mismatch: mismatch[0])
    advice = "make observation_space and the returned observations agree"
    if fatal:
        return Check("FAIL", name, found, advice)
    return Check("WARN", name, found, f"{advice}; distpg uses it as returned")


def mismatch(leaf: Leaf, space: Any, value: Any) -> tuple[bool, str] | None:
    """Compare a leaf of an observation with its space.

    Returns:
        Whether the mismatch stops a run, and a description; None if there is none. NaN and inf are
        reported by `finite` instead.
    """
    array = np.asarray(value)
    if array.shape != leaf.shape:
        return True, f"{leaf.name} has shape {list(array.shape)}; its space has {list(leaf.shape)}"
    dtypes = f"{leaf.name} has dtype {array.dtype}; its space has {space.dtype}"
    if not np.can_cast(array.dtype, space.dtype, "same_kind"):
        return True, dtypes
    if leaf.kind == "categories":
        codes = array.ravel() - leaf.starts
        if ((codes < 0) | (codes >= leaf.sizes)).any():
            return True, f"{leaf.name} is {array}, which is not in {space}"
        return None
    low, high = getattr(space, "low", 0), getattr(space, "high", 1)
    outside = np.isfinite(array) & ((array < low) | (array > high))
    if outside.any():
        return False, f"{leaf.name} has an entry {array[outside].ravel()[0]:g}, outside of {space}"
    return (False, dtypes) if array.dtype != space.dtype else None


def masks(results: Sequence[StepResult], obs_spec: ObsSpec, spec: ActionSpec) -> Check:
    """Check that every action mask allows an action, and report how many on average."""
    name = "masks"
    if not obs_spec.is_masked:
        return Check("PASS", name, "none: all actions are allowed")
    masked = [x for x in results if x.returned is not None and not (x.terminated or x.truncated)]
    if allows_nothing(masked[-1].returned, obs_spec, spec):
        advice = "end the episode when no action is possible"
        found = f"after {len(results) - 1:,} steps and resets no action is allowed"
        return Check("FAIL", name, found, advice)
    fraction = np.mean([np.mean(result.obs[MASK] != 0) for result in masked])
    return Check("PASS", name, f"allow {fraction:.0%} of the actions, on average")


def finite(results: Sequence[StepResult], spec: ObsSpec) -> Check:
    """Check that rewards and observations are finite."""
    num_steps = 0
    for result in results:
        num_steps += not result.is_reset
        arrays = {"the reward": (np.asarray(result.reward), "float32")}
        if result.returned is not None:
            for leaf in spec.leaves:
                arrays[leaf.name] = np.asarray(leaf.get(result.obs)), leaf.dtype
        for name, (array, dtype) in arrays.items():
            if array.dtype.kind != "f":
                continue
            with np.errstate(over="ignore"):
                # integers of a space are compared with it elsewhere
                cast = array.astype(dtype) if np.dtype(dtype).kind == "f" else array
            if not np.isfinite(cast).all():
                value = array[~np.isfinite(cast)].ravel()[0]
                why = f", which {dtype} cannot represent" if np.isfinite(value) else ""
                found = f"{name} has {value:g}{why} after {num_steps} steps"
                return Check("FAIL", "finite", found, "fix it: one such number ruins the policy")
    return Check("PASS", "finite", "no NaN or inf")


def ranges(results: Sequence[StepResult], spec: ObsSpec) -> list[Check]:
    """Check that pictures have the range of their space, and that float32 holds all vectors."""
    watched = Ranges(spec)
    for result in results:
        if result.returned is not None:
            watched.watch(result.obs)
    lost = [warning.partition("; ") for warning in watched.warnings().values()]
    warnings = [Check("WARN", "ranges", found, advice) for found, _, advice in lost]
    sound = Check("PASS", "ranges", "pictures fit their spaces, float32 tells all values apart")
    return warnings or [sound]


def rewards(results: Sequence[StepResult]) -> Check:
    """Check that every reward is one real number."""
    returned = [result.reward for result in results if not result.is_reset]
    try:
        values = np.array([to_reward(reward, 0) for reward in returned])
    except EnvError as error:
        return Check("FAIL", "rewards", str(error), "return a number from step")
    return Check("PASS", "rewards", f"numbers from {values.min():.4g} to {values.max():.4g}")


def ends(results: Sequence[StepResult], time_limit: int | None) -> Check:
    """Check that episodes end, and that time limits are reported as truncation."""
    name = "episode ends"
    taken = [result for result in results if not result.is_reset]
    for flag in (flag for step in taken for flag in (step.terminated, step.truncated)):
        if not isinstance(flag, bool | np.bool_):
            found = f"{flag!r} of type {type(flag).__name__} as terminated or truncated"
            return Check("WARN", name, found, "return two bools from step")
    last_steps = [number for number, step in enumerate(taken) if step.terminated or step.truncated]
    lengths = np.diff([-1, *last_steps])
    if not last_steps:
        if time_limit is not None and time_limit > len(taken):
            found = f"none in {len(taken):,} steps; the time limit is {time_limit:,}"
            return Check("PASS", name, found)
        advice = "register it with max_episode_steps; Monte Carlo returns need episodes that end"
        limit = "no time limit" if time_limit is None else f"a time limit of {time_limit:,}"
        return Check("WARN", name, f"none in {len(taken):,} steps, and {limit}", advice)
    terminated = sum(bool(taken[number].terminated) for number in last_steps)
    truncated = sum(bool(taken[number].truncated) for number in last_steps)
    found = (
        f"{len(last_steps)}, {terminated} terminated and {truncated} truncated, after "
        f"{lengths.min()} to {lengths.max()} steps"
    )
    equal = len(last_steps) >= MIN_EQUAL_EPISODES and lengths.min() == lengths.max() > 1
    if equal and not truncated:
        advice = "if that is a time limit, return truncated=True, so that V is bootstrapped"
        return Check("WARN", name, found, advice)
    return Check("PASS", name, found)


def aliasing(results: Sequence[StepResult], spec: ObsSpec) -> Check:
    """Check that later steps do not write into returned observations."""
    kept = (result for result in results if result.returned is not None)
    if all(same(spec.flatten(result.returned), spec.flatten(result.obs)) for result in kept):
        return Check("PASS", "aliasing", "returned observations are not modified later")
    found = "a later step modifies an observation that was returned"
    return Check("WARN", "aliasing", found, "return a copy; distpg makes one, others may not")


def speed(results: Sequence[StepResult]) -> Check:
    """Report the median and the slowest step."""
    seconds = [result.step_s for result in results if not result.is_reset]
    middle, slowest = median(seconds), max(seconds)
    found = f"{1e6 * middle:,.0f} us/step, {1 / middle:,.0f} steps/s; slowest {slowest:.3g} s"
    if slowest <= SLOW_S:
        return Check("PASS", "speed", found)
    advice = "all workers wait for the slowest env: find what its step waits for"
    return Check("WARN", "speed", found, advice)


def same_step(one: StepResult, other: StepResult, spec: ObsSpec) -> bool:
    """Compare two results; both have kept their observations."""
    obs = (spec.flatten(result.obs) for result in (one, other))
    outcomes = ([x.reward, x.terminated, x.truncated] for x in (one, other))
    return same(*obs) and all(map(np.array_equal, *outcomes))


def same(one: Obs, other: Obs) -> bool:
    """Compare observations number by number; NaN equals NaN."""
    return all(
        np.array_equal(one[name], other[name], equal_nan=one[name].dtype.kind == "f")
        for name in one
    )
