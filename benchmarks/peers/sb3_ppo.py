"""Stable-Baselines3's PPO, trained once; prints its figures as a line of JSON.

.venv-peers/rllib/bin/python -m benchmarks.peers.sb3_ppo --env HalfCheetah-v5 --normalize
"""

import argparse
from typing import Protocol

import numpy as np
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_atari_env, make_vec_env
from stable_baselines3.common.vec_env import (
    DummyVecEnv,
    SubprocVecEnv,
    VecEnv,
    VecFrameStack,
    VecNormalize,
)

from benchmarks.iterations import Iterations
from benchmarks.peers import work
from benchmarks.peers.optimizer_steps import OptimizerSteps


class Counter(Protocol):
    """Counts optimizer steps."""

    count: int


class Watch(BaseCallback):
    """Notes when iterations end, and ends a run that is solved."""

    def __init__(self, goal: float | None, optimizer_steps: Counter) -> None:
        super().__init__()
        self.goal = goal
        self.solved = False
        self.iterations: Iterations | None = None
        self.optimizer_steps = optimizer_steps

    def mean_return(self) -> float | None:
        """Return the mean over the last episodes, or None before the first."""
        scores = [episode["r"] for episode in self.model.ep_info_buffer]
        return float(np.mean(scores)) if scores else None

    def _on_rollout_start(self) -> None:
        if self.iterations is None:
            self.iterations = Iterations.begin()
        else:
            self._end_iteration()

    def _on_training_end(self) -> None:
        if not self.solved:
            self._end_iteration()

    def _end_iteration(self) -> None:
        self.iterations.end(self.num_timesteps, self.optimizer_steps.count)
        full = len(self.model.ep_info_buffer) == work.WINDOW
        self.solved = self.goal is not None and full and self.mean_return() >= self.goal

    def _on_step(self) -> bool:
        return not self.solved


def make_env(options: argparse.Namespace) -> VecEnv:
    """Make the vector env."""
    backend = SubprocVecEnv if options.subproc else DummyVecEnv
    settings = {"n_envs": options.n_envs, "seed": options.seed, "vec_env_cls": backend}
    if options.atari:
        # here, so that the other tasks start without it
        import ale_py
        import gymnasium

        gymnasium.register_envs(ale_py)
        return VecFrameStack(make_atari_env(options.env, **settings), 4)
    envs = make_vec_env(options.env, **settings)
    return VecNormalize(envs, gamma=options.gamma) if options.normalize else envs


def main() -> None:
    """Train once."""
    parser = work.parser(__doc__)
    parser.add_argument("--atari", action="store_true", help="preprocess, and stack 4 frames")
    parser.add_argument("--subproc", action="store_true", help="a process for each env")
    parser.add_argument("--clip", type=float, default=0.2)
    parser.add_argument("--ent", type=float, default=0.0)
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    model = PPO(
        "CnnPolicy" if options.atari else "MlpPolicy",
        make_env(options),
        n_steps=options.n_steps,
        batch_size=options.minibatch,
        n_epochs=options.epochs,
        learning_rate=options.lr,
        gamma=options.gamma,
        gae_lambda=options.lam,
        clip_range=options.clip,
        ent_coef=options.ent,
        seed=options.seed,
        device="cpu",
    )
    watch = Watch(options.solve, OptimizerSteps())
    model.learn(options.steps, callback=watch)
    watch.iterations.report("sb3", solved=watch.solved, final_return=watch.mean_return())


if __name__ == "__main__":
    main()
