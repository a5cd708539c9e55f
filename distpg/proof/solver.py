"""Solve a small game exactly: values, optimal values, all episodes, and the policy gradient.

For any environment whose transitions can be listed and whose episodes end. All results are float64,
by enumeration; nothing is sampled. S decision nodes, A actions. A policy is a table of
probabilities [S, A]. Results are differentiable in it, so autograd gives their gradient with
respect to its logits, or to the parameters of a network that computed them.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor


class Transition(Protocol):
    """A possible outcome of a step."""

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
    """An environment with listed transitions; no node occurs twice in an episode."""

    start: Hashable
    num_actions: int
    transitions: Callable[[Any, int], Sequence[Transition]]
    """From (node, action) to all outcomes of the step; their probabilities sum to 1."""
    observe: Callable[[Any], Any]
    time_limit: int | None = None
    """Steps after which an episode is truncated."""


@dataclass(frozen=True)
class Episode:
    """A possible episode of T steps."""

    probability: Tensor
    """Under the policy; differentiable."""
    nodes: list[int]
    """[T] index of the node of each action."""
    actions: list[int]
    rewards: list[float]
    truncated: bool
    """Whether the time limit ended it."""
    observations: list[Any]
    """[T+1], the one after the last step included."""


class Solver:
    """Enumerates a game; its decision nodes are numbered from the start."""

    def __init__(self, game: Game) -> None:
        """Find every node that an episode without a time limit can reach."""
        self.game = game
        self.nodes: list[Any] = []
        self._discover(game.start)
        self.index = {node: number for number, node in enumerate(self.nodes)}

    def _discover(self, node: Hashable) -> None:
        if node in self.nodes:
            return
        self.nodes.append(node)
        for action in range(self.game.num_actions):
            for transition in self.game.transitions(node, action):
                if not transition.terminated:
                    self._discover(transition.successor)

    def observations(self) -> np.ndarray:
        """Return the observation of each node, [S, *O]."""
        return np.stack([self.game.observe(node) for node in self.nodes])

    def action_values(self, values: Tensor, gamma: float = 1.0) -> Tensor:
        """Return Q [S, A] = E[r + gamma V(successor)] for V [S]."""
        rows: list[Tensor] = []
        for node in self.nodes:
            for action in range(self.game.num_actions):
                q = values.new_zeros(())
                for t in self.game.transitions(node, action):
                    next_value = 0.0 if t.terminated else values[self.index[t.successor]]
                    q = q + t.probability * (t.reward + gamma * next_value)
                rows.append(q)
        return torch.stack(rows).view(len(self.nodes), self.game.num_actions)

    def values(self, policy: Tensor, gamma: float = 1.0) -> Tensor:
        """Return V [S] of a policy [S, A], without the time limit."""
        values = policy.new_zeros(len(self.nodes))
        # exact after S sweeps, since no node occurs twice in an episode
        for _ in self.nodes:
            values = (policy * self.action_values(values, gamma)).sum(1)
        return values

    def optimal_action_values(self, gamma: float = 1.0) -> Tensor:
        """Return Q* [S, A], without the time limit."""
        values = torch.zeros(len(self.nodes), dtype=torch.float64)
        for _ in self.nodes:
            values = self.action_values(values, gamma).amax(1)
        return self.action_values(values, gamma)

    def episodes(self, policy: Tensor) -> list[Episode]:
        """Return all possible episodes of a policy [S, A], with the time limit."""
        complete: list[Episode] = []

        def extend(episode: Episode, node: Any) -> None:
            number = self.index[node]
            for action in range(self.game.num_actions):
                for t in self.game.transitions(node, action):
                    num_steps = len(episode.actions) + 1
                    longer = Episode(
                        episode.probability * policy[number, action] * t.probability,
                        [*episode.nodes, number],
                        [*episode.actions, action],
                        [*episode.rewards, t.reward],
                        num_steps == self.game.time_limit and not t.terminated,
                        [*episode.observations, self.game.observe(t.successor)],
                    )
                    if t.terminated or longer.truncated:
                        complete.append(longer)
                    else:
                        extend(longer, t.successor)

        first_obs = self.game.observe(self.game.start)
        extend(Episode(policy.new_ones(()), [], [], [], False, [first_obs]), self.game.start)
        return complete

    def expected_return(self, policy: Tensor, gamma: float = 1.0) -> Tensor:
        """Return the expected discounted return of an episode, with the time limit."""
        episodes = self.episodes(policy)
        returns = [sum(gamma**t * r for t, r in enumerate(e.rewards)) for e in episodes]
        return torch.stack(
            [e.probability * g for e, g in zip(episodes, returns, strict=True)]
        ).sum()

    def gradient(self, logits: Tensor, gamma: float = 1.0) -> Tensor:
        """Return the gradient of the expected return in the logits [S, A] of a tabular softmax."""
        leaf = logits.detach().double().requires_grad_()
        (gradient,) = torch.autograd.grad(self.expected_return(leaf.softmax(1), gamma), leaf)
        return gradient
