"""Make a vector env from an id or a callable, or raise one InputError."""

import importlib
import logging
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import gymnasium as gym
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import AutoresetMode

from distpg.config.names import Importable, ObjectName, as_name
from distpg.config.settings import AUTO, NONE, EnvBackend, EnvKwargs, EnvSettings
from distpg.envs import ale
from distpg.envs.copies import Copies
from distpg.envs.envpool import EnvPoolVectorEnv, check_env_id
from distpg.envs.guard import close_in_time
from distpg.envs.lookup import MakeEnv, look_up, missing_package
from distpg.envs.masks import MaskedObservation
from distpg.envs.native import NativeVectorEnv
from distpg.envs.numbering import Copy, fill, making, number_copies
from distpg.envs.source import EnvSource
from distpg.envs.vector_env import VectorEnv
from distpg.envs.wrappers import check_is_env, find_wrappers, stack_frames
from distpg.errors import InputError
from distpg.user_code import format_user_error, keeping_import_path

HAS_ITS_OWN = (
    "; one copy could be made before: if each needs a port or file of its own, write {copy} into "
    "--env-kwargs, or call distpg.current_copy() (docs/environments.md)"
)


def find_source(settings: EnvSettings, make_env: MakeEnv | None) -> EnvSource:
    """Return the source for the user's callable if there is one, else for the env id.

    Raises:
        InputError: there is no such environment.
    """
    env_id = settings.env_id if make_env is None else make_env
    source = find_env(env_id, settings.env_kwargs, settings.env_backend)
    special: dict[tuple[str, ...], tuple[str, ...] | None] = {AUTO: None, NONE: ()}
    source = replace(
        source,
        drop_bad=settings.on_bad_value == "drop",
        close_s=settings.close_timeout,
        wrappers=find_wrappers(settings.env_wrapper),
        frame_stack=settings.frame_stack,
        image_keys=special.get(settings.image_keys, settings.image_keys),
    )
    check_wrapped(source)
    return source


def check_wrapped(source: EnvSource) -> None:
    """Check that the environment can be wrapped as asked.

    Raises:
        InputError: nothing can be between its copies and their vector implementation.
    """
    if not source.wrappers and source.frame_stack == 1:
        return
    flag = "--env-wrapper" if source.wrappers else "--frame-stack"
    spec = source.spec
    if source.backend == "envpool":
        raise InputError(f"{flag}: EnvPool steps all copies itself; use --env-backend gymnasium")
    if spec is not None and spec.entry_point is None:
        raise InputError(
            f"{flag}: {source.name} has only a vector implementation, whose copies cannot be "
            "wrapped; register it with an entry_point, too"
        )
    if not source.wrappers and ale.preprocesses(spec, source.kwargs):
        raise InputError(
            f"--frame-stack: {source.name} stacks frames by itself; use --env-kwargs "
            f"'{{\"stack_num\": {source.frame_stack}}}'"
        )


def find_env(env_id: Importable, kwargs: EnvKwargs, backend: EnvBackend = "gymnasium") -> EnvSource:
    """Look up an env id, after importing the module that registers it, or take a callable.

    Raises:
        InputError: there is no such environment.
    """
    env_id = as_name(env_id)
    if backend == "envpool":
        if isinstance(env_id, ObjectName):
            raise InputError(
                f"--env-backend: {backend} has its own environments and cannot step a callable; "
                "use --env-backend gymnasium, or the id of one of its environments"
            )
        check_env_id(env_id)
        return EnvSource(env_id, kwargs, backend=backend)
    found = env_id.found if isinstance(env_id, ObjectName) else look_up(env_id)
    if isinstance(found, EnvSpec):
        ale.check_variant(found, kwargs)
        return EnvSource(env_id, kwargs, spec=found)
    # the name alone, since the source has the object
    return EnvSource(str(env_id), kwargs, make_env=found)


def make_vector_env(
    source: EnvSource, num_envs: int, *, first: int | None = None, slot: int | None = None
) -> VectorEnv:
    """Make N copies, with the vector implementation registered for the id or one by one.

    Args:
        source: How to make them.
        num_envs: N.
        first: The number of the first copy, or:
        slot: The slot of all, as for `number_copies`.

    Raises:
        InputError: a package is missing, a keyword argument is wrong, or a space is not supported.
    """
    common: dict[str, Any] = {
        "drop_bad": source.drop_bad,
        "image_keys": source.image_keys,
        "close_s": source.close_s,
    }
    if is_native(source):
        make = partial(make_native, source, num_envs)
        masked = source.masks == "info"
        try:
            return NativeVectorEnv(make, source.name, masked=masked, **common)
        except AutoresetError:
            if source.spec is None or source.spec.entry_point is None:
                raise
    copies = number_copies(num_envs, first, slot)
    makers = [partial(make_copy, source, copy) for copy in copies]
    return Copies(makers, source.name, **common)


