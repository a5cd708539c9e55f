"""One vector-env interface: over copies of one environment, and over native implementations.

All run in gymnasium's NEXT_STEP autoreset mode: the step after the end of an episode ignores its
action, resets that copy and returns the first observation. `needs_reset` marks these copies.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np

from distpg.envs.describe import describe_action, describe_obs
from distpg.envs.masks import mark_mask
from distpg.envs.ranges import Ranges
from distpg.envs.state import EnvState
from distpg.errors import EnvError, RunError
from distpg.spaces import MASK, Obs


class Step(NamedTuple):
    """The result of a step of all N copies."""

    obs: Obs
    """{leaf: [N, *O]}"""
    rewards: np.ndarray
    """[N] float32"""
    terminated: np.ndarray
    """[N] bool; set for each lost life of an Atari game, which is not reset."""
    truncated: np.ndarray
    """[N] bool"""
    needs_reset: np.ndarray
    """[N] bool: the next step resets this copy."""
    faults: dict[int, str]
    """By copy, what it raised; its episode is dropped, and the next step resets a new copy."""
    reported: Mapping[int, Mapping[str, float]] = MappingProxyType({})
    """By copy whose episode ended, what the environment reported of it, if it did."""


class VectorEnv(ABC):
    """N copies of an environment, with flat observations and one description of both spaces."""

    is_atari = False

    def __init__(
        self,
        observation_space: gym.Space[Any],
        action_space: gym.Space[Any],
        env_id: str,
        num_envs: int,
        image_keys: tuple[str, ...] | None = None,
    ) -> None:
        """Describe the spaces of one copy; `image_keys` as for `describe_obs`.

        Raises:
            InputError: they are not supported.
        """
        self.observation_space = observation_space
        self.action_space = action_space
        self.env_id = env_id
        self.num_envs = num_envs
        self.action_spec = describe_action(action_space, env_id)
        obs_spec = describe_obs(observation_space, env_id, image_keys)
        self.obs_spec = mark_mask(obs_spec, self.action_spec, env_id)
        self.steps_done = 0
        """Steps of all copies so far."""
        self.faults_at_reset: dict[int, str] = {}
        """By copy, what it raised in the last `reset`."""
        self.ranges: Ranges | None = None
        """Set, it watches observations as the environment returns them, which takes time."""

    def refuse_late_mask(self, info: Mapping[str, Any], env: int) -> None:
        """Refuse a mask that is only now in the info: before, all actions were allowed.

        Raises:
            EnvError: there is one.
        """
        if MASK in info and self.action_spec.sizes and not self.obs_spec.is_masked:
            raise EnvError(
                f"the info has an {MASK}, but had none at the first reset; give one from the "
                "first reset on",
                env,
            )

    def watch_ranges(self) -> None:
        """Watch observations until `range_warnings` is called."""
        self.ranges = Ranges(self.obs_spec)

    def range_warnings(self) -> dict[str, str]:
        """Return a warning for each leaf that needs one since `watch_ranges`, and stop watching."""
        lost, self.ranges = self.ranges.warnings() if self.ranges else {}, None
        return lost

    def set_attributes(self, values: Mapping[str, Any]) -> None:
        """Set attributes of every copy, wherever a wrapper or the environment has them.

        Raises:
            RunError: there is no such attribute, or copies cannot be set.
        """
        if values:
            raise RunError(
                f"a watcher set {min(values)}, but {self.env_id} is vectorized natively, and its "
                "copies cannot be set; with an --env-wrapper copies are stepped one by one"
            )

    @abstractmethod
    def reset(self, seeds: list[int]) -> Obs:
        """Seed and reset every copy, with one seed for each; return {leaf: [N, *O]}."""

    @abstractmethod
    def step(self, actions: np.ndarray) -> Step:
        """Step every copy with its action from `Policy.to_bounds`, [N] or [N, A]."""

    @abstractmethod
    def get_state(self) -> EnvState | None:
        """Return the state of all copies, or None if the environment does not expose it."""

    @abstractmethod
    def set_state(self, state: EnvState) -> None:
        """Restore a state from `get_state` in all copies."""

    @property
    @abstractmethod
    def metadata(self) -> Mapping[str, Any]:
        """How the environment renders: its `render_modes` and `render_fps`."""

    @abstractmethod
    def render(self) -> Any:
        """Render the first copy, in the mode of its source; `rendering.frame_of` checks it."""

    @abstractmethod
    def close(self) -> list[str]:
        """Close all copies, ignoring errors; return those that did not close in time.

        In another thread than the main one nothing is interrupted.
        """

    @property
    @abstractmethod
    def time_limit(self) -> int | None:
        """Steps after which the environment ends an episode by itself, if it says so."""
