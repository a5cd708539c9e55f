"""REINFORCE on CartPole-v1 as a single file does it; prints its figures as a line of JSON.

    .venv-peers/rllib/bin/python -m benchmarks.peers.reinforce

One process, one env, one episode an update, in the manner of PyTorch's examples: 128 hidden units
with dropout, Adam, returns normalized within the episode. It stops when the running return, an
exponential average, passes the goal.
"""

import argparse
from collections import deque

import gymnasium
import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import Categorical

from benchmarks.iterations import Iterations

GAMMA = 0.99
FACTOR = 0.05
"""Weight of an episode in the running return."""
FIRST_AVERAGE = 10.0
"""What the running return starts from."""


def play(env: gymnasium.Env, policy: nn.Module, seed: int | None) -> tuple[list[Tensor], list]:
    """Play an episode; return log pi of its actions, and its rewards."""
    log_probs: list[Tensor] = []
    rewards: list[float] = []
    obs, _ = env.reset(seed=seed)
    done = False
    while not done:
        choice = Categorical(logits=policy(torch.from_numpy(obs).unsqueeze(0)))
        action = choice.sample()
        log_probs.append(choice.log_prob(action))
        obs, reward, terminated, truncated, _ = env.step(action.item())
        rewards.append(float(reward))
        done = terminated or truncated
    return log_probs, rewards


def credit(rewards: list[float]) -> Tensor:
    """Return the discounted rewards to go, normalized."""
    returns = torch.empty(len(rewards))
    following = 0.0
    for step in reversed(range(len(rewards))):
        following = rewards[step] + GAMMA * following
        returns[step] = following
    return (returns - returns.mean()) / (returns.std() + np.finfo(np.float32).eps)


def main() -> None:
    """Train once."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--solve", type=float, default=475.0, help="running return to stop at")
    parser.add_argument("--steps", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    env = gymnasium.make("CartPole-v1")
    policy = nn.Sequential(nn.Linear(4, 128), nn.Dropout(0.6), nn.ReLU(), nn.Linear(128, 2))
    optimizer = torch.optim.Adam(policy.parameters(), lr=1e-2)
    scores: deque[float] = deque(maxlen=100)
    iterations = Iterations.begin()
    average, env_steps, episodes = FIRST_AVERAGE, 0, 0
    while average <= options.solve and env_steps < options.steps:
        log_probs, rewards = play(env, policy, None if episodes else options.seed)
        loss = -(torch.cat(log_probs) * credit(rewards)).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        episodes += 1
        env_steps += len(rewards)
        scores.append(sum(rewards))
        average += FACTOR * (scores[-1] - average)
        iterations.end(env_steps, episodes)
    solved = average > options.solve
    iterations.report("reinforce", solved=solved, final_return=float(np.mean(scores)))


if __name__ == "__main__":
    main()