def is_native(source: EnvSource) -> bool:
    """Return whether the vector implementation of an environment is to be used, if it has one.

    Raises:
        InputError: keyword arguments of an ALE game are unknown, or exclude each other.
    """
    spec = source.spec
    if source.backend == "envpool":
        return True
    if spec is None or spec.vector_entry_point is None or spec.additional_wrappers:
        return False
    if source.wrappers or source.frame_stack > 1:
        return False
    if spec.namespace == ale.NAMESPACE:
        return ale.preprocesses(spec, source.kwargs)
    # a vector implementation shows no window
    return source.render_mode != "human" or spec.entry_point is None


def is_bare_atari(source: EnvSource) -> bool:
    """Return whether a game of ALE is stepped one by one, without preprocessing of ALE's."""
    spec = source.spec
    return spec is not None and spec.namespace == ale.NAMESPACE and not is_native(source)


class AutoresetError(InputError):
    """A vector implementation does not reset in the step after an episode's end."""


def make_native(source: EnvSource, num_envs: int) -> gym.vector.VectorEnv:
    """Make the vector implementation of an environment.

    Raises:
        InputError: a package is missing, or a keyword argument is wrong.
        AutoresetError: it resets in another step.
    """
    if fill(source.kwargs, 0) != source.kwargs:
        raise InputError(
            f"--env-kwargs: {source.kwargs}: the vector implementation of {source.name} takes one "
            "value for all copies, so {copy} cannot be in it"
        )
    with explaining(source):
        envs = _make_native(source, num_envs)
    mode = envs.metadata.get("autoreset_mode")
    if mode != AutoresetMode.NEXT_STEP:
        envs.close()
        raise AutoresetError(
            f"--env-id: the vector implementation of {source.name} has autoreset mode {mode}, in "
            "which the last observation of an episode cannot be read in time; NEXT_STEP is "
            "required, or an entry_point for single copies"
        )
    return envs


def make_copy(source: EnvSource, copy: Copy) -> gym.Env[Any, Any]:
    """Make one copy, wrapped, with its action mask, if any, in the observation.

    Raises:
        InputError: a package is missing, or a keyword argument or a wrapper is wrong.
    """
    silence_mujoco(source)
    with making(copy), explaining(source):
        kwargs = fill(source.kwargs, copy.number)
        if source.render_mode is not None and copy.index == 0:
            kwargs["render_mode"] = source.render_mode
        if source.make_env is not None:
            env = source.make_env(**kwargs)
        else:
            assert source.spec is not None, "a source is a spec or a callable"
            env = gym.make(source.spec, disable_env_checker=True, **kwargs)
        check_is_env(env, f"--env-id: {source.name} made")
        try:
            return _wrapped(env, source, copy)
        except BaseException:
            close_in_time(env, source.close_s)
            raise


def _wrapped(env: gym.Env[Any, Any], source: EnvSource, copy: Copy) -> gym.Env[Any, Any]:
    for wrapper in source.wrappers:
        env = wrapper.wrap(env, copy.number)
    if source.frame_stack > 1:
        env = stack_frames(env, source.frame_stack)
    return env if source.masks == "none" else MaskedObservation(env, source.masks)


@contextmanager
def explaining(source: EnvSource) -> Generator[None]:
    """Context manager: raise one InputError for whatever making an environment raises.

    Raises:
        InputError: a package is missing, or a keyword argument is wrong.
    """
    try:
        with warnings.catch_warnings(), keeping_import_path():
            warnings.simplefilter("ignore")
            yield
    except InputError:
        raise
    except gym.error.DependencyNotInstalled as error:
        raise missing_package(source.name, error) from error
    except (Exception, SystemExit) as error:
        flag = "--env-kwargs" if source.kwargs else "--env-id"
        given = f" with {source.kwargs}" if source.kwargs else ""
        hint = HAS_ITS_OWN if source.tried else ""
        if source.render_mode is not None:
            hint = f"; it is given render_mode={source.render_mode!r}"
        raise InputError(
            f"{flag}: {source.name} cannot be made{given}: {format_user_error(error)}{hint}"
        ) from error


def _make_native(source: EnvSource, num_envs: int) -> gym.vector.VectorEnv:
    if source.backend == "envpool":
        return EnvPoolVectorEnv(source.name, source.kwargs, num_envs)
    spec = source.spec
    assert spec is not None, "an environment with a vector implementation is registered"
    kwargs: dict[str, Any] = {**source.kwargs}
    if spec.namespace == ale.NAMESPACE:
        kwargs = ale.vector_kwargs(kwargs)
    elif source.render_mode is not None:
        kwargs["render_mode"] = source.render_mode
    mode = gym.VectorizeMode.VECTOR_ENTRY_POINT
    return gym.make_vec(spec, num_envs, vectorization_mode=mode, **kwargs)


def silence_mujoco(source: EnvSource) -> None:
    """Send MuJoCo's warnings to the log instead of stderr and a file in the working directory."""
    entry_point = source.spec.entry_point if source.spec else None
    if isinstance(entry_point, str) and "mujoco" in entry_point:
        try:
            mujoco = importlib.import_module("mujoco")
        except ImportError:
            return
        log = logging.getLogger("distpg.mujoco")
        mujoco.set_mju_user_warning(log.debug)
