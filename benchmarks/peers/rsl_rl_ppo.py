"""rsl-rl's PPO, trained once; prints its figures as a line of JSON.

.venv-peers/torch/bin/python -m benchmarks.peers.rsl_rl_ppo --env HalfCheetah-v5 --normalize

For continuous actions alone, and without a goal. It normalizes observations; gymnasium normalizes
rewards.
"""

import argparse
import contextlib
import io
from typing import Any

import numpy as np
import torch
from rsl_rl.env import VecEnv
from rsl_rl.runners import OnPolicyRunner
from tensordict import TensorDict
from torch import Tensor

from benchmarks.iterations import Iterations
from benchmarks.peers import work
from benchmarks.peers.envs import make_vector_env
from benchmarks.peers.optimizer_steps import OptimizerSteps

NEVER = 10**9


class Envs(VecEnv):
    """Vector env of gymnasium, as rsl-rl steps it."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.envs = make_vector_env(options)
        self.space = self.envs.single_action_space
        self.num_envs = options.n_envs
        self.num_actions = self.space.shape[0]
        self.max_episode_length = NEVER
        self.device = "cpu"
        self.cfg: dict[str, Any] = {}
        self.episode_length_buf = torch.zeros(self.num_envs, dtype=torch.long)
        self.obs = self.group(self.envs.reset(seed=options.seed)[0])

    def group(self, obs: np.ndarray) -> TensorDict:
        """Return observations [N, ...] under the name that the networks read."""
        return TensorDict({"policy": torch.from_numpy(obs).float()}, batch_size=[self.num_envs])

    def get_observations(self) -> TensorDict:
        """Return the latest observations."""
        return self.obs

    def step(self, actions: Tensor) -> tuple[TensorDict, Tensor, Tensor, dict[str, Any]]:
        """Step the envs; return observations, rewards, dones and time limits."""
        clipped = np.clip(actions.numpy(), self.space.low, self.space.high)
        obs, rewards, terminated, truncated, _ = self.envs.step(clipped)
        self.obs = self.group(obs)
        dones = torch.from_numpy(terminated | truncated)
        self.episode_length_buf = (self.episode_length_buf + 1) * ~dones
        extras = {"time_outs": torch.from_numpy(truncated), "log": {}}
        return self.obs, torch.from_numpy(rewards).float(), dones.long(), extras


def configure(options: argparse.Namespace) -> dict[str, Any]:
    """Say what to train: actor and critic apart, two hidden layers of 64 tanh units each."""
    network = {
        "class_name": "MLPModel",
        "hidden_dims": [64, 64],
        "activation": "tanh",
        "obs_normalization": options.normalize,
    }
    gaussian = {"class_name": "GaussianDistribution", "init_std": 1.0, "std_type": "log"}
    return {
        "num_steps_per_env": options.n_steps,
        "save_interval": NEVER,
        "check_for_nan": False,
        "multi_gpu": None,
        "logger": "tensorboard",
        "obs_groups": {"actor": ["policy"], "critic": ["policy"]},
        "actor": {**network, "distribution_cfg": gaussian},
        "critic": dict(network),
        "algorithm": {
            "class_name": "PPO",
            "num_learning_epochs": options.epochs,
            "num_mini_batches": options.n_steps * options.n_envs // options.minibatch,
            "learning_rate": options.lr,
            "schedule": "fixed",
            "desired_kl": None,
            "gamma": options.gamma,
            "lam": options.lam,
            "clip_param": 0.2,
            "value_loss_coef": 0.5,
            "use_clipped_value_loss": False,
            "entropy_coef": 0.0,
            "max_grad_norm": 0.5,
            "normalize_advantage_per_mini_batch": True,
            "rnd_cfg": None,
            "symmetry_cfg": None,
        },
    }


def main() -> None:
    """Train once."""
    options = work.parser(__doc__).parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    # it prints its networks
    with contextlib.redirect_stdout(io.StringIO()):
        runner = OnPolicyRunner(Envs(options), configure(options), log_dir=None, device="cpu")
    batch = options.n_steps * options.n_envs
    optimizer_steps = OptimizerSteps()
    iterations = Iterations.begin()

    def end_iteration(*, it: int, **_: Any) -> None:
        iterations.end((it + 1) * batch, optimizer_steps.count)

    runner.logger.log = end_iteration
    runner.learn(options.steps // batch)
    iterations.report("rsl-rl", solved=False, final_return=None)


if __name__ == "__main__":
    main()
