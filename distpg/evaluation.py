"""How well a policy plays: a number of whole episodes fixed in advance.

Keeping the first N that finish would favour short ones, so each env plays a fixed share.
"""

import numpy as np
import torch

from distpg.config import Config
from distpg.envs.make import EnvSource, make_vector_env
from distpg.envs.vector_env import VectorEnv
from distpg.errors import RunError
from distpg.policy.acting import Actor
from distpg.policy.actor_critic import Policy
from distpg.policy.architecture import Architecture
from distpg.records import Evaluation, Weights
from distpg.streams import Stream, stream_seeds


@torch.inference_mode()
def play(
    policy: Policy, envs: VectorEnv, num_episodes: int, *, seed: int, stochastic: bool
) -> Evaluation:
    """Play exactly `num_episodes` whole episodes, shared out evenly over the envs.

    Args:
        policy: Acts with its most likely actions.
        envs: Reset here, from `seed`.
        num_episodes: At least 1.
        seed: Of the envs, and of the actions if they are drawn.
        stochastic: Draw the actions instead.
    """
    num_envs = envs.num_envs
    shares = np.full(num_envs, num_episodes // num_envs)
    shares[: num_episodes % num_envs] += 1
    generator = torch.Generator().manual_seed(seed)
    obs = envs.reset(stream_seeds(Stream.EVALUATE, seed, count=num_envs))
    over = np.zeros(num_envs, dtype=bool)
    actor = Actor(policy, torch.zeros(num_envs, policy.num_memory))
    score, length = np.zeros(num_envs), np.zeros(num_envs, dtype=np.int64)
    torn: list[str] = []
    played: list[list[tuple[float, int]]] = [[] for _ in range(num_envs)]
    while any(len(episodes) < share for episodes, share in zip(played, shares, strict=True)):
        if (stuck := envs.action_spec.forbidden(obs) & ~over).any():
            env = int(stuck.argmax())
            raise RunError(
                f"in an evaluation, env {env}: at step {length[env]} of its episode the action "
                "mask allows no action"
            )
        tensors = {name: torch.from_numpy(leaf) for name, leaf in obs.items()}
        distribution = policy.distribution_of(actor.outputs(tensors, torch.from_numpy(over)))
        actions = distribution.sample(generator) if stochastic else distribution.mode()
        step = envs.step(policy.to_bounds(actions.numpy()))
        torn += [*step.faults.values()]
        if len(torn) > num_episodes:
            raise RunError(f"environments raised {len(torn)} times in an evaluation: {torn[-1]}")
        rewards = np.where(over, 0, step.rewards)
        if not np.isfinite(rewards).all():
            raise RunError(f"an evaluation was paid {rewards[~np.isfinite(rewards)][0]}")
        score += rewards
        length += ~over
        for env in np.flatnonzero(step.over & ~over):
            if len(played[env]) < shares[env] and env not in step.faults:
                played[env].append((float(score[env]), int(length[env])))
            score[env] = length[env] = 0
        obs, over = step.obs, step.over
    episodes = [episode for column in played for episode in column]
    return Evaluation([score for score, _ in episodes], [length for _, length in episodes])


class Evaluator:
    """Evaluates weights in the course of a run, on envs of its own, the same ones each time."""

    def __init__(self, config: Config, source: EnvSource) -> None:
        """Make the envs and a policy to load weights into."""
        self.config = config
        self.envs = make_vector_env(source, min(config.num_envs, config.eval_episodes))
        specs = self.envs.obs_spec, self.envs.action_spec
        self.policy = Policy(*specs, Architecture.of(config)).for_acting()

    def evaluate(self, weights: Weights) -> Evaluation:
        """Play with the most likely actions."""
        self.policy.load(weights)
        config = self.config
        return play(
            self.policy, self.envs, config.eval_episodes, seed=config.seed, stochastic=False
        )
