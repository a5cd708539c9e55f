"""From an id or a callable to a vector env, and to one message where that cannot be."""

import importlib
import logging
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import gymnasium as gym
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from distpg.config.settings import EnvBackend, EnvKwargs, EnvSettings
from distpg.config.values import did_you_mean
from distpg.envs.envpool import EnvPoolVectorEnv, check_env_id
from distpg.envs.guard import Guard
from distpg.envs.masks import MaskedObservation, MaskSource
from distpg.envs.vector_env import VectorEnv
from distpg.errors import InputError
from distpg.user_code import format_user_error

MakeEnv = Callable[..., gym.Env[Any, Any]]
EXTRAS = {"mujoco": "mujoco", "box2d": "box2d", "swig": "box2d", "ale": "atari", "atari": "atari"}


@dataclass(frozen=True)
class EnvSource:
    """How to make an environment in any process.

    By a registered spec, the user's callable, or, in EnvPool, its name.
    """

    name: str
    kwargs: EnvKwargs
    spec: EnvSpec | None = None
    make_env: MakeEnv | None = None
    backend: EnvBackend = "gymnasium"
    drop_bad: bool = False
    """NaN and infinity are faults, at the cost of an episode; else the learner refuses them."""
    masks: MaskSource = "none"
    """How a copy tells its action mask, if not in its observation."""


def find_source(settings: EnvSettings, make_env: MakeEnv | None) -> EnvSource:
    """Take the user's callable if there is one, else the id.

    Raises:
        InputError: no such environment.
    """
    if make_env is None:
        source = find_env(settings.env_id, settings.env_kwargs, settings.env_backend)
        return replace(source, drop_bad=settings.on_bad_value == "drop")
    if settings.env_backend != "gymnasium":
        raise InputError(
            f"--env-backend: {settings.env_backend} has environments of its own and steps no "
            "callable; take --env-backend gymnasium, or an --env-id instead of make_env"
        )
    source = source_of(make_env, settings.env_kwargs)
    return replace(source, drop_bad=settings.on_bad_value == "drop")


def find_env(env_id: str, kwargs: EnvKwargs, backend: EnvBackend = "gymnasium") -> EnvSource:
    """Look an id up, importing what registers it.

    Raises:
        InputError: no such environment.
    """
    if env_id.startswith("<"):
        raise InputError(
            f"--env-id: {env_id} was a callable given in Python, which no file keeps; use "
            "distpg.evaluate or distpg.resume with make_env"
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
    """Take a user's callable as the source; its name in brackets stands for the id."""
    name = getattr(make_env, "__qualname__", type(make_env).__qualname__)
    return EnvSource(f"<{name}>", kwargs, make_env=make_env)


def missing_extra(env_id: str, extra: str) -> InputError:
    """Name the packages that an environment needs."""
    return InputError(
        f"--env-id: {env_id} needs packages that are missing; run: pip install 'distpg[{extra}]'"
    )


def make_vector_env(source: EnvSource, num_envs: int) -> VectorEnv:
    """Make N copies: by the id's own vector implementation, or one after the other.

    Raises:
        InputError: a package is missing, the keyword arguments do not fit, or a space is
        unsupported.
    """
    make = partial(make_unchecked, source, num_envs)
    return VectorEnv(make, source.name, drop_bad=source.drop_bad)


def make_unchecked(source: EnvSource, num_envs: int) -> gym.vector.VectorEnv:
    """Make N copies as gymnasium's vector env, whatever their spaces.

    Raises:
        InputError: a package is missing, or the keyword arguments do not fit.
    """
    silence_mujoco(source)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            envs = _make(source, num_envs)
    except InputError:
        raise
    except gym.error.DependencyNotInstalled as error:
        extra = next((name for word, name in EXTRAS.items() if word in str(error).lower()), None)
        if extra is None:
            raise InputError(f"--env-id: {source.name} needs a missing package: {error}") from error
        raise missing_extra(source.name, extra) from error
    except (Exception, SystemExit) as error:
        problem = f"{source.name} cannot be made"
        if source.kwargs:
            problem = f"--env-kwargs: {problem} with {source.kwargs}"
        else:
            problem = f"--env-id: {problem}"
        raise InputError(f"{problem}: {format_user_error(error)}") from error
    mode = envs.metadata.get("autoreset_mode")
    if mode != AutoresetMode.NEXT_STEP:
        raise InputError(
            f"--env-id: the vector implementation of {source.name} declares the autoreset mode "
            f"{mode}; NEXT_STEP is needed"
        )
    return envs


def _make(source: EnvSource, num_envs: int) -> gym.vector.VectorEnv:
    if source.backend == "envpool":
        return EnvPoolVectorEnv(source.name, source.kwargs, num_envs)
    spec = source.spec
    kwargs: dict[str, Any] = dict(source.kwargs)
    if spec is not None and spec.vector_entry_point is not None and not spec.additional_wrappers:
        if spec.namespace == "ALE":
            owned = kwargs.keys() & {"episodic_life", "autoreset_mode", "life_loss_info"}
            if owned:
                raise InputError(
                    f"--env-kwargs: {', '.join(sorted(owned))} cannot be chosen: lost lives end an "
                    "episode for learning, and the game plays on"
                )
            # life_loss_info ends an episode for learning only: the game plays on
            kwargs = {"life_loss_info": True, "reward_clipping": False, "num_threads": 1, **kwargs}
        mode = gym.VectorizeMode.VECTOR_ENTRY_POINT
        return gym.make_vec(spec, num_envs, vectorization_mode=mode, **kwargs)

    def make_one() -> gym.Env[Any, Any]:
        if source.make_env is not None:
            env = source.make_env(**kwargs)
        else:
            assert spec is not None, "a source is a spec or a callable"
            env = gym.make(spec, disable_env_checker=True, **kwargs)
        return env if source.masks == "none" else MaskedObservation(env, source.masks)

    # the copies write into one array, which the rollout worker copies into its own
    guarded = [partial(Guard, make_one, drop_bad=source.drop_bad)] * num_envs
    return SyncVectorEnv(guarded, copy=False, autoreset_mode=AutoresetMode.NEXT_STEP)


def silence_mujoco(source: EnvSource) -> None:
    """Send MuJoCo's warnings to the log, not to stderr and a file in the working directory."""
    entry_point = source.spec.entry_point if source.spec else None
    if isinstance(entry_point, str) and "mujoco" in entry_point:
        try:
            mujoco = importlib.import_module("mujoco")
        except ImportError:
            return
        log = logging.getLogger("distpg.mujoco")
        mujoco.set_mju_user_warning(log.debug)
