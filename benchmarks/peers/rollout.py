"""Steps gymnasium's envs with a policy, for the single files; all in NumPy."""

import argparse
from collections.abc import Callable
from dataclasses import dataclass

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from benchmarks.peers.normalizer import Normalizer
from benchmarks.peers.work import Episodes

Act = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]]
"""From observations [N, ...] to actions, log pi and V."""
Value = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Rollout:
    """T steps of N envs."""

    obs: np.ndarray
    actions: np.ndarray
    log_probs: np.ndarray
    values: np.ndarray
    rewards: np.ndarray
    """At a time limit, with the discounted V of the last observation."""
    dones: np.ndarray
    next_obs: np.ndarray
    """After the last step, [N, ...]."""


class Collector:
    """Vector env, its statistics, and where its episodes are."""

    def __init__(self, options: argparse.Namespace) -> None:
        makers = [lambda: gymnasium.make(options.env)] * options.n_envs
        self.envs = SyncVectorEnv(makers, autoreset_mode=AutoresetMode.SAME_STEP)
        self.actions = self.envs.single_action_space
        self.discrete = isinstance(self.actions, gymnasium.spaces.Discrete)
        self.n_actions = int(self.actions.n) if self.discrete else self.actions.shape[0]
        self.n_obs = self.envs.single_observation_space.shape[0]
        self.options = options
        self.normalizer = Normalizer(options, (self.n_obs,))
        self.episodes = Episodes(options.solve)
        self.obs = self.normalizer.obs(self.envs.reset(seed=options.seed)[0])

    def collect(self, act: Act, value: Value) -> Rollout:
        """Take the steps of an update."""
        size = (self.options.n_steps, self.options.n_envs)
        obs = np.zeros((*size, self.n_obs), np.float32)
        actions = np.zeros((*size, *self.actions.shape), self.actions.dtype)
        log_probs, values, rewards = (np.zeros(size, np.float32) for _ in range(3))
        dones = np.zeros(size, np.float32)
        for step in range(self.options.n_steps):
            obs[step] = self.obs
            actions[step], log_probs[step], values[step] = act(self.obs)
            rewards[step], dones[step] = self.step(actions[step], value)
        return Rollout(obs, actions, log_probs, values, rewards, dones, self.obs)

    def step(self, actions: np.ndarray, value: Value) -> tuple[np.ndarray, np.ndarray]:
        """Step the envs once; return rewards and whether episodes ended."""
        if not self.discrete:
            actions = np.clip(actions, self.actions.low, self.actions.high)
        obs, paid, terminated, truncated, info = self.envs.step(actions)
        dones = terminated | truncated
        self.episodes.pay(paid, dones)
        rewards = self.normalizer.rewards(paid, dones)
        cut = truncated & ~terminated
        if cut.any():
            # of all N, so that a compiled V has one shape
            last = np.array(obs)
            last[cut] = np.stack(list(info["final_obs"][cut]))
            values = value(self.normalizer.obs(last, learn=False))
            rewards[cut] += self.options.gamma * values[cut]
        self.obs = self.normalizer.obs(obs)
        return rewards, dones
