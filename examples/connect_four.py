r"""PettingZoo's Connect Four for one player: the adapter plays the other side.

    pip install 'distpg[examples]'
    distpg train --env-id examples.connect_four:ConnectFour --run-dir runs/first
    distpg train --env-id examples.connect_four:ConnectFour --run-dir runs/second \
        --init-from runs/first --env-kwargs '{"opponent": "runs/first"}'

The first command learns against random moves, the second against what the first has learned, with
one move in five at random. Who begins is drawn. The agent sees the board as PettingZoo shows it to
the player whose turn it is, and the mask of the columns that are not full.
"""

from typing import Any

import gymnasium as gym
import numpy as np
from pettingzoo.classic import connect_four_v3  # pyright: ignore[reportMissingImports]

import distpg

Info = dict[str, Any]
RANDOM_MOVES = 0.2
"""How often an opponent that has a policy moves at random; without that all games are the same."""


class ConnectFour(gym.Env[Any, Any]):
    """Pays 1 for a game won, -1 for one lost and 0 for a draw."""

    def __init__(self, opponent: str | None = None) -> None:
        """Take the run directory of the opponent's policy; None for random moves."""
        self.game: Any = connect_four_v3.raw_env()
        self.me, self.other = self.game.possible_agents
        self.observation_space = self.game.observation_space(self.me)
        self.action_space = self.game.action_space(self.me)
        self.policy = distpg.load_policy(opponent) if opponent is not None else None

    def reset(self, *, seed: int | None = None, options: Info | None = None) -> tuple[Any, Info]:
        """Begin a game; the opponent may have the first move."""
        super().reset(seed=seed)
        self.game.reset()
        self.me, self.other = self.np_random.permutation(self.game.possible_agents)
        if self.game.agent_selection == self.other:
            self._opponent_moves()
        return self.game.observe(self.me), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, Info]:
        """Drop a piece into a column; the opponent answers."""
        self.game.step(int(action))
        if not self._is_over():
            self._opponent_moves()
        return self.game.observe(self.me), self.game.rewards[self.me], self._is_over(), False, {}

    def _is_over(self) -> bool:
        return any(self.game.terminations.values())

    def _opponent_moves(self) -> None:
        seen = self.game.observe(self.other)
        if self.policy is None or self.np_random.random() < RANDOM_MOVES:
            move = self.np_random.choice(np.flatnonzero(seen["action_mask"]))
        else:
            move = self.policy.act(seen)
        self.game.step(int(move))
