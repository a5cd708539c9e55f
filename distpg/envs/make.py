"""Make a vector env from an id or a callable, or raise one InputError."""

import importlib
import logging
import warnings
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import gymnasium as gym
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import AutoresetMode

from distpg.config.settings import AUTO, NONE, EnvBackend, EnvKwargs, EnvSettings
from distpg.config.values import did_you_mean
from distpg.envs.copies import Copies
from distpg.envs.envpool import EnvPoolVectorEnv, check_env_id
from distpg.envs.masks import MaskedObservation, MaskSource
from distpg.envs.native import NativeVectorEnv
from distpg.envs.vector_env import VectorEnv
from distpg.errors import InputError
from distpg.user_code import format_user_error

MakeEnv = Callable[..., gym.Env[Any, Any]]
EXTRAS = {"mujoco": "mujoco", "box2d": "box2d", "swig": "box2d", "ale": "atari", "atari": "atari"}
"""Extra of distpg by a word in gymnasium's error about a missing dependency."""


@dataclass(frozen=True)
class EnvSource:
    """How to make an environment in any process: from a spec, a callable, or its EnvPool name."""

    name: str
    kwargs: EnvKwargs
    spec: EnvSpec | None = None
    make_env: MakeEnv | None = None
    backend: EnvBackend = "gymnasium"
    drop_bad: bool = False
    """Treat NaN and inf as exceptions, which drop the episode; else the learner refuses them."""
    masks: MaskSource = "none"
    """Where the action mask comes from, if not from the observation."""
    image_keys: tuple[str, ...] | None = None
    """Leaves that are read as pictures; None: those whose spaces are a picture's."""


def find_source(settings: EnvSettings, make_env: MakeEnv | None) -> EnvSource:
    """Return the source for the user's callable if there is one, else for the env id.

    Raises:
        InputError: there is no such environment.
    """
    if make_env is None:
        source = find_env(settings.env_id, settings.env_kwargs, settings.env_backend)
        return with_settings(source, settings)
    if settings.env_backend != "gymnasium":
        raise InputError(
            f"--env-backend: {settings.env_backend} has its own environments and cannot step a "
            "callable; use --env-backend gymnasium, or --env-id instead of make_env"
        )
    return with_settings(source_of(make_env, settings.env_kwargs), settings)


def with_settings(source: EnvSource, settings: EnvSettings) -> EnvSource:
    """Return the source with the settings of how its observations are read."""
    special: dict[tuple[str, ...], tuple[str, ...] | None] = {AUTO: None, NONE: ()}
    names = special.get(settings.image_keys, settings.image_keys)
    return replace(source, drop_bad=settings.on_bad_value == "drop", image_keys=names)


def find_env(env_id: str, kwargs: EnvKwargs, backend: EnvBackend = "gymnasium") -> EnvSource:
    """Look up an env id, after importing the module that registers it.

    Raises:
        InputError: there is no such environment.
    """
    if env_id.startswith("<"):
        raise InputError(
            f"--env-id: {env_id} was a Python callable, which is not saved; use distpg.evaluate or "
            "distpg.resume with make_env"
        )
    if backend == "envpool":
        check_env_id(env_id)
        return EnvSource(env_id, kwargs, backend=backend)
    if env_id.startswith("ALE/"):
        try:
            gym.register_envs(importlib.import_module("ale_py"))
        except ImportError as error:
            raise missing_extra(env_id, "atari") from error
    try:
        if ":" in env_id:
            importlib.import_module(env_id.partition(":")[0])
        spec = gym.spec(env_id.rpartition(":")[2])
    except gym.error.Error as error:
        raise InputError(
            f"--env-id: {env_id!r} is not registered in Gymnasium"
            f"{did_you_mean(env_id, gym.registry)}"
        ) from error
    except (Exception, SystemExit) as error:
        raise InputError(
            f"--env-id: {env_id!r} cannot be imported: {format_user_error(error)}"
        ) from error
    return EnvSource(env_id, kwargs, spec=spec)


