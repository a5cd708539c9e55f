"""N copies of an environment, stepped one after the other in this process.

What a copy returns is copied before the next copy is stepped, so copies may share buffers. Of the
info nothing is read but the action mask, and what it reports of an episode.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import gymnasium as gym
import numpy as np

from distpg.envs.guard import CLOSE_S, RAISED, Guard, Returned
from distpg.envs.latest import LatestObs
from distpg.envs.metrics import metrics_of
from distpg.envs.returned import to_flag, to_reward
from distpg.envs.state import EnvState, exposes_state, read_copy, write_copy
from distpg.envs.vector_env import Step, VectorEnv
from distpg.errors import EnvError, InputError, RunError
from distpg.spaces import Obs
from distpg.user_code import format_user_error


class Copies(VectorEnv):
    """N guarded copies."""

    def __init__(
        self,
        makers: Sequence[Callable[[], gym.Env[Any, Any]]],
        env_id: str,
        *,
        drop_bad: bool = False,
        image_keys: tuple[str, ...] | None = None,
        close_s: float = CLOSE_S,
    ) -> None:
        """Make the copies.

        Args:
            makers: Each makes one of them: now, and after it raised.
            env_id: For messages.
            drop_bad: Treat NaN and inf as exceptions.
            image_keys: As for `describe_obs`.
            close_s: Seconds that each has for closing.

        Raises:
            InputError: a copy cannot be made, a space is not supported, or the copies differ in
                their spaces.
        """
        self.guards: list[Guard] = []
        num_envs = len(makers)
        with ExitStack() as failed:
            failed.callback(self.close)
            for make in makers:
                self.guards.append(Guard(make, drop_bad=drop_bad, close_s=close_s))
            self._describe(env_id, image_keys)
            failed.pop_all()
        self.needs_reset = np.zeros(num_envs, bool)
        self.latest = LatestObs(self.obs_spec, num_envs)

    def _describe(self, env_id: str, image_keys: tuple[str, ...] | None) -> None:
        """Describe the spaces, which all copies share."""
        spaces = [(one.env.observation_space, one.env.action_space) for one in self.guards]
        for number, found in enumerate(spaces):
            if found != spaces[0]:
                raise InputError(
                    f"--env-id: the copies of {env_id} differ: number 0 has spaces {spaces[0]}, "
                    f"number {number} {found}"
                )
        super().__init__(*spaces[0], env_id, len(self.guards), image_keys)

    def reset(self, seeds: list[int]) -> Obs:
        """Seed and reset every copy, with one seed for each; return {leaf: [N, *O]}."""
        assert len(seeds) == self.num_envs, "one seed for each env"
        self.needs_reset[:] = False
        self.faults_at_reset = {}
        for env, (guard, seed) in enumerate(zip(self.guards, seeds, strict=True)):
            returned = call(guard.reset, env, seed)
            self._put(env, returned.obs)
            if returned.fault:
                self.faults_at_reset[env] = returned.fault
        return self.latest.settle()

    def step(self, actions: np.ndarray) -> Step:
        """Step every copy with its action from `Policy.to_bounds`, [N] or [N, A].

        The arrays of the result are new, but for the observations, which the next step overwrites.

        Raises:
            EnvError: a copy returned a value that is not allowed, called sys.exit or kept raising.
        """
        self.steps_done += self.num_envs
        rewards = np.zeros(self.num_envs, np.float32)
        terminated, truncated = np.zeros((2, self.num_envs), bool)
        faults: dict[int, str] = {}
        reported: dict[int, dict[str, float]] = {}
        scalars = self.action_spec.kind == "categorical"
        env_actions = self.action_spec.to_env(actions)
        for env, guard in enumerate(self.guards):
            resets = bool(self.needs_reset[env])
            if resets:
                returned = call(guard.reset, env)
            else:
                returned = call(guard.step, env, env_actions[env if scalars else (env, ...)])
            if returned.fault:
                faults[env] = returned.fault
            self.refuse_late_mask(guard.info, env)
            # a step that raised has no observation: the last one stays
            if resets or not returned.fault:
                self._put(env, returned.obs)
            rewards[env] = to_reward(returned.reward, env)
            terminated[env] = to_flag(returned.terminated, "terminated", env)
            truncated[env] = to_flag(returned.truncated, "truncated", env)
            if (terminated[env] or truncated[env]) and (metrics := metrics_of(guard.info, env)):
                reported[env] = metrics
        self.needs_reset = terminated | truncated
        obs = self.latest.settle()
        return Step(obs, rewards, terminated, truncated, self.needs_reset.copy(), faults, reported)

    def _put(self, env: int, obs: Any) -> None:
        """Copy the observation of one copy, which may write into it later."""
        self.latest.put(env, obs)
        if self.ranges:
            self.ranges.watch(obs)

    def set_attributes(self, values: Mapping[str, Any]) -> None:
        """Set attributes of every copy, as in `VectorEnv`."""
        for guard in self.guards:
            guard.set_attributes(values)

    def get_state(self) -> EnvState | None:
        """Return the state of all copies, or None if the environment does not expose it."""
        if not all(exposes_state(guard.env) for guard in self.guards):
            return None
        copies = [
            {
                **read_copy(guard.env),
                "needs_reset": bool(self.needs_reset[env]),
                "seeds": [guard.seeds.bit_generator.state],
                "attributes": dict(guard.attributes),
            }
            for env, guard in enumerate(self.guards)
        ]
        return EnvState(copies)

    def set_state(self, state: EnvState) -> None:
        """Restore a state from `get_state` in all copies."""
        for env, (guard, saved) in enumerate(zip(self.guards, state.copies, strict=True)):
            # they may decide what a state looks like
            guard.set_attributes(saved["attributes"])
            guard.reset()
            write_copy(guard.env, saved)
            self.needs_reset[env] = saved["needs_reset"]
            (seeds,) = saved["seeds"]
            guard.seeds.bit_generator.state = seeds

    @property
    def time_limit(self) -> int | None:
        """Steps after which the environment ends an episode by itself, if it says so."""
        spec = self.guards[0].env.spec
        return spec.max_episode_steps if spec is not None else None

    @property
    def metadata(self) -> Mapping[str, Any]:
        """How the environment renders: its `render_modes` and `render_fps`."""
        return self.guards[0].env.metadata

    def render(self) -> Any:
        """Render the first copy, in the mode of its source."""
        return self.guards[0].env.render()

    def close(self) -> list[str]:
        """Close all copies, ignoring errors; return those that did not close in time."""
        return [f"env {env}" for env, guard in enumerate(self.guards) if not guard.close()]


def call(method: Callable[..., Returned], env: int, *arguments: Any) -> Returned:
    """Call a method of a guard, and say which copy it was that called sys.exit, or kept raising.

    Raises:
        EnvError: it did.
    """
    try:
        return method(*arguments)
    except RunError as error:
        raise EnvError(str(error), env) from error
    except InputError as error:
        raise EnvError(f"it kept raising: {error}", env) from error
    except RAISED as error:
        raise EnvError(f"it kept raising: {format_user_error(error)}", env) from error
