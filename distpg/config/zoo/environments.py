"""Copies, wrappers and normalization of an environment, as settings."""

import json
from collections.abc import Mapping
from typing import Any, cast

from distpg.config.values import one_of
from distpg.config.zoo.hyperparameters import Hyperparameters, check_keys, table_of
from distpg.errors import InputError

ATARI = "stable_baselines3.common.atari_wrappers.AtariWrapper"
ATARI_DEFAULTS: dict[str, Any] = {
    "noop_max": 30,
    "frame_skip": 4,
    "screen_size": 84,
    "terminal_on_life_loss": True,
    "clip_reward": True,
    "action_repeat_probability": 0.0,
}
OTHER_PACKAGES = ("stable_baselines3.", "sb3_contrib.", "rl_zoo3.")
"""Packages whose wrappers are translated; those of others can be named as they are."""
Kwargs = dict[str, Any]
WRAPPERS: dict[str, tuple[str, Mapping[str, str], Kwargs]] = {
    "rl_zoo3.wrappers.FrameSkip": (
        "gymnasium.wrappers:RepeatAction",
        {"skip": "num_repeats"},
        {"skip": 4},
    ),
    "rl_zoo3.wrappers.YAMLCompatResizeObservation": (
        "distpg.envs.wrappers:resize_observation",
        {"shape": "shape"},
        {},
    ),
}
"""Wrappers that have an equal: that, its arguments by theirs, and their defaults."""
NORMALIZE: dict[str, Any] = {
    "training": True,
    "norm_obs": True,
    "norm_reward": True,
    "clip_obs": 10.0,
    "clip_reward": 10.0,
    "gamma": 0.99,
    "epsilon": 1e-8,
    "norm_obs_keys": None,
}
"""Arguments of VecNormalize."""


def copy_settings(h: Hyperparameters) -> dict[str, Any]:
    """Return how many copies there are, and where: in two workers if their number is even."""
    count = h.count("n_envs")
    workers = 2 if count % 2 == 0 else 0
    slots = max(1, workers)
    return {"num_workers": workers, "num_slots": slots, "num_envs": count // slots}


def env_settings(h: Hyperparameters, env_id: str) -> dict[str, Any]:
    """Return the settings of the environment: arguments, wrappers, stacked frames.

    Raises:
        InputError: a wrapper cannot be translated; the message names all of them.
    """
    kwargs = table_of(h["env_kwargs"], "env_kwargs")
    wrappers = wrappers_of(h["env_wrapper"])
    refused = [
        *(name for name, _ in wrappers if name.startswith(OTHER_PACKAGES) and not known(name)),
        *(name for name, _ in wrappers_of(h["vec_env_wrapper"])),
    ]
    if refused:
        raise InputError(
            f"env_wrapper: {one_of(refused)} cannot be translated; remove that from a copy of the "
            "file, and name a wrapper that does the same by --env-wrapper"
        )
    stack = 1 if h["frame_stack"] is None else h.count("frame_stack")
    of_ale = env_id.rpartition(":")[2].startswith("ALE/")
    if of_ale or ATARI in dict(wrappers):
        if not of_ale or [name for name, _ in wrappers] != [ATARI]:
            raise InputError(
                f"env_wrapper: {ATARI}, and no other, goes with an --env-id that begins with ALE/: "
                "that is how distpg preprocesses ALE's games"
            )
        return atari_settings(wrappers[0][1], kwargs, stack)
    found: dict[str, Any] = {"env_kwargs": kwargs} if kwargs else {}
    if wrappers:
        found["env_wrapper"] = tuple(call_of(*wrapper) for wrapper in wrappers)
    return found | {"frame_stack": stack}


def known(name: str) -> bool:
    """Return whether there is a translation of a wrapper."""
    return name == ATARI or name in WRAPPERS


def wrappers_of(written: Any) -> list[tuple[str, Kwargs]]:
    """Return wrappers as a file lists them, the innermost first, with their arguments.

    Raises:
        InputError: one has another form than NAME, or NAME: {KEY: VALUE}.
    """
    items = cast("list[Any]", written if isinstance(written, list) else [written])
    found: list[tuple[str, Kwargs]] = []
    for item in items if written is not None else []:
        name, kwargs = item, {}
        if isinstance(item, dict) and len(item) == 1:
            ((name, kwargs),) = cast("dict[Any, Any]", item).items()
        if not isinstance(name, str) or "." not in name:
            raise InputError(f"env_wrapper: {item!r:.60} is not of the form module.Wrapper")
        found.append((name, table_of(kwargs, name)))
    return found


def call_of(name: str, kwargs: Kwargs) -> str:
    """Return a wrapper in the form of --env-wrapper.

    Raises:
        InputError: an argument cannot be written as JSON.
    """
    module, _, kind = name.rpartition(".")
    written = f"{module}:{kind}"
    if name in WRAPPERS:
        written, renamed, defaults = WRAPPERS[name]
        check_keys(kwargs, renamed, f"{name}: ")
        kwargs = {renamed[key]: value for key, value in {**defaults, **kwargs}.items()}
    try:
        return written + (json.dumps(kwargs) if kwargs else "")
    except (RecursionError, TypeError, ValueError) as error:
        raise InputError(f"env_wrapper: arguments of {name} are not JSON: {error}") from error


def atari_settings(wrapper: Kwargs, kwargs: Kwargs, stack: int) -> dict[str, Any]:
    """Return AtariWrapper's preprocessing as arguments of ALE's vector implementation.

    Raises:
        InputError: an argument cannot be translated.
    """
    check_keys(wrapper, ATARI_DEFAULTS, f"{ATARI}: ")
    values = ATARI_DEFAULTS | wrapper
    ends = values["terminal_on_life_loss"]
    if not isinstance(ends, bool):
        raise InputError(f"{ATARI}: terminal_on_life_loss: {ends!r:.60} is not True or False")
    preprocessing = {
        "noop_max": values["noop_max"],
        "frameskip": values["frame_skip"],
        "img_height": values["screen_size"],
        "img_width": values["screen_size"],
        "repeat_action_probability": values["action_repeat_probability"],
        "life_loss_info": ends,
        "stack_num": stack,
    }
    return {
        "env_kwargs": {**kwargs, **preprocessing},
        "sign_rewards": "on" if values["clip_reward"] else "off",
    }


def normalize_settings(h: Hyperparameters) -> dict[str, Any]:
    """Return the settings of VecNormalize.

    Raises:
        InputError: an argument cannot be translated.
    """
    written = h["normalize"]
    kwargs = {} if isinstance(written, bool) else table_of(written, "normalize")
    check_keys(kwargs, NORMALIZE, "normalize: ")
    # as rl-zoo3 does, where an entry has no gamma, too
    given = {"gamma": h["gamma"]} if "gamma" in h.given else {}
    values: dict[str, Any] = {**NORMALIZE, **kwargs, **given}
    fixed = {"training": True, "gamma": h["gamma"], "epsilon": 1e-8, "norm_obs_keys": None}
    for key, only in fixed.items():
        if values[key] != only:
            raise InputError(f"normalize: {key} {values[key]!r:.60} cannot be translated")
    used = written is not False and written is not None
    obs, rewards = used and values["norm_obs"], used and values["norm_reward"]
    found = {"normalize_obs": obs, "normalize_rewards": rewards}
    if obs:
        found["clip_obs"] = values["clip_obs"]
    if rewards:
        found["clip_rewards"] = values["clip_reward"]
    return found
