"""RLlib's PPO, trained once; prints its figures as a line of JSON.

    .venv-peers/rllib/bin/python -m benchmarks.peers.rllib_ppo --env HalfCheetah-v5

What has no flag is RLlib's default. It is spared the normalizing of observations and rewards, and
chooses its own threads.
"""

import argparse
import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import ray
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig

from benchmarks.iterations import Iterations
from benchmarks.peers import work
from benchmarks.peers.optimizer_steps import OptimizerSteps

RETURNS = "returns"


def log_return(
    *, episode: Any, metrics_logger: Any, prev_episode_chunks: Sequence[Any] = (), **_: Any
) -> None:
    """Hand an episode's return to the driver: RLlib's own mean is over fewer episodes."""
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
        .env_runners(
            num_env_runners=options.workers,
            num_envs_per_env_runner=options.n_envs // options.workers,
        )
        .learners(num_learners=0)
        .callbacks(on_episode_end=log_return)
        .debugging(seed=options.seed, log_level="ERROR")
        .training(
            train_batch_size_per_learner=options.n_envs * options.n_steps,
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
    parser = work.parser(__doc__)
    parser.add_argument("--workers", type=int, default=2, help="processes that share the envs")
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
    episodes = work.Episodes(options.solve)
    env_steps = 0
    while env_steps < options.steps and not episodes.solved():
        played = algorithm.train()["env_runners"]
        env_steps = int(played["num_env_steps_sampled_lifetime"])
        # a series of one comes as a number
        episodes.add(np.ravel(played.get(RETURNS, [])))
        iterations.end(env_steps, optimizer_steps.count)
    iterations.report("rllib", solved=episodes.solved(), final_return=episodes.mean())


if __name__ == "__main__":
    main()
