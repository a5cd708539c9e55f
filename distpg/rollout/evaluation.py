"""Evaluate a policy on a fixed number of whole episodes.

Keeping the first N that finish would favour short ones, so each env runs a fixed share. An episode
that reaches the step limit is cut off. Its env waits for the others, then all are reset for the
episodes that are left, since a vector implementation cannot reset one copy.
"""

import time
from collections.abc import Callable, Generator, Mapping
from typing import Any, NamedTuple

import numpy as np

from distpg.config.config import Config
from distpg.envs.make import EnvSource, make_vector_env
from distpg.envs.vector_env import VectorEnv
from distpg.errors import EnvError, RunError
from distpg.iteration import Evaluation
from distpg.policy.action_units import ActionUnits
from distpg.policy.agent import Agent
from distpg.policy.architecture import Architecture
from distpg.policy.behaviour import BehaviourPolicy, first_stuck
from distpg.records import Weights
from distpg.rollout.attributes import NOTHING
from distpg.seeding import RNG, rng_seeds
from distpg.spaces import Obs

MAX_STEPS = 100_000
"""Step limit of an episode if the environment has none, and --eval-max-steps is not given."""
PART_S = 0.5
"""Seconds of an evaluation after which it is asked whether to stop."""


class Moment(NamedTuple):
    """After a reset or a step of all envs."""

    done: int
    """Episodes that are done."""
    running: np.ndarray
    """[N] bool: the step, or the reset, is of an episode that counts."""
    ended: np.ndarray
    """[N] bool: the episode ended with this step, or was cut off."""


Episodes = Generator[Moment, None, Evaluation]
"""Episodes as they are run."""


def run_episodes(episodes: Episodes, watch: Callable[[Moment], None] | None = None) -> Evaluation:
    """Run episodes to their end; `watch` is called with what they yield."""
    while True:
        try:
            moment = next(episodes)
        except StopIteration as end:
            return end.value
        if watch is not None:
            watch(moment)


