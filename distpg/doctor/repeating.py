"""Checks that an environment does the same again: with a seed, beside another copy, restored."""

from itertools import islice

import numpy as np

from distpg.doctor.check import Check
from distpg.doctor.subject import Subject, random_vector_steps
from distpg.doctor.trace import MAX_KEPT, SEED, random_steps, same, same_step
from distpg.envs.make import make_vector_env
from distpg.envs.single import Single
from distpg.rollout.closing import closing
from distpg.rollout.slot_state import SlotState, slots_from_bytes, slots_to_bytes

REPEATED_STEPS = 100
"""Steps to repeat from a restored state."""


def repeatable(subject: Subject) -> Check:
    """Repeat the first steps on another copy, with the same seed and actions."""
    if subject.first_difference is not None:
        found = (
            f"the same seed and actions give different results at step {subject.first_difference}"
        )
        advice = "runs cannot be reproduced: draw random numbers from self.np_random only"
        return Check("WARN", "repeatable", found, advice)
    return Check("PASS", "repeatable", "the same seed and actions give the same bits")


def copies(subject: Subject) -> Check:
    """Step one copy with another beside it, and look for what they share."""
    name = "copies"
    if subject.first_difference is not None:
        return Check("PASS", name, "not checked: results cannot be repeated")
    obs_spec, _ = subject.specs
    shared = ""
    with closing(Single(subject.source)) as one, closing(Single(subject.source)) as other:
        pair = zip(
            random_steps(one.env, subject.specs, max_steps=MAX_KEPT, max_kept=MAX_KEPT),
            random_steps(
                other.env, subject.specs, max_steps=MAX_KEPT, max_kept=MAX_KEPT, seed=SEED + 1
            ),
            strict=False,
        )
        for number, (alone, (beside, _)) in enumerate(zip(subject.results, pair, strict=False)):
            if not same_step(alone, beside, obs_spec):
                found = f"stepping one copy changes what another returns, from step {number} on"
                advice = "keep what a step changes in self, not in the class or the module"
                return Check("FAIL", name, found, advice)
            if not same(*(obs_spec.flatten(obs) for obs in (beside.returned, beside.obs))):
                shared = "stepping one copy modifies the observation that another returned"
    if shared:
        advice = "return an array of its own; distpg copies it at once, others may not"
        return Check("WARN", name, shared, advice)
    return Check("PASS", name, "do not share what a step changes")


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
