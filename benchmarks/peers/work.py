"""The work that a peer is given, as flags, and the mean return that says when it is done."""

import argparse
from collections import deque
from collections.abc import Iterable

import numpy as np

WINDOW = 100
"""Episodes that the mean return is taken over."""


def parser(description: str | None) -> argparse.ArgumentParser:
    """Return a parser of what all PPOs are told."""
    flags = argparse.ArgumentParser(description=description)
    flags.add_argument("--env", default="CartPole-v1")
    flags.add_argument("--normalize", action="store_true", help="observations and rewards")
    flags.add_argument("--solve", type=float, help="mean return at which to stop")
    flags.add_argument("--steps", type=int, default=300_000, help="env steps at which to stop")
    flags.add_argument("--n-envs", type=int, default=8)
    flags.add_argument("--n-steps", type=int, default=256, help="of each env, for an update")
    flags.add_argument("--minibatch", type=int, default=64)
    flags.add_argument("--epochs", type=int, default=10)
    flags.add_argument("--lr", type=float, default=3e-4)
    flags.add_argument("--gamma", type=float, default=0.99)
    flags.add_argument("--lam", type=float, default=0.95)
    flags.add_argument("--threads", type=int, help="of the library; default: its own choice")
    flags.add_argument("--seed", type=int, default=0)
    return flags


class Episodes:
    """Returns of the last episodes."""

    def __init__(self, goal: float | None) -> None:
        self.goal = goal
        self.scores: deque[float] = deque(maxlen=WINDOW)
        self.running: np.ndarray | float = 0.0

    def add(self, scores: Iterable[float]) -> None:
        """Take the returns of episodes that ended."""
        self.scores.extend(float(score) for score in scores)

    def pay(self, rewards: np.ndarray, dones: np.ndarray) -> None:
        """Take the rewards [N] of a step of N envs, and whether it ended their episodes."""
        self.running = self.running + rewards
        self.add(self.running[dones])
        self.running[dones] = 0.0

    def mean(self) -> float | None:
        """Return the mean over the last episodes, or None before the first."""
        return sum(self.scores) / len(self.scores) if self.scores else None

    def solved(self) -> bool:
        """Tell whether the mean over a full window reaches the goal."""
        return self.goal is not None and len(self.scores) == WINDOW and self.mean() >= self.goal