def play_episodes(
    behaviour: Callable[[int], BehaviourPolicy],
    units: ActionUnits,
    envs: VectorEnv,
    num_episodes: int,
    *,
    seed: int,
    stochastic: bool,
    rng: RNG = RNG.EVALUATE,
    max_steps: int | None = None,
) -> Episodes:
    """Run exactly `num_episodes` whole episodes, shared out evenly over the envs.

    Args:
        behaviour: Makes what acts in so many envs, where episodes start.
        units: Of its actions.
        envs: Reset here, from `seed`.
        num_episodes: At least 1.
        seed: Of the envs, and of the actions if they are sampled.
        stochastic: Sample the actions instead of taking the modes.
        rng: What the seed is for.
        max_steps: Steps after which an episode is cut off; None for the environment's own limit,
            else `MAX_STEPS`.

    Yields:
        A `Moment`, after each step and after each reset of all envs.

    Raises:
        RunError: environments raised too often, a reward is not finite, or an action mask allows
            no action.
    """
    num_envs = envs.num_envs
    max_steps = max_steps or envs.time_limit or MAX_STEPS
    shares = np.full(num_envs, num_episodes // num_envs)
    shares[: num_episodes % num_envs] += 1
    (act_seed,) = rng_seeds(RNG.ACT, rng, seed)
    generator = None
    finished: list[list[tuple[float, int, Mapping[str, float]]]] = [[] for _ in range(num_envs)]
    cut_off: list[int] = []
    faults: list[str] = []
    left, resets = shares.copy(), 0
    while left.any():
        key = (seed, resets) if resets else (seed,)
        obs = first_obs(envs, rng_seeds(rng, *key, count=num_envs))
        needs_reset, waiting = np.zeros((2, num_envs), dtype=bool)
        acting = behaviour(num_envs)
        if stochastic and generator is None:
            generator = acting.generator(act_seed)
        returns, lengths = np.zeros(num_envs), np.zeros(num_envs, dtype=np.int64)
        running = left > 0
        yield Moment(num_episodes - int(left.sum()), running, np.zeros(num_envs, dtype=bool))
        while running.any():
            if (env := first_stuck(envs, obs, needs_reset)) is not None:
                raise RunError(
                    f"in an evaluation, env {env}: at step {lengths[env]} of its episode the "
                    "action mask allows no action"
                )
            actions, _ = acting.act(obs, needs_reset, generator)
            try:
                step = envs.step(units.to_bounds(actions))
            except EnvError as error:
                at = lengths[error.env]
                place = f"in an evaluation, env {error.env}, step {at} of its episode"
                raise RunError(f"{place}: {error}") from error
            faults += [*step.faults.values()]
            if len(faults) > num_episodes:
                raise RunError(
                    f"environments raised {len(faults)} times in an evaluation: {faults[-1]}"
                )
            rewards = np.where(needs_reset, 0, step.rewards)
            if not np.isfinite(rewards).all():
                odd = rewards[~np.isfinite(rewards)][0]
                raise RunError(f"in an evaluation, an environment returned the reward {odd}")
            returns += rewards
            lengths += ~needs_reset
            ended = step.needs_reset & ~needs_reset
            late = ~ended & (lengths >= max_steps) & running
            for env in np.flatnonzero(ended | late):
                if running[env] and env not in step.faults:
                    metrics = step.reported.get(int(env), {})
                    finished[env].append((float(returns[env]), int(lengths[env]), metrics))
                    left[env] -= 1
                returns[env] = lengths[env] = 0
            cut_off += map(int, np.flatnonzero(late))
            waiting |= late
            obs, needs_reset = step.obs, step.needs_reset
            yield Moment(num_episodes - int(left.sum()), running, ended | late)
            running = (left > 0) & ~waiting
        resets += 1
    episodes = [episode for own in finished for episode in own]
    return Evaluation(
        [value for value, _, _ in episodes],
        [length for _, length, _ in episodes],
        cut_off=tuple(cut_off),
        max_steps=max_steps,
        reported=[metrics for *_, metrics in episodes] if any(m for *_, m in episodes) else (),
    )


def first_obs(envs: VectorEnv, seeds: list[int]) -> Obs:
    """Reset all envs.

    Raises:
        RunError: one raised too often.
    """
    try:
        return envs.reset(seeds)
    except EnvError as error:
        place = f"in an evaluation, env {error.env}, its first reset"
        raise RunError(f"{place}: {error}") from error


class Evaluator:
    """Evaluates weights in the course of a run, on its own envs, the same ones each time."""

    def __init__(self, config: Config, source: EnvSource) -> None:
        """Make the envs, and an agent that acts in them."""
        self.config = config
        num_envs = min(config.num_envs, config.eval_episodes)
        self.envs = make_vector_env(source, num_envs, first=config.first_eval_copy)
        specs = self.envs.obs_spec, self.envs.action_spec
        self.agent = Agent(*specs, Architecture.of(config), acting=config.acting)
        self.episodes: Episodes | None = None

    def begin(self, weights: Weights, attributes: Mapping[str, Any] = NOTHING) -> Evaluation | None:
        """Begin an evaluation with the modes of the policy's distributions; as `advance`.

        `attributes` are set in the envs before.
        """
        config, agent = self.config, self.agent
        self.envs.set_attributes(attributes)
        self.episodes = play_episodes(
            lambda num_envs: agent.behaviour(weights, agent.first_state(num_envs)),
            agent.units,
            self.envs,
            config.eval_episodes,
            seed=config.seed,
            stochastic=False,
            max_steps=config.eval_max_steps,
        )
        return self.advance()

    def advance(self) -> Evaluation | None:
        """Run the episodes for `PART_S` seconds; return None if they are not done."""
        assert self.episodes is not None, "`begin` comes first"
        end = time.monotonic() + PART_S
        try:
            while time.monotonic() < end:
                next(self.episodes)
        except StopIteration as done:
            return done.value
        return None

    def close(self) -> list[str]:
        """Close the envs; return those that did not close in time."""
        return [f"{env} of the evaluation" for env in self.envs.close()]
