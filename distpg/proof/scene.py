"""What an estimator is verified on: the game, behaviour and target policy, and the critic."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations_with_replacement, count
from math import factorial, prod
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from distpg.config.config import Config
from distpg.envs import diamond_hill
from distpg.envs.make import find_env, make_vector_env
from distpg.learner.learner import Learner
from distpg.proof.solver import Episode, Game, Solver
from distpg.records import Rollout
from distpg.rollout.worker import RolloutWorker
from distpg.spaces import ActionSpec, ObsSpec

NUM_SLOTS, EPISODES_PER_ENV = 2, 2
NUM_EPISODES = NUM_SLOTS * EPISODES_PER_ENV
NUM_ENVS = 512
"""A rollout worker collects `NUM_ENVS` batches at a time, one per env. A batch has `NUM_EPISODES`
episodes, several in a row per env, so that advantages could leak between episodes; shorter ones are
padded.
"""
BEHAVIOUR = (0.7, 0.4, 0.8)
"""P(left) of the behaviour policy: at the start, on the slope, on the hilltop without diamond."""
TARGET = (0.6, 0.5, 0.7)
"""P(left) of the target policy, if it differs: its gradient needs importance weights."""
WRONG_VALUES = (3.0, -1.0, 5.0)
"""Values of a critic that is wrong in every node."""
VALUE_AFTER_END = -20.0
"""What the critic returns after a terminal step: it must have no effect."""


def tabular_policy(left: Sequence[float]) -> Tensor:
    """Return the policy [S, 2] with these probabilities of going left, in float64."""
    return torch.tensor([[p, 1 - p] for p in left], dtype=torch.float64)


@dataclass(frozen=True)
class Scene:
    """A game of S decision nodes, two policies and a critic."""

    truncated: bool = False
    """Whether a time limit truncates episodes after 2 steps."""
    off_policy: bool = False
    """Whether target and behaviour policy differ."""
    wrong_critic: bool = False
    gamma: float = 1.0

    @cached_property
    def solver(self) -> Solver:
        """The game without a time limit."""
        return Solver(self._game(None))

    @cached_property
    def limited(self) -> Solver:
        """The game with its time limit, as episodes are collected."""
        return Solver(self._game(self.horizon))

    def _game(self, time_limit: int | None) -> Game:
        hill = diamond_hill
        return Game(hill.START, 2, hill.transitions, hill.number, time_limit)

    @property
    def horizon(self) -> int:
        """Maximum steps of an episode."""
        return 2 if self.truncated else diamond_hill.MAX_STEPS

    @property
    def behaviour(self) -> Tensor:
        """The policy that collects, [S, A]."""
        return tabular_policy(BEHAVIOUR)

    @property
    def policy(self) -> Tensor:
        """The target policy, whose gradient is estimated, [S, A]."""
        return tabular_policy(TARGET if self.off_policy else BEHAVIOUR)

    @cached_property
    def values(self) -> Tensor:
        """The critic's values, [S]: exact for the game without a time limit, or wrong."""
        if self.wrong_critic:
            return torch.tensor(WRONG_VALUES, dtype=torch.float64)
        return self.solver.values(self.policy, self.gamma)

    @property
    def env_id(self) -> str:
        """The id of the game."""
        return "distpg/DiamondHillTruncated-v0" if self.truncated else "distpg/DiamondHill-v0"

    def config(self, **estimator: Any) -> Config:
        """Return the configuration of an estimator on this game."""
        settings: dict[str, Any] = {
            "env_id": self.env_id,
            "env_kwargs": {"tabular": True},
            "hidden_sizes": (),
            "num_workers": 0,
            "num_slots": NUM_SLOTS,
            "num_envs": 1,
            "episodes_per_env": EPISODES_PER_ENV,
            "num_epochs": 1,
            "minibatch_size": None,
            "gamma": self.gamma,
            "device": "cpu",
        }
        return Config(**{**settings, **estimator})

    def learner(self, config: Config) -> Learner:
        """Return a learner with this scene's target policy and critic, in torch's default dtype."""
        learner = Learner(config, *self._specs)
        self._write(learner.policy.head, self.policy.log(), elsewhere=0)
        if learner.model.critic:
            values = self.values.unsqueeze(1)
            self._write(learner.model.critic["head"], values, elsewhere=VALUE_AFTER_END)
        learner.published = learner.snapshot()
        return learner

    @torch.no_grad()
    def _write(self, head: nn.Module, rows: Tensor, *, elsewhere: float) -> None:
        """Write rows [S, K] into the weight [K, 8] of a layer whose inputs are one-hot."""
        (weight,) = head.parameters()
        weight.fill_(elsewhere)
        weight[:, self.numbers] = rows.T.to(weight.dtype)

    @cached_property
    def numbers(self) -> Tensor:
        """The observation of each node, [S] int64."""
        return torch.tensor([int(number) for number in self.solver.observations()])

    @cached_property
    def _specs(self) -> tuple[ObsSpec, ActionSpec]:
        envs = make_vector_env(find_env(self.env_id, self.config().env_kwargs), num_envs=1)
        return envs.obs_spec, envs.action_spec

    def collect(self) -> Iterator[list[Rollout]]:
        """Yield batches that rollout workers collect with the behaviour policy, without end."""
        config = self.config(num_envs=NUM_ENVS)
        source = find_env(config.env_id, config.env_kwargs)
        workers = [RolloutWorker(config, source, slot) for slot in range(NUM_SLOTS)]
        weights = Scene(truncated=self.truncated).learner(config).weights()
        for iteration in count():
            rollouts = [worker.collect(weights, iteration).rollout for worker in workers]
            for env in range(NUM_ENVS):
                yield [rollout_of_env(rollout, env) for rollout in rollouts]

    def every_batch(self) -> tuple[list[Rollout], Tensor]:
        """Enumerate all batches of the behaviour policy, up to the order of their episodes.

        Returns:
            rollouts: K of them in float64, one episode per env.
            probabilities: [K].
        """
        episodes = self.limited.episodes(self.behaviour)
        rollouts: list[Rollout] = []
        probabilities: list[float] = []
        for chosen in combinations_with_replacement(range(len(episodes)), NUM_EPISODES):
            counts = [chosen.count(number) for number in set(chosen)]
            num_orders = factorial(NUM_EPISODES) / prod(factorial(count) for count in counts)
            batch = [episodes[number] for number in chosen]
            probabilities.append(num_orders * prod(float(e.probability) for e in batch))
            rollouts.append(rollout_of(batch, self.behaviour))
        return rollouts, torch.tensor(probabilities, dtype=torch.float64)


