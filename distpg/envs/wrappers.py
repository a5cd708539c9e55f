"""Wrappers around each copy, as `--env-wrapper` and `--frame-stack` name them."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
from gymnasium import spaces
from gymnasium.wrappers import FrameStackObservation

from distpg.envs.masks import observes_mask
from distpg.envs.numbering import fill
from distpg.errors import InputError, prefix_errors
from distpg.user_code import format_user_error, import_object

FORM = re.compile(r"(?P<name>[^{]+?)\s*(?P<kwargs>\{.*\})?", re.DOTALL)
EXAMPLE = """module:Wrapper or module:Wrapper{"key": 1}"""


@dataclass(frozen=True)
class WrapperSpec:
    """A wrapper: its class or function as module:name, and its keyword arguments."""

    name: str
    kwargs: dict[str, Any]

    def wrap(self, env: gym.Env[Any, Any], number: int) -> gym.Env[Any, Any]:
        """Wrap the copy of this number.

        Raises:
            InputError: the wrapper cannot be imported, raised, or returned no environment.
        """
        with prefix_errors(f"--env-wrapper {self.name}"):
            make: Any = import_object(self.name)
            try:
                wrapped = make(env, **fill(self.kwargs, number))
            except (Exception, SystemExit) as error:
                given = f" with {self.kwargs}" if self.kwargs else ""
                raise InputError(f"cannot wrap{given}: {format_user_error(error)}") from error
            check_is_env(wrapped, "it returned")
            return wrapped


def check_is_env(made: object, who: str) -> None:
    """Check that something is an environment.

    Raises:
        InputError: it is not; the message says who made it.
    """
    if not isinstance(made, gym.Env):
        raise InputError(f"{who} {made!r:.60}, which is not a gymnasium.Env")


def parse_wrappers(written: Sequence[str]) -> tuple[WrapperSpec, ...]:
    """Read wrappers, and import each.

    Raises:
        InputError: one is not of the form module:Wrapper{...}, cannot be imported, or is not
            callable.
    """
    return tuple(map(_parse, written))


def _parse(written: str) -> WrapperSpec:
    with prefix_errors(f"--env-wrapper: {written!r:.200}"):
        found = FORM.fullmatch(written.strip())
        if found is None:
            raise InputError(f"must be of the form {EXAMPLE}")
        name, text = found["name"], found["kwargs"]
        try:
            kwargs = json.loads(text or "{}")
        except (RecursionError, ValueError) as error:
            raise InputError(f"{text!r:.60} is not a JSON object: {error}") from error
        if not callable(import_object(name)):
            raise InputError("is not a class or a function")
        return WrapperSpec(name, kwargs)


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
