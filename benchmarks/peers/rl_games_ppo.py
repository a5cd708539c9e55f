"""rl_games' PPO, trained once; prints its figures as a line of JSON.

.venv-peers/torch/bin/python -m benchmarks.peers.rl_games_ppo --env HalfCheetah-v5 --normalize

For continuous actions alone, and without a goal. It normalizes observations; gymnasium normalizes
rewards.
"""

import argparse
import contextlib
import io
import tempfile
from typing import Any

import numpy as np
import torch
from rl_games.algos_torch.a2c_continuous import A2CAgent
from rl_games.common import env_configurations, vecenv
from rl_games.torch_runner import Runner
from torch import Tensor

from benchmarks.iterations import Iterations
from benchmarks.peers import work
from benchmarks.peers.envs import make_vector_env
from benchmarks.peers.optimizer_steps import OptimizerSteps

NEVER = 10**9
NAME = "race"


class Envs(vecenv.IVecEnv):
    """Vector env of gymnasium, as rl_games steps it."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.seed_ = options.seed
        self.envs = make_vector_env(options)
        self.space = self.envs.single_action_space

    def reset(self) -> Tensor:
        """Begin episodes."""
        return torch.from_numpy(self.envs.reset(seed=self.seed_)[0]).float()

    def step(self, actions: Tensor) -> tuple[Tensor, Tensor, Tensor, dict[str, Tensor]]:
        """Step the envs; return observations, rewards, dones and time limits."""
        clipped = np.clip(actions.numpy(), self.space.low, self.space.high)
        obs, rewards, terminated, truncated, _ = self.envs.step(clipped)
        return (
            torch.from_numpy(obs).float(),
            torch.from_numpy(rewards).float(),
            torch.from_numpy(terminated | truncated),
            {"time_outs": torch.from_numpy(truncated)},
        )

    def get_number_of_agents(self) -> int:
        """Return the agents of an env."""
        return 1

    def get_env_info(self) -> dict[str, Any]:
        """Return the spaces."""
        return {
            "action_space": self.space,
            "observation_space": self.envs.single_observation_space,
        }


class TimedAgent(A2CAgent):
    """PPO whose epochs, an update each, are timed."""

    iterations: Iterations | None = None
    optimizer_steps: OptimizerSteps

    def train_epoch(self) -> Any:
        """Collect and learn once."""
        if TimedAgent.iterations is None:
            TimedAgent.optimizer_steps = OptimizerSteps()
            TimedAgent.iterations = Iterations.begin()
        done = super().train_epoch()
        env_steps = (len(TimedAgent.iterations.ends) + 1) * self.batch_size
        TimedAgent.iterations.end(env_steps, TimedAgent.optimizer_steps.count)
        return done


def configure(options: argparse.Namespace, folder: str) -> dict[str, Any]:
    """Say what to train: actor and critic apart, two hidden layers of 64 tanh units each."""
    default = {"name": "default"}
    gaussian = {
        "mu_activation": "None",
        "sigma_activation": "None",
        "mu_init": default,
        "sigma_init": {"name": "const_initializer", "val": 0},
        "fixed_sigma": True,
    }
    layers = {"units": [64, 64], "activation": "tanh", "d2rl": False, "initializer": default}
    network = {
        "name": "actor_critic",
        "separate": True,
        "space": {"continuous": gaussian},
        "mlp": layers,
    }
    settings = {
        "name": NAME,
        "env_name": NAME,
        "train_dir": folder,
        "device": "cpu",
        "device_name": "cpu",
        "ppo": True,
        "mixed_precision": False,
        "normalize_input": options.normalize,
        "normalize_value": False,
        "normalize_advantage": True,
        "value_bootstrap": True,
        "num_actors": options.n_envs,
        "reward_shaper": {"scale_value": 1.0},
        "gamma": options.gamma,
        "tau": options.lam,
        "learning_rate": options.lr,
        "lr_schedule": "identity",
        "grad_norm": 0.5,
        "truncate_grads": True,
        "e_clip": 0.2,
        "clip_value": False,
        "critic_coef": 1.0,
        "entropy_coef": 0.0,
        "bounds_loss_coef": 0.0,
        "horizon_length": options.n_steps,
        "minibatch_size": options.minibatch,
        "mini_epochs": options.epochs,
        "max_epochs": options.steps // (options.n_steps * options.n_envs),
        "score_to_win": NEVER,
        "save_best_after": NEVER,
        "save_frequency": 0,
        "print_stats": False,
        "use_diagnostics": False,
    }
    return {
        "params": {
            "seed": options.seed,
            # 0: torch's own choice; its default is the cores, which set_num_threads cannot change
            "torch_threads": options.threads or 0,
            "algo": {"name": "a2c_continuous"},
            "model": {"name": "continuous_a2c_logstd"},
            "network": network,
            "config": settings,
        }
    }


def main() -> None:
    """Train once."""
    options = work.parser(__doc__).parse_args()
    vecenv.register(NAME, lambda *_, **__: Envs(options))
    env_configurations.register(NAME, {"vecenv_type": NAME, "env_creator": lambda **_: None})
    # it prints much, and saves its network in the end
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        runner = Runner()
        runner.algo_factory.register_builder("a2c_continuous", TimedAgent)
        runner.load(configure(options, folder))
        runner.run({"train": True, "play": False})
    TimedAgent.iterations.report("rl_games", solved=False, final_return=None)


if __name__ == "__main__":
    main()
