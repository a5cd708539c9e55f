"""Action masks: which actions a state allows, as a leaf of the observation.

An environment provides its mask in one of three ways: as `action_mask` in a Dict observation, as
`info["action_mask"]` of each reset and step, or by a method `action_masks()`. `MaskedObservation`
converts the last two to the first.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal, SupportsFloat

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from distpg.envs.returned import to_flag
from distpg.errors import InputError, RunError
from distpg.spaces import MASK, ActionSpec, Obs, ObsSpec, join_masks

METHOD = "action_masks"
MaskSource = Literal["none", "info", "method"]


class MaskedObservation(gym.Wrapper[Any, Any, Any, Any]):
    """Adds the action mask to the observation, as a Dict with the key `action_mask`."""

    def __init__(self, env: gym.Env[Any, Any], source: MaskSource) -> None:
        """Wrap an environment that provides its mask in the info or by a method."""
        super().__init__(env)
        self.source = source
        self.num_actions = count_choices(env.action_space)
        self.observation_space = with_mask(env.observation_space, self.num_actions)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Reset, and add the mask."""
        obs, info = self.env.reset(seed=seed, options=options)
        return self._masked(obs, self._mask(info)), info

    def step(self, action: Any) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        """Step, and add the mask; at the end of an episode all actions are allowed."""
        obs, reward, terminated, truncated, info = self.env.step(action)
        needs_reset = to_flag(terminated, "terminated", 0) or to_flag(truncated, "truncated", 0)
        mask = np.ones(self.num_actions, np.int8) if needs_reset else self._mask(info)
        return self._masked(obs, mask), reward, terminated, truncated, info

    def _mask(self, info: Any) -> np.ndarray:
        """Return the mask, [n] int8.

        Raises:
            RunError: the mask is missing, not an array of numbers, or has the wrong size.
        """
        if self.source == "info" and not (isinstance(info, Mapping) and MASK in info):
            raise RunError(f"the info has no {MASK}, but had one at the first reset")
        mask = info[MASK] if self.source == "info" else self.env.get_wrapper_attr(METHOD)()
        flat = np.ravel(join_masks(mask))
        if flat.dtype.kind not in "biuf":
            raise RunError(f"the action mask is {mask!r:.60}, which is not an array of 0 and 1")
        if len(flat) != self.num_actions:
            raise RunError(
                f"the action mask has {len(flat)} entries, but there are {self.num_actions} actions"
            )
        return flat

    def _masked(self, obs: Any, mask: np.ndarray) -> dict[str, Any]:
        nested = isinstance(self.env.observation_space, spaces.Dict)
        return {**(obs if nested else {"obs": obs}), MASK: mask}


def with_mask(space: gym.Space[Any], num_actions: int) -> spaces.Dict:
    """Add a mask to an observation space, which becomes the leaf `obs` if it is no Dict."""
    parts = dict(space.spaces) if isinstance(space, spaces.Dict) else {"obs": space}
    return spaces.Dict({**parts, MASK: spaces.MultiBinary(num_actions)})


def find_masks(env: gym.Env[Any, Any], info: Mapping[str, Any]) -> MaskSource:
    """Return where an environment provides its mask, given the info of a reset.

    "none" if it has no mask, or has it in the observation.
    """
    if observes_mask(env.observation_space):
        return "none"
    if not isinstance(env.action_space, spaces.Discrete | spaces.MultiDiscrete):
        return "none"
    if env.has_wrapper_attr(METHOD):
        return "method"
    return "info" if MASK in info else "none"


def observes_mask(space: gym.Space[Any]) -> bool:
    """Return whether a mask is part of an observation space, at any depth."""
    if isinstance(space, spaces.Dict):
        return MASK in space.spaces or any(map(observes_mask, space.spaces.values()))
    return isinstance(space, spaces.Tuple) and any(map(observes_mask, space.spaces))


def count_choices(space: gym.Space[Any]) -> int:
    """Return the size of a mask: the sum of the sizes of all choices."""
    assert isinstance(space, spaces.Discrete | spaces.MultiDiscrete), "only choices are masked"
    return int(space.n if isinstance(space, spaces.Discrete) else space.nvec.sum())


def mark_mask(spec: ObsSpec, actions: ActionSpec, env_id: str) -> ObsSpec:
    """Mark the leaf whose key is `action_mask`, if there is one, as the mask.

    Raises:
        InputError: the actions are not discrete, the leaf does not have one entry for each choice,
            there are several, or there is no other leaf.
    """
    if parts := [leaf.name for leaf in spec.leaves if MASK in leaf.path[:-1]]:
        raise InputError(
            f"--env-id: {env_id} observes its action mask in parts: {', '.join(parts)}; make it "
            "one array, with an entry for each choice"
        )
    found = [leaf for leaf in spec.leaves if leaf.path and leaf.path[-1] == MASK]
    if not found:
        return spec
    if len(found) > 1:
        names = ", ".join(leaf.name for leaf in found)
        raise InputError(f"--env-id: {env_id} observes several action masks: {names}")
    (leaf,) = found
    if leaf.shape != (sum(actions.sizes),):
        kind = f"{sum(actions.sizes)} choices" if actions.sizes else actions.kind
        raise InputError(
            f"--env-id: {env_id} has an observation {leaf.name} of shape {leaf.shape}, but its "
            f"actions are {kind}; a mask needs one entry for each choice of a Discrete or "
            "MultiDiscrete"
        )
    if len(spec.leaves) == 1:
        raise InputError(f"--env-id: {env_id} observes nothing but its {MASK}")
    mask = replace(leaf, name=MASK, kind="mask", sizes=(), starts=())
    return ObsSpec(tuple(mask if x is leaf else x for x in spec.leaves))


def some_action(spec: ActionSpec, obs: Obs) -> np.ndarray:
    """Return the first allowed action for one observation {leaf: [*O]}, as stored: [] or [A]."""
    if MASK not in obs:
        return np.zeros(spec.stored_shape, spec.stored_dtype)
    choices = np.split(obs[MASK] != 0, np.cumsum(spec.sizes[:-1]))
    return np.array([choice.argmax() for choice in choices]).reshape(spec.stored_shape)