def rollout_of_env(rollout: Rollout, env: int) -> Rollout:
    """Return one env of a rollout, up to the end of its last episode."""
    rows, column = int(rollout.valid[:, env].nonzero()[0][-1]) + 1, slice(env, env + 1)
    names = ("actions", "logprobs", "rewards", "terminated", "truncated", "valid")
    steps = {name: getattr(rollout, name)[:rows, column] for name in names}
    obs = {name: leaf[: rows + 1, column] for name, leaf in rollout.obs.items()}
    return replace(rollout, obs=obs, state=rollout.state[column], **steps)


def rollout_of(episodes: Sequence[Episode], behaviour: Tensor) -> Rollout:
    """Return a float64 rollout with one episode per env, collected with a policy [S, A]."""
    rows, num_envs = max(len(episode.actions) for episode in episodes), len(episodes)
    arrays = {
        name: np.zeros((rows, num_envs), dtype)
        for name, dtype in (
            ("actions", np.int64),
            ("logprobs", np.float64),
            ("rewards", np.float64),
            ("terminated", bool),
            ("truncated", bool),
            ("valid", bool),
        )
    }
    obs = np.zeros((rows + 1, num_envs), np.int64)
    for env, episode in enumerate(episodes):
        length = len(episode.actions)
        obs[: length + 1, env] = episode.observations
        arrays["actions"][:length, env] = episode.actions
        arrays["logprobs"][:length, env] = behaviour[episode.nodes, episode.actions].log()
        arrays["rewards"][:length, env] = episode.rewards
        arrays["valid"][:length, env] = True
        arrays["truncated" if episode.truncated else "terminated"][length - 1, env] = True
    state = np.zeros((num_envs, 0), np.float32)
    return Rollout(obs={"obs": obs}, state=state, policy_version=0, slot=0, **arrays)
