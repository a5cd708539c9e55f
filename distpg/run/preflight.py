"""Before a run: an environment is played, so that one that cannot be is refused with its fault."""

from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

import numpy as np

from distpg.config.config import Config
from distpg.envs.guard import ATTEMPTS, FAULT
from distpg.envs.make import EnvSource, make_vector_env
from distpg.envs.masks import MaskSource, find_masks, some_action
from distpg.envs.vector_env import VectorEnv
from distpg.errors import InputError, LateError, RunError, prefix_errors
from distpg.policy.architecture import Architecture
from distpg.rollout.slot_state import SlotState, slots_to_bytes
from distpg.signals import deadline
from distpg.spaces import MASK, ActionSpec, ObsSpec
from distpg.user_code import format_user_error

CLOSE_S = 5.0


def check_env(source: EnvSource, timeout_s: float) -> tuple[EnvSource, ObsSpec, ActionSpec]:
    """Make a copy, reset and step it, and write its state out.

    Args:
        source: How to make it.
        timeout_s: Seconds that all this may take.

    Returns:
        The source, knowing how it tells its action mask; what it observes and accepts.

    Raises:
        InputError: it cannot be made, or does not do what Gymnasium asks of an environment.
    """
    try:
        with deadline(timeout_s):
            made = make_vector_env(source, 1)
    except LateError:
        raise InputError(
            f"--env-id: {source.name} was not made within --phase-timeout {timeout_s:g} s"
        ) from None
    with closing(made) as envs, prefix_errors(f"--env-id: {source.name}"):
        try:
            with deadline(timeout_s):
                masks = play(envs)
                state = envs.get_state()
            if state is not None:
                nothing = np.zeros(0)
                slots_to_bytes([SlotState(0, {}, nothing, nothing, nothing, nothing, state)])
        except InputError:
            raise
        except RunError as error:
            raise InputError(str(error)) from error
        except LateError:
            raise InputError(
                f"a reset and two steps did not end within --phase-timeout {timeout_s:g} s"
            ) from None
        except Exception as error:
            raise InputError(f"it cannot be played: {format_user_error(error)}") from error
    if masks != "none":
        return check_env(replace(source, masks=masks), timeout_s)
    return source, envs.obs_spec, envs.action_spec


@contextmanager
def closing(envs: VectorEnv) -> Generator[VectorEnv]:
    """Have envs closed after the block, which they may take some seconds for."""
    try:
        yield envs
    finally:
        with suppress(LateError), deadline(CLOSE_S):
            envs.close()


def play(envs: VectorEnv) -> MaskSource:
    """Reset and step a copy by itself, to see what it returns, then all together.

    Returns:
        How it tells its action mask, if not in its observation; then it was not stepped.

    Raises:
        InputError: something is not what it should be.
    """
    spec = envs.action_spec
    if envs.guards_copies:
        (copy,) = envs.envs.envs  # pyright: ignore[reportAttributeAccessIssue]
        obs, info = copy.reset(seed=0)
        check(envs.obs_spec, obs, info)
        masks = find_masks(copy, info)
        if masks != "none":
            return masks
        action = some_action(spec, envs.obs_spec.flatten(obs))
        obs, reward, terminated, truncated, info = first_step(copy, spec.to_env(action[None])[0])
        check(envs.obs_spec, obs, info)
        if find_masks(copy, info) != "none":
            raise InputError(f"its info has an {MASK} after a step, but had none at the reset")
        if np.ndim(reward) or np.asarray(reward).dtype.kind not in "biuf":
            raise InputError(f"it pays {reward!r}, which is no number")
        for end in (terminated, truncated):
            if not isinstance(end, bool | np.bool_ | int):
                raise InputError(f"it ends an episode by {end!r}, which is not true or false")
    first = {name: leaf[0] for name, leaf in envs.reset([0]).items()}
    envs.step(some_action(spec, first)[None])
    return "none"


def first_step(copy: Any, action: Any) -> Any:
    """Step, by new environments where one raises, as often as in a run.

    Raises:
        InputError: all raised.
    """
    fault = ""
    for _ in range(ATTEMPTS):
        outcome = copy.step(action)
        info = outcome[-1]
        if not isinstance(info, dict) or FAULT not in info:
            return outcome
        fault = str(info[FAULT])
    raise InputError(f"its first step raised {fault}")


def check(spec: ObsSpec, obs: Any, info: Any) -> None:
    """Refuse what is no observation, or no info.

    Raises:
        InputError: says what it is, and what it should be.
    """
    if not isinstance(info, dict):
        raise InputError(f"it returns the info {info!r}, which is no dict")
    if spec.batch_shape(spec.read(obs)):
        raise InputError("it returns a batch of observations; one is expected")


def check_slots(source: EnvSource, config: Config, slots: Sequence[SlotState | None]) -> None:
    """Refuse states that the environment cannot go on from.

    Raises:
        InputError: names the slot.
    """
    if not slots:
        return
    if len(slots) != config.slots:
        raise InputError(f"it has {len(slots)} slots; {config.slots} are expected")
    with closing(make_vector_env(source, config.num_envs)) as envs, deadline(config.phase_timeout):
        for number, slot in enumerate(slots):
            try:
                assert slot is not None, "all slots tell their state, or none does"
                found = {slot.needs_reset.shape, slot.returns.shape, slot.lengths.shape}
                kinds = (
                    slot.needs_reset.dtype.kind,
                    slot.returns.dtype.kind,
                    slot.lengths.dtype.kind,
                )
                leaves = {leaf.name for leaf in envs.obs_spec.leaves}
                if kinds != ("b", "f", "i") or set(slot.obs) != leaves or slot.incarnation < 0:
                    raise InputError("its arrays are of other kinds, or its leaves others")
                if found | {envs.obs_spec.batch_shape(dict(slot.obs))} != {(config.num_envs,)}:
                    raise InputError(f"it is not of {config.num_envs} envs")
                recurrent_state = (config.num_envs, Architecture.of(config).recurrent_state_size)
                if (
                    slot.recurrent_state.shape != recurrent_state
                    or slot.recurrent_state.dtype != np.float32
                ):
                    raise InputError(
                        f"its memory is {list(slot.recurrent_state.shape)}, not {list(recurrent_state)}"
                    )
                envs.set_state(slot.envs)
            except Exception as error:
                raise InputError(
                    f"slot {number} is no state of {source.name}: {format_user_error(error)}"
                ) from error
