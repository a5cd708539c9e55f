"""DiamondHill: a game of four positions, small enough to be solved exactly by enumeration.

    fire 0   slope 1   hilltop 2   flag 3         start: on the hilltop, the diamond on the slope

Right from the hilltop reaches the flag: +10 and the end. Left reaches the slope and takes the
diamond if it is there: +3. From the slope, left falls into the fire: -10 and the end; right climbs
back with probability 0.9 and slips into the fire with probability 0.1. The third step always ends
the episode, so going left from the hilltop ends it on the slope with reward 0.

Always going right returns 10. The optimum is left, right, right: 3 + 0.9 * 10 - 0.1 * 10 = 11.
"""

from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from gymnasium import spaces

LEFT, RIGHT = 0, 1
FIRE, SLOPE, HILLTOP, FLAG = range(4)
MAX_STEPS = 3


class Node(NamedTuple):
    """A state of the game."""

    position: int
    diamond: int
    """1 while the diamond is on the slope."""
    elapsed: int
    """Steps since the start of the episode."""


class Transition(NamedTuple):
    """A possible outcome of a step."""

    probability: float
    successor: Node
    reward: float
    terminated: bool


START = Node(HILLTOP, 1, 0)


def transitions(node: Node, action: int) -> list[Transition]:
    """Return all possible outcomes of an action in a node; their probabilities sum to 1."""
    elapsed = node.elapsed + 1
    last = elapsed == MAX_STEPS
    if node.position == HILLTOP and action == RIGHT:
        return [Transition(1.0, Node(FLAG, node.diamond, elapsed), 10.0, True)]
    if node.position == HILLTOP:
        return [Transition(1.0, Node(SLOPE, 0, elapsed), 3.0 * node.diamond, last)]
    fall = Transition(1.0, Node(FIRE, node.diamond, elapsed), -10.0, True)
    if action == LEFT:
        return [fall]
    climb = Transition(0.9, Node(HILLTOP, node.diamond, elapsed), 0.0, last)
    return [climb, fall._replace(probability=0.1)]


def observe(node: Node) -> np.ndarray:
    """Return the observation [position, diamond present]."""
    return np.array([node.position, node.diamond], np.float32)


def number(node: Node) -> np.int64:
    """Return the tabular observation, from 0 to 7: 2 * position + diamond present."""
    return np.int64(2 * node.position + node.diamond)


class DiamondHill(gym.Env[Any, np.int64]):
    """The game as a gymnasium environment; observes [position, diamond present].

    With `tabular=True` it observes 2 * position + diamond present as a Discrete(8), so that a
    policy without hidden layers is tabular.
    """

    action_space = spaces.Discrete(2)

    def __init__(self, *, tabular: bool = False) -> None:
        """Set the observation space."""
        self.tabular = tabular
        self.observation_space = (
            spaces.Discrete(8) if tabular else spaces.Box(0, 3, (2,), np.float32)
        )

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Start on the hilltop."""
        super().reset(seed=seed)
        self.node = START
        return self._observe(), {}

    def step(self, action: np.int64) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Go left or right."""
        outcomes = transitions(self.node, int(action))
        draw = self.np_random.random() if len(outcomes) > 1 else 0.0
        outcome = outcomes[0] if draw < outcomes[0].probability else outcomes[1]
        self.node = outcome.successor
        return self._observe(), outcome.reward, outcome.terminated, False, {}

    def _observe(self) -> Any:
        return number(self.node) if self.tabular else observe(self.node)

    def get_state(self) -> dict[str, Any]:
        """Return the state of the game."""
        return {"node": np.array(self.node)}

    def set_state(self, state: dict[str, Any]) -> None:
        """Restore the state of the game."""
        self.node = Node(*(int(value) for value in state["node"]))
