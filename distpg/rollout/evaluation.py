"""Evaluate a policy on a fixed number of whole episodes.

Keeping the first N that finish would favour short ones, so each env runs a fixed share.
"""

import numpy as np
import torch

from distpg.config.config import Config
from distpg.envs.make import EnvSource, make_vector_env
from distpg.envs.vector_env import VectorEnv
from distpg.errors import EnvError, RunError
from distpg.iteration import Evaluation
from distpg.policy.acting import ActingPolicy, first_stuck
from distpg.policy.actor_critic import Policy
from distpg.policy.architecture import Architecture
from distpg.records import Weights
from distpg.seeding import RNG, rng_seeds


def run_episodes(
    policy: Policy,
    envs: VectorEnv,
    num_episodes: int,
    *,
    seed: int,
    stochastic: bool,
    rng: RNG = RNG.EVALUATE,
) -> Evaluation:
    """Run exactly `num_episodes` whole episodes, shared out evenly over the envs.

    Args:
        policy: Acts with the modes of its distributions.
        envs: Reset here, from `seed`.
        num_episodes: At least 1.
        seed: Of the envs, and of the actions if they are sampled.
        stochastic: Sample the actions instead.
        rng: What the seed is for.

    Raises:
        RunError: environments raised too often, a reward is not finite, or an action mask allows
            no action.
    """
    num_envs = envs.num_envs
    shares = np.full(num_envs, num_episodes // num_envs)
    shares[: num_episodes % num_envs] += 1
    (act_seed,) = rng_seeds(RNG.ACT, rng, seed)
    generator = torch.Generator().manual_seed(act_seed) if stochastic else None
    try:
        obs = envs.reset(rng_seeds(rng, seed, count=num_envs))
    except EnvError as error:
        place = f"in an evaluation, env {error.env}, its first reset"
        raise RunError(f"{place}: {error}") from error
    needs_reset = np.zeros(num_envs, dtype=bool)
    acting = ActingPolicy(policy, torch.zeros(num_envs, policy.recurrent_state_size))
    returns, lengths = np.zeros(num_envs), np.zeros(num_envs, dtype=np.int64)
    faults: list[str] = []
    finished: list[list[tuple[float, int]]] = [[] for _ in range(num_envs)]
    while any(len(own) < share for own, share in zip(finished, shares, strict=True)):
        if (env := first_stuck(policy, obs, needs_reset)) is not None:
            raise RunError(
                f"in an evaluation, env {env}: at step {lengths[env]} of its episode the action "
                "mask allows no action"
            )
        actions, _ = acting.act(obs, needs_reset, generator)
        try:
            step = envs.step(policy.to_bounds(actions))
        except EnvError as error:
            place = f"in an evaluation, env {error.env}, step {lengths[error.env]} of its episode"
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
        for env in np.flatnonzero(step.needs_reset & ~needs_reset):
            if len(finished[env]) < shares[env] and env not in step.faults:
                finished[env].append((float(returns[env]), int(lengths[env])))
            returns[env] = lengths[env] = 0
        obs, needs_reset = step.obs, step.needs_reset
    episodes = [episode for own in finished for episode in own]
    return Evaluation([value for value, _ in episodes], [length for _, length in episodes])


class Evaluator:
    """Evaluates weights in the course of a run, on its own envs, the same ones each time."""

    def __init__(self, config: Config, source: EnvSource) -> None:
        """Make the envs and a policy to load weights into."""
        self.config = config
        self.envs = make_vector_env(source, min(config.num_envs, config.eval_episodes))
        specs = self.envs.obs_spec, self.envs.action_spec
        self.policy = Policy(*specs, Architecture.of(config)).for_acting()

    def evaluate(self, weights: Weights) -> Evaluation:
        """Run evaluation episodes with the modes of the policy's distributions."""
        self.policy.load(weights)
        config = self.config
        return run_episodes(
            self.policy, self.envs, config.eval_episodes, seed=config.seed, stochastic=False
        )
