"""Pre-flight checks: try the environment, and restore the slots of a checkpoint."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from distpg.config.config import Config
from distpg.envs.copies import Copies
from distpg.envs.guard import ATTEMPTS
from distpg.envs.make import EnvSource, make_vector_env
from distpg.envs.masks import MaskSource, find_masks, some_action
from distpg.envs.native import NativeVectorEnv
from distpg.envs.vector_env import VectorEnv
from distpg.errors import InputError, LateError, RunError, prefix_errors
from distpg.policy.architecture import Architecture
from distpg.rollout.closing import closing
from distpg.rollout.slot_state import SlotState, slots_to_bytes
from distpg.signals import deadline
from distpg.spaces import MASK, ActionSpec, ObsSpec
from distpg.user_code import format_user_error


def check_env(
    source: EnvSource, timeout_s: float, number: int | None = None
) -> tuple[EnvSource, ObsSpec, ActionSpec]:
    """Make one env, reset and step it, and serialize its state.

    Args:
        source: How to make the env.
        timeout_s: Deadline in seconds for making it, and again for stepping it.
        number: Of the env, as for `number_copies`.

    Returns:
        The source, with how the env exposes its action mask; its observation and action specs.

    Raises:
        InputError: the env cannot be made, or violates Gymnasium's API.
    """
    try:
        with deadline(timeout_s):
            made = make_vector_env(source, 1, first=number)
    except LateError:
        raise InputError(
            f"--env-id: making {source.name} took longer than --phase-timeout {timeout_s:g} s"
        ) from None
    with closing(made) as envs, prefix_errors(f"--env-id: {source.name}"):
        try:
            with deadline(timeout_s):
                masks = reset_and_step(envs)
                state = envs.get_state()
            if state is not None:
                empty = np.zeros(0)
                slots_to_bytes([SlotState(0, {}, empty, empty, empty, empty, state)])
        except InputError:
            raise
        except RunError as error:
            raise InputError(str(error)) from error
        except LateError:
            raise InputError(
                f"a reset and two steps took longer than --phase-timeout {timeout_s:g} s"
            ) from None
        except Exception as error:
            raise InputError(
                f"failed in reset(), step() or get_state(): {format_user_error(error)}"
            ) from error
    if masks != "none":
        return check_env(replace(source, masks=masks), timeout_s, number)
    return replace(source, tried=True), envs.obs_spec, envs.action_spec


def reset_and_step(envs: VectorEnv) -> MaskSource:
    """Reset and step one env, with as many attempts as in a run.

    Returns:
        How the env exposes an action mask outside its observation; if it does, it is not stepped.

    Raises:
        InputError: every attempt raised.
        RunError: it returned something that Gymnasium's API does not allow.
    """
    obs = envs.reset([0])
    if (masks := masks_of(envs)) != "none":
        return masks
    fault = ""
    for _ in range(ATTEMPTS):
        first = {name: leaf[0] for name, leaf in obs.items()}
        action = some_action(envs.action_spec, first)[None]
        step = envs.step(action)
        if not step.faults:
            return "none"
        fault = step.faults[0]
        obs = envs.step(action).obs
    raise InputError(f"the first step() raised {fault}")


def masks_of(envs: VectorEnv) -> MaskSource:
    """Return how an env exposes its action mask outside the observation, after a reset or step."""
    if isinstance(envs, Copies):
        guard = envs.guards[0]
        return find_masks(guard.env, guard.info)
    if isinstance(envs, NativeVectorEnv) and not envs.masked and envs.action_spec.sizes:
        return "info" if MASK in envs.info and not envs.obs_spec.is_masked else "none"
    return "none"


def check_slots(source: EnvSource, config: Config, slots: Sequence[SlotState | None]) -> None:
    """Check that the environment can be restored from the slot states of a checkpoint.

    Raises:
        InputError: it cannot; the message names the slot.
    """
    if not slots:
        return
    if len(slots) != config.slots:
        raise InputError(f"it has {len(slots)} slots; {config.slots} are expected")
    timeout_s = config.phase_timeout
    try:
        made = make_vector_env(source, config.num_envs, first=config.first_other_copy)
        with closing(made) as envs, deadline(timeout_s):
            for number, slot in enumerate(slots):
                with prefix_errors(f"slot {number} is not a valid state of {source.name}"):
                    restore(envs, slot, Architecture.of(config).recurrent_state_size)
    except LateError:
        raise InputError(
            f"restoring {source.name} took longer than --phase-timeout {timeout_s:g} s"
        ) from None


def restore(envs: VectorEnv, slot: Any, recurrent_state_size: int) -> None:
    """Restore envs from a slot state, which is untrusted.

    Raises:
        InputError: it is not a state of these envs.
    """
    try:
        arrays = (slot.needs_reset, slot.returns, slot.lengths)
        leaves = {leaf.name for leaf in envs.obs_spec.leaves}
        kinds = [array.dtype.kind for array in arrays]
        if kinds != ["b", "f", "i"] or set(slot.obs) != leaves or slot.incarnation < 0:
            raise InputError("dtypes or observation keys do not match")
        shapes = {array.shape for array in arrays} | {envs.obs_spec.batch_shape(dict(slot.obs))}
        if shapes != {(envs.num_envs,)}:
            raise InputError(f"it is not a state of {envs.num_envs} envs")
        found, expected = slot.recurrent_state, (envs.num_envs, recurrent_state_size)
        if found.shape != expected or found.dtype != np.float32:
            raise InputError(
                f"its recurrent state is {found.dtype} {list(found.shape)}; float32 "
                f"{list(expected)} is expected"
            )
        envs.set_state(slot.envs)
    except InputError:
        raise
    except Exception as error:
        raise InputError(format_user_error(error)) from error
