"""Wrappers around each copy, as `--env-wrapper` and `--frame-stack` name them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
from gymnasium import spaces
from gymnasium.wrappers import FrameStackObservation, ResizeObservation

from distpg.config.calls import read_call
from distpg.config.names import Importable, as_name
from distpg.envs.masks import observes_mask
from distpg.envs.numbering import fill
from distpg.errors import InputError, prefix_errors
from distpg.user_code import format_user_error, import_object


@dataclass(frozen=True)
class WrapperSpec:
    """A wrapper: the name of its class or function, and its keyword arguments."""

    name: str
    kwargs: dict[str, Any]
    written: str
    """As the user wrote it."""

    def wrap(self, env: gym.Env[Any, Any], number: int) -> gym.Env[Any, Any]:
        """Wrap the copy of this number.

        Raises:
            InputError: the wrapper cannot be imported, raised, or returned no environment.
        """
        with prefix_errors(f"--env-wrapper: {self.written:.200}"):
            make: Any = import_object(self.name)
            try:
                wrapped = make(env, **fill(self.kwargs, number))
            except (Exception, SystemExit) as error:
                raise InputError(f"cannot wrap: {format_user_error(error)}") from error
            check_is_env(wrapped, "it returned")
            return wrapped


def find_wrappers(written: Sequence[Importable]) -> tuple[WrapperSpec, ...]:
    """Read wrappers, and import each.

    Raises:
        InputError: one is of another form, cannot be imported, or is not callable.
    """
    return tuple(_find(as_name(wrapper)) for wrapper in written)


def _find(written: str) -> WrapperSpec:
    name, kwargs = read_call(written, "--env-wrapper")
    with prefix_errors(f"--env-wrapper: {written:.200}"):
        if not callable(import_object(name)):
            raise InputError("it is not a class or a function")
    return WrapperSpec(name, kwargs, written)


def check_is_env(made: object, who: str) -> None:
    """Check that something is an environment.

    Raises:
        InputError: it is not; the message says who made it.
    """
    if not isinstance(made, gym.Env):
        raise InputError(f"{who} {made!r:.60}, which is not a gymnasium.Env")
    for name in ("observation_space", "action_space"):
        if not isinstance(getattr(made, name, None), gym.Space):
            raise InputError(f"{who} an environment without {name}; set it in __init__")


def stack_frames(env: gym.Env[Any, Any], count: int) -> gym.Env[Any, Any]:
    """Stack the last observations of a copy, oldest first, on a new first axis of each leaf.

    Raises:
        InputError: an action mask is among them, or the space cannot be stacked.
    """
    if observes_mask(env.observation_space):
        raise InputError(
            f"--frame-stack: {count} would stack the action mask, too; give the mask in the info "
            "or by a method action_masks(), or use an --env-wrapper that stacks the rest"
        )
    supported = spaces.Box, spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary
    if not isinstance(env.observation_space, (*supported, spaces.Dict, spaces.Tuple)):
        raise InputError(f"--frame-stack: {env.observation_space} cannot be stacked")
    return FrameStackObservation(env, count)


def resize_observation(env: gym.Env[Any, Any], shape: Sequence[int]) -> gym.Env[Any, Any]:
    """Resize pictures to [height, width], which JSON has as a list, and gymnasium as a tuple."""
    return ResizeObservation(env, (shape[0], shape[1]))
