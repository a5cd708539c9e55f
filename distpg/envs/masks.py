"""Action masks: which actions a state allows, as a leaf of the observation.

An environment says it in one of three ways: as `action_mask` in a Dict observation, as
`info["action_mask"]` of each reset and step, or by a method `action_masks()`. The last two are
turned into the first.
"""

from dataclasses import replace
from typing import Any, Literal, SupportsFloat

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from distpg.errors import InputError
from distpg.spaces import MASK, ActionSpec, Obs, ObsSpec, join_masks

METHOD = "action_masks"
MaskSource = Literal["none", "info", "method"]


class MaskedObservation(gym.Wrapper[Any, Any, Any, Any]):
    """An environment whose mask stands beside its observation."""

    def __init__(self, env: gym.Env[Any, Any], source: MaskSource) -> None:
        """Wrap one that tells its mask in its info, or by a method."""
        super().__init__(env)
        self.source = source
        self.num_actions = count_choices(env.action_space)
        space = env.observation_space
        parts = dict(space.spaces) if isinstance(space, spaces.Dict) else {"obs": space}
        self.observation_space = spaces.Dict({**parts, MASK: spaces.MultiBinary(self.num_actions)})

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Reset."""
        obs, info = self.env.reset(seed=seed, options=options)
        return self._masked(obs, self._mask(info)), without_mask(info)

    def step(self, action: Any) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        """Step; where the episode ends, no mask is needed."""
        obs, reward, terminated, truncated, info = self.env.step(action)
        needs_reset = terminated or truncated
        mask = np.ones(self.num_actions, np.int8) if needs_reset else self._mask(info)
        return self._masked(obs, mask), reward, terminated, truncated, without_mask(info)

    def _mask(self, info: dict[str, Any]) -> np.ndarray:
        """Read the mask.

        Raises:
            ValueError: there is none, or of another size.
        """
        if self.source == "info" and MASK not in info:
            raise ValueError(f"the info has no {MASK}, which it had at the first reset")
        mask = info[MASK] if self.source == "info" else self.env.get_wrapper_attr(METHOD)()
        flat = np.ravel(join_masks(mask)) != 0
        if len(flat) != self.num_actions:
            raise ValueError(
                f"the action mask has {len(flat)} entries, where there are {self.num_actions} "
                "actions"
            )
        return flat.astype(np.int8)

    def _masked(self, obs: Any, mask: np.ndarray) -> dict[str, Any]:
        nested = isinstance(self.env.observation_space, spaces.Dict)
        return {**(obs if nested else {"obs": obs}), MASK: mask}


def without_mask(info: dict[str, Any]) -> dict[str, Any]:
    """Leave the mask out, which gymnasium would slowly gather from all copies."""
    return {key: value for key, value in info.items() if key != MASK}


def find_masks(env: gym.Env[Any, Any], info: dict[str, Any]) -> MaskSource:
    """Find out from the info of a reset how an environment tells a mask, if not as a leaf."""
    space = env.observation_space
    if isinstance(space, spaces.Dict) and MASK in space.spaces:
        return "none"
    if not isinstance(env.action_space, spaces.Discrete | spaces.MultiDiscrete):
        return "none"
    if env.has_wrapper_attr(METHOD):
        return "method"
    return "info" if MASK in info else "none"


def count_choices(space: gym.Space[Any]) -> int:
    """Count the entries of a mask: of all choices, side by side."""
    assert isinstance(space, spaces.Discrete | spaces.MultiDiscrete), "only choices are masked"
    return int(space.n if isinstance(space, spaces.Discrete) else space.nvec.sum())


def mark_mask(spec: ObsSpec, actions: ActionSpec, env_id: str) -> ObsSpec:
    """Take the leaf `action_mask` for what it is.

    Raises:
        InputError: the actions are no choices, the leaf has not an entry for each, or there is no
            other.
    """
    leaves = {leaf.name: leaf for leaf in spec.leaves}
    if MASK not in leaves:
        return spec
    leaf = leaves.pop(MASK)
    if leaf.shape != (sum(actions.sizes),):
        takes = f"of {sum(actions.sizes)} choices" if actions.sizes else f"{actions.kind}"
        raise InputError(
            f"--env-id: {env_id} has an observation {MASK} of shape {leaf.shape}, and its actions "
            f"are {takes}; a mask has an entry for each choice of a Discrete or MultiDiscrete"
        )
    if not leaves:
        raise InputError(f"--env-id: {env_id} observes nothing but its {MASK}")
    mask = replace(leaf, kind="mask", sizes=(), starts=())
    return ObsSpec(tuple(mask if x is leaf else x for x in spec.leaves))


def some_action(spec: ActionSpec, obs: Obs) -> np.ndarray:
    """Return an action as stored, [] or [A], that is allowed where {leaf: [*O]} was observed."""
    if MASK not in obs:
        return np.zeros(spec.stored_shape, spec.stored_dtype)
    choices = np.split(obs[MASK] != 0, np.cumsum(spec.sizes[:-1]))
    return np.array([choice.argmax() for choice in choices]).reshape(spec.stored_shape)