def source_of(make_env: MakeEnv, kwargs: EnvKwargs) -> EnvSource:
    """Return the source for a callable; its name in angle brackets replaces the env id."""
    name = getattr(make_env, "__qualname__", type(make_env).__qualname__)
    return EnvSource(f"<{name}>", kwargs, make_env=make_env)


def missing_extra(env_id: str, extra: str) -> InputError:
    """Return the error that names the extra to install for an environment."""
    return InputError(
        f"--env-id: {env_id} needs packages that are missing; run: pip install 'distpg[{extra}]'"
    )


def make_vector_env(source: EnvSource, num_envs: int) -> VectorEnv:
    """Make N copies, with the vector implementation registered for the id or one by one.

    Raises:
        InputError: a package is missing, a keyword argument is wrong, or a space is not supported.
    """
    name, keys = source.name, source.image_keys
    if is_native(source):
        make = partial(make_native, source, num_envs)
        masked = source.masks == "info"
        return NativeVectorEnv(make, name, drop_bad=source.drop_bad, masked=masked, image_keys=keys)
    make = partial(make_copy, source)
    return Copies(make, num_envs, name, drop_bad=source.drop_bad, image_keys=keys)


def is_native(source: EnvSource) -> bool:
    """Return whether there is a vector implementation of an environment."""
    spec = source.spec
    if source.backend == "envpool":
        return True
    return spec is not None and spec.vector_entry_point is not None and not spec.additional_wrappers


def make_native(source: EnvSource, num_envs: int) -> gym.vector.VectorEnv:
    """Make the vector implementation of an environment.

    Raises:
        InputError: a package is missing, or a keyword argument is wrong.
    """
    with explaining(source):
        envs = _make_native(source, num_envs)
    mode = envs.metadata.get("autoreset_mode")
    if mode != AutoresetMode.NEXT_STEP:
        raise InputError(
            f"--env-id: the vector implementation of {source.name} has autoreset mode {mode}; "
            "NEXT_STEP is required"
        )
    return envs


def make_copy(source: EnvSource) -> gym.Env[Any, Any]:
    """Make one copy, with its action mask, if any, in the observation.

    Raises:
        InputError: a package is missing, or a keyword argument is wrong.
    """
    silence_mujoco(source)
    with explaining(source):
        if source.make_env is not None:
            env = source.make_env(**source.kwargs)
        else:
            assert source.spec is not None, "a source is a spec or a callable"
            env = gym.make(source.spec, disable_env_checker=True, **source.kwargs)
        return env if source.masks == "none" else MaskedObservation(env, source.masks)


@contextmanager
def explaining(source: EnvSource) -> Generator[None]:
    """Context manager: raise one InputError for whatever making an environment raises.

    Raises:
        InputError: a package is missing, or a keyword argument is wrong.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except InputError:
        raise
    except gym.error.DependencyNotInstalled as error:
        extra = next((extra for word, extra in EXTRAS.items() if word in str(error).lower()), None)
        if extra is None:
            raise InputError(f"--env-id: {source.name} needs a missing package: {error}") from error
        raise missing_extra(source.name, extra) from error
    except (Exception, SystemExit) as error:
        flag = "--env-kwargs" if source.kwargs else "--env-id"
        given = f" with {source.kwargs}" if source.kwargs else ""
        raise InputError(
            f"{flag}: {source.name} cannot be made{given}: {format_user_error(error)}"
        ) from error


def _make_native(source: EnvSource, num_envs: int) -> gym.vector.VectorEnv:
    if source.backend == "envpool":
        return EnvPoolVectorEnv(source.name, source.kwargs, num_envs)
    spec = source.spec
    assert spec is not None, "an environment with a vector implementation is registered"
    kwargs: dict[str, Any] = dict(source.kwargs)
    if spec.namespace == "ALE":
        reserved = kwargs.keys() & {"episodic_life", "autoreset_mode", "life_loss_info"}
        if reserved:
            raise InputError(
                f"--env-kwargs: {', '.join(sorted(reserved))} cannot be set: a lost life "
                "terminates the episode for the learner, but does not reset the game"
            )
        # life_loss_info terminates on a lost life without resetting the game
        kwargs = {"life_loss_info": True, "reward_clipping": False, "num_threads": 1, **kwargs}
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
