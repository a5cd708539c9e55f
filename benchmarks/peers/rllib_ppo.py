"""RLlib's PPO, trained once; prints its figures as a line of JSON.

    .venv-peers/bin/python -m benchmarks.peers.rllib_ppo --env HalfCheetah-v5

What has no flag is RLlib's default. It is spared the normalizing of observations and rewards.
"""

import argparse
import logging
from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np
import ray
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig

from benchmarks.iterations import Iterations
from benchmarks.peers.optimizer_steps import OptimizerSteps

WINDOW = 100
"""Episodes that the mean return is taken over."""
RETURNS = "returns"


def log_return(
    *, episode: Any, metrics_logger: Any, prev_episode_chunks: Sequence[Any] = (), **_: Any
) -> None:
    """Hand an episode's return to the driver: RLlib's own mean is over fewer than WINDOW."""
    score = sum(float(chunk.get_return()) for chunk in (*prev_episode_chunks, episode))
    metrics_logger.log_value(RETURNS, score, reduce="item_series")


def configure(options: argparse.Namespace) -> PPOConfig:
    """Say what to train: actor and critic apart, two hidden layers of 64 tanh units each."""
    network = DefaultModelConfig(
        fcnet_hiddens=[64, 64], fcnet_activation="tanh", vf_share_layers=False
    )
    return (
        PPOConfig()
        .environment(options.env)
        .env_runners(num_env_runners=options.workers, num_envs_per_env_runner=options.n_envs)
        .learners(num_learners=0)
        .callbacks(on_episode_end=log_return)
        .debugging(seed=options.seed, log_level="ERROR")
        .training(
            train_batch_size_per_learner=options.batch,
            minibatch_size=options.minibatch,
            num_epochs=options.epochs,
            lr=options.lr,
            gamma=options.gamma,
            lambda_=options.lam,
        )
        .rl_module(model_config=network)
    )


def main() -> None:
    """Train once."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--env", default="CartPole-v1")
    parser.add_argument("--solve", type=float, help="mean return at which to stop")
    parser.add_argument("--steps", type=int, default=300_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--n-envs", type=int, default=4, help="envs of each worker")
    parser.add_argument("--batch", type=int, default=2048)
    parser.add_argument("--minibatch", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--lr", type=float, default=3e-4)
    parser.add_argument("--gamma", type=float, default=0.99)
    parser.add_argument("--lam", type=float, default=0.95)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    ray.init(
        address="local",
        num_cpus=options.workers + 1,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
    )
    algorithm = configure(options).build_algo()
    optimizer_steps = OptimizerSteps()
    iterations = Iterations.begin()
    scores: deque[float] = deque(maxlen=WINDOW)
    env_steps, mean, solved = 0, None, False
    while env_steps < options.steps and not solved:
        played = algorithm.train()["env_runners"]
        env_steps = int(played["num_env_steps_sampled_lifetime"])
        # a series of one comes as a number
        scores.extend(float(score) for score in np.ravel(played.get(RETURNS, [])))
        mean = sum(scores) / len(scores) if scores else None
        iterations.end(env_steps, optimizer_steps.count)
        solved = options.solve is not None and len(scores) == WINDOW and mean >= options.solve
    iterations.report("rllib", solved=solved, final_return=mean)


if __name__ == "__main__":
    main()
