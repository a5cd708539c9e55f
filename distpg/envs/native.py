"""Environments that are vectorized natively: gymnasium's CartPole, ALE, EnvPool, and others."""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

import gymnasium as gym
import numpy as np

from distpg.envs.envpool import EnvPoolVectorEnv
from distpg.envs.guard import CLOSE_S, RAISED, close_in_time, exited, refuse_non_finite, unpack
from distpg.envs.masks import count_choices, with_mask
from distpg.envs.metrics import metrics_by_copy
from distpg.envs.returned import flags_of, rewards_of
from distpg.envs.state import EnvState, read_native, write_native
from distpg.envs.vector_env import Step, VectorEnv
from distpg.errors import EnvError, InputError, RunError
from distpg.spaces import MASK, Leaf, MissingLeafError, Obs, join_masks
from distpg.user_code import format_user_error

ATARI_METADATA = {"render_modes": ["rgb_array"], "render_fps": 15}
"""Of 60 frames per second, a step skips all but one in four."""
ATARI_SCALE = 4
"""Pixels of a frame, for each of an observation's."""


class NativeVectorEnv(VectorEnv):
    """A vector implementation of an environment; if it raises, all its copies are replaced."""

    def __init__(
        self,
        make: Callable[[], gym.vector.VectorEnv],
        env_id: str,
        *,
        drop_bad: bool = False,
        masked: bool = False,
        image_keys: tuple[str, ...] | None = None,
        close_s: float = CLOSE_S,
    ) -> None:
        """Make the vector env.

        Args:
            make: Makes a gymnasium vector env in NEXT_STEP mode: now, and after one raised.
            env_id: For messages.
            drop_bad: Treat NaN and inf as exceptions.
            masked: Add the mask of the info, [N, n], to the observation.
            image_keys: As for `describe_obs`.
            close_s: Seconds that it has for closing.
        """
        self.make = make
        self.close_s = close_s
        self.envs = envs = make()
        self.masked = masked
        with ExitStack() as failed:
            failed.callback(self.close)
            space = envs.single_observation_space
            if masked:
                space = with_mask(space, count_choices(envs.single_action_space))
            super().__init__(space, envs.single_action_space, env_id, envs.num_envs, image_keys)
            failed.pop_all()
        self.info: Mapping[str, Any] = {}
        """Of the last reset or step; empty if that returned no mapping."""
        self.latest: Obs = {}
        """Of the last reset or step."""
        self.drop_bad = drop_bad
        self.seeds = np.random.default_rng(0)
        self.first_obs: Obs | None = None
        """Observations of a replaced vector env after its reset; the next step returns them."""
        self.is_ale = type(envs).__name__ == "AtariVectorEnv"
        self.is_atari = self.is_ale or (isinstance(envs, EnvPoolVectorEnv) and envs.is_atari)

    def reset(self, seeds: list[int]) -> Obs:
        """Seed and reset every copy, with one seed for each; return {leaf: [N, *O]}."""
        assert len(seeds) == self.num_envs, "one seed for each env"
        self.first_obs = None
        return self._flatten(self.reset_nested(seeds))

    def reset_nested(self, seeds: list[int]) -> Any:
        """Seed and reset every copy; return observations in the env's own nesting."""
        self.seeds = np.random.default_rng(seeds)
        # gymnasium's own vector envs have one RNG for all copies
        seed: Any = seeds[0]
        if isinstance(self.envs, EnvPoolVectorEnv):
            seed = list(seeds)
        elif self.is_ale:
            seed = np.array(seeds, dtype=np.int64) % 2**31
        try:
            obs, info = unpack("reset()", self.envs.reset(seed=seed))
        except SystemExit as error:
            raise exited(error) from error
        self.info = info if isinstance(info, Mapping) else {}
        return self._masked(obs) if self.masked else obs

    def step(self, actions: np.ndarray) -> Step:
        """Step every copy with its action from `Policy.to_bounds`, [N] or [N, A]."""
        self.steps_done += self.num_envs
        if self.first_obs is not None:
            first_obs, self.first_obs = self.first_obs, None
            return self._idle_step(first_obs, needs_reset=False)
        try:
            outcome = unpack("step()", self.envs.step(self.action_spec.to_env(actions)))
            if self.drop_bad:
                refuse_non_finite(*outcome[:2])
        except RunError:
            raise
        except SystemExit as error:
            raise exited(error) from error
        except RAISED as error:
            fault = format_user_error(error)
            if self.close():
                fault += f" (and it did not close within --close-timeout {self.close_s:g} s)"
            self.envs = self.make()
            seeds = self.seeds.integers(2**31, size=self.num_envs)
            self.first_obs = self.reset([int(seed) for seed in seeds])
            return self._idle_step(self.first_obs, needs_reset=True, fault=fault)
        obs, rewards, terminated, truncated, info = outcome
        self.info = info if isinstance(info, Mapping) else {}
        self.refuse_late_mask(self.info, 0)
        rewards = rewards_of(rewards, self.num_envs)
        terminated = flags_of(terminated, "terminated", self.num_envs)
        truncated = flags_of(truncated, "truncated", self.num_envs)
        needs_reset = terminated | truncated
        if self.is_atari:
            # a lost life terminates, but does not reset the game
            needs_reset = truncated | (terminated & (self.info["lives"] == 0))
        if self.masked:
            obs = self._masked(obs, needs_reset)
        reported = metrics_by_copy(self.info, needs_reset)
        return Step(self._flatten(obs), rewards, terminated, truncated, needs_reset, {}, reported)

    def _masked(self, obs: Any, needs_reset: np.ndarray | None = None) -> dict[str, Any]:
        """Add the mask to an observation; it allows everything where a copy needs a reset."""
        if MASK not in self.info:
            raise RunError(
                f"the info of {self.env_id} has no {MASK}, but had one at the first reset"
            )
        mask = np.array(join_masks(self.info[MASK]))
        if mask.ndim < 2 or len(mask) != self.num_envs:
            raise RunError(
                f"the {MASK} in the info has shape {list(mask.shape)}; one row for each of "
                f"{self.num_envs} copies is expected"
            )
        mask = mask.reshape(self.num_envs, -1)
        if needs_reset is not None:
            mask[needs_reset] = 1
        nested = isinstance(self.envs.single_observation_space, gym.spaces.Dict)
        return {**(obs if nested else {"obs": obs}), MASK: mask}

    def _idle_step(self, obs: Obs, *, needs_reset: bool, fault: str = "") -> Step:
        """Return a step without rewards, which truncates all copies if they need a reset."""
        rewards = np.zeros(self.num_envs, np.float32)
        terminated = np.zeros(self.num_envs, bool)
        truncated = np.full(self.num_envs, needs_reset)
        faults = dict.fromkeys(range(self.num_envs), fault) if fault else {}
        return Step(obs, rewards, terminated, truncated, truncated, faults)

    def _flatten(self, obs: Any) -> Obs:
        leaves: Obs = {}
        try:
            for leaf in self.obs_spec.leaves:
                leaves[leaf.name] = self._read(leaf, obs)
            shape = self.obs_spec.batch_shape(leaves)
        except InputError as error:
            raise RunError(f"the vector implementation of {self.env_id}: {error}") from error
        if shape != (self.num_envs,):
            raise RunError(
                f"the environment returned observations of batch shape {list(shape)}, not "
                f"[{self.num_envs}]"
            )
        if self.ranges:
            self.ranges.watch(obs)
        self.latest = leaves
        return leaves

    def _read(self, leaf: Leaf, obs: Any) -> np.ndarray:
        """Read a leaf of all copies.

        Raises:
            EnvError: of one copy it holds values that are not allowed.
            InputError: it is missing, or not an array of numbers.
        """
        try:
            return leaf.read(obs)
        except MissingLeafError:
            raise
        except InputError:
            rows = np.asarray(leaf.get(obs))
            for env, row in enumerate(rows if rows.ndim else ()):
                try:
                    leaf.convert(row)
                except InputError as error:
                    raise EnvError(str(error), env) from error
            raise

    def get_state(self) -> EnvState | None:
        """Return the state of all copies, or None if the environment does not expose it."""
        state = read_native(self.envs)
        if state is None:
            return None
        own = {"seeds": self.seeds.bit_generator.state, "first_obs": self.first_obs}
        return EnvState([state, own])

    def set_state(self, state: EnvState) -> None:
        """Restore a state from `get_state` in all copies."""
        fields, own = state.copies
        self.seeds.bit_generator.state = own["seeds"]
        self.first_obs = own["first_obs"]
        write_native(self.envs, fields)

    @property
    def time_limit(self) -> int | None:
        """Steps after which the environment ends an episode by itself, if it says so."""
        spec = self.envs.spec
        return spec.max_episode_steps if spec is not None else None

    @property
    def metadata(self) -> Mapping[str, Any]:
        """How the environment renders: its `render_modes` and `render_fps`."""
        return ATARI_METADATA if self.is_atari else self.envs.metadata

    def render(self) -> Any:
        """Render the first copy; of an Atari game, the newest picture that the policy sees."""
        if not self.is_atari:
            frames: Any = self.envs.render()
            return frames[0]
        (leaf,) = self.latest.values()
        picture = leaf[0, -1]
        colored = picture if picture.ndim == 3 else np.stack([picture] * 3, axis=-1)
        return colored.repeat(ATARI_SCALE, 0).repeat(ATARI_SCALE, 1)

    def close(self) -> list[str]:
        """Close all copies, ignoring errors; return their name if they did not close in time."""
        in_time = close_in_time(self.envs, self.close_s)
        return [] if in_time else [f"envs 0 to {self.num_envs - 1}"]
