r"""A PettingZoo game of many agents with one policy, which all of them share.

    pip install 'distpg[examples]'
    distpg train --env-id examples.pursuit:Pursuit-v0 --num-envs 16 --gamma 0.95 \
        --env-kwargs '{"n_evaders": 10}'

The agents of a parallel environment become the copies of one vectorized environment: eight hunters
of Pursuit are eight rows of the batch, so `--num-envs 16` plays two games in each slot. Each agent
acts on what it sees itself, and is paid for itself; the policy learns from all of them.

That needs agents with the same spaces, which all end together, as those of Pursuit, Cooperative
Pong and Simple Spread do. For games in turns see connect_four.py.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space
from pettingzoo.sisl import pursuit_v5  # pyright: ignore[reportMissingImports]

ByAgent = Mapping[str, Any]


class SharedPolicy(gym.vector.VectorEnv[Any, Any, Any]):
    """Games side by side; their agents, game after game, are its copies."""

    metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP}  # noqa: RUF012

    def __init__(self, num_envs: int, **kwargs: Any) -> None:
        """Make as many games as have `num_envs` agents; the last may have more."""
        self.num_envs = num_envs
        games: list[Any] = [pursuit_v5.parallel_env(**kwargs)]
        self.agents: list[str] = games[0].possible_agents
        while len(games) < math.ceil(num_envs / len(self.agents)):
            games.append(pursuit_v5.parallel_env(**kwargs))
        self.games = games
        self.single_observation_space = games[0].observation_space(self.agents[0])
        self.single_action_space = games[0].action_space(self.agents[0])
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)

    def reset(self, *, seed: Any = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        """Begin all games."""
        super().reset(seed=seed)
        return self._rows([self._begin(game) for game in self.games]), {}

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Play a step of every game; begin those again that ended in the last one.

        Agents of the last game beyond `num_envs` copy the actions of others.
        """
        shape = len(self.games), len(self.agents), *np.shape(actions)[1:]
        played = [
            self._play(game, dict(zip(self.agents, chosen, strict=True)))
            for game, chosen in zip(self.games, np.resize(actions, shape), strict=True)
        ]
        obs, rewards, terminated, truncated = (self._rows(x) for x in zip(*played, strict=True))
        return obs, rewards, terminated, truncated, {}

    def close_extras(self, **kwargs: Any) -> None:
        """Close the games."""
        for game in self.games:
            game.close()

    def _begin(self, game: Any) -> ByAgent:
        obs, _ = game.reset(seed=int(self.np_random.integers(2**31)))
        return obs

    def _play(self, game: Any, actions: ByAgent) -> tuple[ByAgent, ByAgent, ByAgent, ByAgent]:
        if not game.agents:
            going_on = dict.fromkeys(self.agents, False)
            return self._begin(game), dict.fromkeys(self.agents, 0.0), going_on, going_on
        obs, rewards, terminated, truncated, _ = game.step(actions)
        return obs, rewards, terminated, truncated

    def _rows(self, games: Sequence[ByAgent]) -> np.ndarray:
        return np.stack([game[agent] for game in games for agent in self.agents][: self.num_envs])


gym.register("Pursuit-v0", vector_entry_point=SharedPolicy)
