"""Tabular Q-learning on DiamondHill: another way to the optimum, by values and without a policy.

    python examples/q_learning.py

A policy gradient learns from what its own policy earns. Q-learning takes the best action of the
next state for granted instead, r + gamma max Q, so it learns the optimal values from whatever it
does. The exact solver knows them, too: the script ends by comparing.
"""

import gymnasium as gym
import numpy as np

from distpg.envs import diamond_hill
from distpg.proof.solver import Game, Solver

GAMMA = 1.0
EPSILON = 0.3
"""How often an action is drawn at random."""
NUM_EPISODES = 20_000
NODES = {5: "start", 2: "slope", 4: "hilltop"}
"""Where an action is chosen, by the number that is observed: 2 * position + diamond present.

The number says how many steps were taken, too: no node comes at two different times.
"""


def learn(num_episodes: int = NUM_EPISODES, seed: int = 0) -> np.ndarray:
    """Play with Q-learning; return Q, [number observed, action]."""
    env = gym.make("distpg/DiamondHill-v0", tabular=True)
    draw = np.random.default_rng(seed)
    q = np.zeros((8, 2))
    visits = np.zeros((8, 2), np.int64)
    for episode in range(num_episodes):
        obs, _ = env.reset(seed=seed if episode == 0 else None)
        over = False
        while not over:
            greedy = q[obs].argmax()
            action = draw.integers(2) if draw.random() < EPSILON else greedy
            next_obs, reward, terminated, truncated, _ = env.step(action)
            target = reward if terminated else reward + GAMMA * q[next_obs].max()
            visits[obs, action] += 1
            alpha = 1 / visits[obs, action]
            q[obs, action] = (1 - alpha) * q[obs, action] + alpha * target
            obs, over = next_obs, terminated or truncated
    return q


def exact() -> np.ndarray:
    """Return the exact Q*, in the rows that an action is chosen in; 0 in the others."""
    game = Game(diamond_hill.START, 2, diamond_hill.transitions, diamond_hill.observe)
    solver = Solver(game)
    q = np.zeros((8, 2))
    numbers = [int(diamond_hill.number(node)) for node in solver.nodes]
    q[numbers] = solver.optimal_action_values(GAMMA).numpy()
    return q


def main() -> None:
    """Learn, and compare with what is true."""
    learned, true = learn(), exact()
    print("            Q learned            Q* exact")
    print("           left   right        left   right")
    for number, name in NODES.items():
        row = (*learned[number], *true[number])
        print("{:8}{:7.2f} {:7.2f}     {:7.2f} {:7.2f}".format(name, *row))
    print(f"largest difference {np.abs(learned - true).max():.3f}")


if __name__ == "__main__":
    main()
