"""skrl's PPO, trained once; prints its figures as a line of JSON.

.venv-peers/torch/bin/python -m benchmarks.peers.skrl_ppo --env HalfCheetah-v5 --normalize

The loop is that of its SequentialTrainer, without the progress bar. It normalizes observations;
gymnasium normalizes rewards.
"""

import argparse
import logging
from typing import Any

import gymnasium
import torch
from skrl.agents.torch.ppo import PPO, PPO_CFG
from skrl.envs.wrappers.torch import Wrapper, wrap_env
from skrl.memories.torch import RandomMemory
from skrl.models.torch import CategoricalMixin, DeterministicMixin, GaussianMixin, Model
from skrl.resources.preprocessors.torch import RunningStandardScaler
from skrl.utils import set_seed
from torch import Tensor, nn

from benchmarks.iterations import Iterations
from benchmarks.peers import work
from benchmarks.peers.envs import make_vector_env
from benchmarks.peers.optimizer_steps import OptimizerSteps

Computed = tuple[Tensor, dict[str, Any]]


def network(env: Wrapper, outputs: int) -> nn.Sequential:
    """Make a network with two hidden layers."""
    first = nn.Linear(env.observation_space.shape[-1], 64)
    return nn.Sequential(first, nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, outputs))


def spaces(env: Wrapper) -> dict[str, Any]:
    """Return what every model and agent is told of the env."""
    return {
        "observation_space": env.observation_space,
        "action_space": env.action_space,
        "device": env.device,
    }


class Gaussian(GaussianMixin, Model):
    """The policy of continuous actions."""

    def __init__(self, env: Wrapper) -> None:
        Model.__init__(self, state_space=None, **spaces(env))
        GaussianMixin.__init__(self)
        n_actions = env.action_space.shape[-1]
        self.net = network(env, n_actions)
        self.log_std = nn.Parameter(torch.zeros(n_actions))

    def compute(self, inputs: dict[str, Tensor], role: str = "") -> Computed:
        """Return the mean, and the logarithm of the standard deviation."""
        return self.net(inputs["observations"]), {"log_std": self.log_std}


class Categorical(CategoricalMixin, Model):
    """The policy of discrete actions."""

    def __init__(self, env: Wrapper) -> None:
        Model.__init__(self, state_space=None, **spaces(env))
        CategoricalMixin.__init__(self)
        self.net = network(env, int(env.action_space.n))

    def compute(self, inputs: dict[str, Tensor], role: str = "") -> Computed:
        """Return the logits."""
        return self.net(inputs["observations"]), {}


class Value(DeterministicMixin, Model):
    """V."""

    def __init__(self, env: Wrapper) -> None:
        Model.__init__(self, state_space=None, **spaces(env))
        DeterministicMixin.__init__(self)
        self.net = network(env, 1)

    def compute(self, inputs: dict[str, Tensor], role: str = "") -> Computed:
        """Return V."""
        return self.net(inputs["observations"]), {}


def configure(options: argparse.Namespace, env: Wrapper) -> PPO_CFG:
    """Say how to train."""
    settings = PPO_CFG(
        rollouts=options.n_steps,
        learning_epochs=options.epochs,
        mini_batches=options.n_steps * options.n_envs // options.minibatch,
        discount_factor=options.gamma,
        gae_lambda=options.lam,
        learning_rate=options.lr,
        grad_norm_clip=0.5,
        ratio_clip=0.2,
        value_clip=0,
        value_loss_scale=0.5,
        time_limit_bootstrap=True,
    )
    if options.normalize:
        settings.observation_preprocessor = RunningStandardScaler
        settings.observation_preprocessor_kwargs = {
            "size": env.observation_space,
            "device": env.device,
        }
    settings.experiment.write_interval = 0
    settings.experiment.checkpoint_interval = 0
    return settings


def make_agent(options: argparse.Namespace, env: Wrapper) -> PPO:
    """Make the agent, ready to train."""
    discrete = isinstance(env.action_space, gymnasium.spaces.Discrete)
    agent = PPO(
        models={"policy": Categorical(env) if discrete else Gaussian(env), "value": Value(env)},
        memory=RandomMemory(
            memory_size=options.n_steps, num_envs=options.n_envs, device=env.device
        ),
        cfg=configure(options, env),
        **spaces(env),
    )
    agent.init()
    agent.enable_training_mode(True)
    return agent


def main() -> None:
    """Train once."""
    options = work.parser(__doc__).parse_args()
    logging.disable(logging.WARNING)
    if options.threads:
        torch.set_num_threads(options.threads)
    set_seed(options.seed)
    env = wrap_env(make_vector_env(options), verbose=False)
    agent = make_agent(options, env)
    optimizer_steps = OptimizerSteps()
    episodes = work.Episodes(options.solve)
    obs, _ = env.reset()
    timesteps = options.steps // options.n_envs
    iterations = Iterations.begin()
    for step in range(timesteps):
        now = {"timestep": step, "timesteps": timesteps}
        agent.pre_interaction(**now)
        with torch.no_grad():
            actions, _ = agent.act(obs, None, **now)
            next_obs, rewards, terminated, truncated, infos = env.step(actions)
            agent.record_transition(
                observations=obs,
                states=None,
                actions=actions,
                rewards=rewards,
                next_observations=next_obs,
                next_states=None,
                terminated=terminated,
                truncated=truncated,
                infos=infos,
                **now,
            )
        agent.post_interaction(**now)
        obs = next_obs
        episodes.pay(rewards.numpy().ravel(), (terminated | truncated).numpy().ravel())
        if (step + 1) % options.n_steps == 0:
            iterations.end((step + 1) * options.n_envs, optimizer_steps.count)
            if episodes.solved():
                break
    final_return = None if options.normalize else episodes.mean()
    iterations.report("skrl", solved=episodes.solved(), final_return=final_return)


if __name__ == "__main__":
    main()
