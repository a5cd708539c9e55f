"""Everything about a small game, exactly: values, optimal values, episodes, the policy's gradient.

For any environment whose transitions can be listed and whose episodes end. Float64 throughout, by
enumeration; nothing is sampled. S decision nodes, A actions. A policy is a table of probabilities
[S, A]; results are differentiable in it, so the gradient with respect to logits, or to a network's
parameters that the table was computed from, is one call of autograd.
"""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

Node = Hashable


class Way(Protocol):
    """One way in which a step may go."""

    @property
    def probability(self) -> float: ...  # noqa: D102
    @property
    def successor(self) -> Any: ...  # noqa: D102
    @property
    def reward(self) -> float: ...  # noqa: D102
    @property
    def terminated(self) -> bool: ...  # noqa: D102


@dataclass(frozen=True)
class Game:
    """An environment with listed transitions, whose nodes never come back within an episode."""

    start: Node
    num_actions: int
    transitions: Callable[[Any, int], list[Any]]
    """From (node, action) to the ways that a step may go; their probabilities sum to 1."""
    observe: Callable[[Any], Any]
    time_limit: int | None = None
    """Steps after which an episode is truncated."""


@dataclass(frozen=True)
class Episode:
    """One way in which an episode may go; T steps."""

    probability: Tensor
    """Under the policy; differentiable."""
    nodes: list[int]
    """[T] number of the node that each action was chosen in."""
    actions: list[int]
    rewards: list[float]
    truncated: bool
    """Whether it was cut, rather than ended."""
    observations: list[Any]
    """[T+1] of the nodes, the last one's included."""


class Solver:
    """The game's decision nodes, numbered from the start, and what is exact about them."""

    def __init__(self, game: Game) -> None:
        """Find every node that an episode without a time limit may reach."""
        self.game = game
        self.nodes: list[Any] = []
        self._discover(game.start)
        self.index = {node: number for number, node in enumerate(self.nodes)}

    def _discover(self, node: Node) -> None:
        if node in self.nodes:
            return
        self.nodes.append(node)
        for action in range(self.game.num_actions):
            for way in self.game.transitions(node, action):
                if not way.terminated:
                    self._discover(way.successor)

    def observations(self) -> np.ndarray:
        """Return the observation of each node, [S, *O]."""
        return np.stack([self.game.observe(node) for node in self.nodes])

    def action_values(self, values: Tensor, gamma: float = 1.0) -> Tensor:
        """Return Q [S, A] = E[r + gamma V(successor)] for V [S]."""
        rows: list[Tensor] = []
        for node in self.nodes:
            for action in range(self.game.num_actions):
                total = values.new_zeros(())
                for way in self.game.transitions(node, action):
                    ahead = 0.0 if way.terminated else values[self.index[way.successor]]
                    total = total + way.probability * (way.reward + gamma * ahead)
                rows.append(total)
        return torch.stack(rows).view(len(self.nodes), self.game.num_actions)

    def values(self, policy: Tensor, gamma: float = 1.0) -> Tensor:
        """Return V [S] of a policy [S, A], as if there were no time limit."""
        values = policy.new_zeros(len(self.nodes))
        for _ in self.nodes:
            values = (policy * self.action_values(values, gamma)).sum(1)
        return values

    def optimal_action_values(self, gamma: float = 1.0) -> Tensor:
        """Return Q* [S, A], as if there were no time limit."""
        values = torch.zeros(len(self.nodes), dtype=torch.float64)
        for _ in self.nodes:
            values = self.action_values(values, gamma).amax(1)
        return self.action_values(values, gamma)

    def episodes(self, policy: Tensor) -> list[Episode]:
        """List every episode that a policy [S, A] may play, within the time limit."""
        found: list[Episode] = []

        def play(node: Any, so_far: Episode) -> None:
            number = self.index[node]
            for action in range(self.game.num_actions):
                for way in self.game.transitions(node, action):
                    steps = len(so_far.actions) + 1
                    episode = Episode(
                        so_far.probability * policy[number, action] * way.probability,
                        [*so_far.nodes, number],
                        [*so_far.actions, action],
                        [*so_far.rewards, way.reward],
                        steps == self.game.time_limit and not way.terminated,
                        [*so_far.observations, self.game.observe(way.successor)],
                    )
                    if way.terminated or episode.truncated:
                        found.append(episode)
                    else:
                        play(way.successor, episode)

        first = self.game.observe(self.game.start)
        play(self.game.start, Episode(policy.new_ones(()), [], [], [], False, [first]))
        return found

    def expected_return(self, policy: Tensor, gamma: float = 1.0) -> Tensor:
        """Return the expected discounted sum of an episode's rewards, the time limit included."""
        episodes = self.episodes(policy)
        returns = [sum(gamma**t * r for t, r in enumerate(e.rewards)) for e in episodes]
        return torch.stack(
            [e.probability * g for e, g in zip(episodes, returns, strict=True)]
        ).sum()

    def gradient(self, logits: Tensor, gamma: float = 1.0) -> Tensor:
        """Return the gradient of the expected return in tabular softmax logits [S, A]."""
        leaf = logits.detach().double().requires_grad_()
        (gradient,) = torch.autograd.grad(self.expected_return(leaf.softmax(1), gamma), leaf)
        return gradient
