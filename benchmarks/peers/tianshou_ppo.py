"""tianshou's PPO, trained once; prints its figures as a line of JSON.

.venv-peers/torch/bin/python -m benchmarks.peers.tianshou_ppo --env HalfCheetah-v5 --normalize

The loop is that of its OnPolicyTrainer, without the logs. It normalizes observations;
gymnasium normalizes rewards.
"""

import argparse

import gymnasium
import numpy as np
import torch
from tianshou.algorithm import PPO
from tianshou.algorithm.modelfree.reinforce import ProbabilisticActorPolicy
from tianshou.algorithm.optim import AdamOptimizerFactory
from tianshou.data import Collector, VectorReplayBuffer
from tianshou.env import BaseVectorEnv, DummyVectorEnv, VectorEnvNormObs
from tianshou.utils.net.common import Net
from tianshou.utils.net.continuous import ContinuousActorProbabilistic, ContinuousCritic
from tianshou.utils.net.discrete import DiscreteActor, DiscreteCritic
from tianshou.utils.torch_utils import policy_within_training_step
from torch import Tensor, nn
from torch.distributions import Categorical, Distribution, Independent, Normal

from benchmarks.iterations import Iterations
from benchmarks.peers import work
from benchmarks.peers.envs import make_env
from benchmarks.peers.optimizer_steps import OptimizerSteps


def make_envs(options: argparse.Namespace) -> BaseVectorEnv:
    """Make the vector env."""
    envs = DummyVectorEnv([lambda: make_env(options)] * options.n_envs)
    envs.seed(options.seed)
    return VectorEnvNormObs(envs) if options.normalize else envs


def gaussian(parameters: tuple[Tensor, Tensor]) -> Distribution:
    """Return the distribution of continuous actions."""
    return Independent(Normal(*parameters), 1)


def categorical(logits: Tensor) -> Distribution:
    """Return the distribution of discrete actions."""
    return Categorical(logits=logits)


def make_ppo(options: argparse.Namespace) -> PPO:
    """Make the algorithm: actor and critic apart, two hidden layers of 64 tanh units each."""
    env = gymnasium.make(options.env)
    actions, shape = env.action_space, env.observation_space.shape
    discrete = isinstance(actions, gymnasium.spaces.Discrete)
    body, critic_body = (
        Net(state_shape=shape, hidden_sizes=[64, 64], activation=nn.Tanh) for _ in range(2)
    )
    if discrete:
        actor = DiscreteActor(
            preprocess_net=body, action_shape=int(actions.n), softmax_output=False
        )
        critic = DiscreteCritic(preprocess_net=critic_body)
    else:
        actor = ContinuousActorProbabilistic(
            preprocess_net=body, action_shape=actions.shape, unbounded=True
        )
        critic = ContinuousCritic(preprocess_net=critic_body)
    policy = ProbabilisticActorPolicy(
        actor=actor,
        dist_fn=categorical if discrete else gaussian,
        action_space=actions,
        action_scaling=not discrete,
        action_bound_method=None if discrete else "clip",
    )
    return PPO(
        policy=policy,
        critic=critic,
        optim=AdamOptimizerFactory(lr=options.lr, eps=1e-5),
        eps_clip=0.2,
        vf_coef=0.5,
        ent_coef=0.0,
        max_grad_norm=0.5,
        gae_lambda=options.lam,
        gamma=options.gamma,
        max_batchsize=max(256, options.minibatch),
    )


def main() -> None:
    """Train once."""
    options = work.parser(__doc__).parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    np.random.seed(options.seed)
    ppo = make_ppo(options)
    batch = options.n_steps * options.n_envs
    buffer = VectorReplayBuffer(batch, options.n_envs)
    collector = Collector(ppo, make_envs(options), buffer)
    collector.reset()
    optimizer_steps = OptimizerSteps()
    episodes = work.Episodes(options.solve)
    env_steps = 0
    iterations = Iterations.begin()
    while env_steps < options.steps and not episodes.solved():
        with policy_within_training_step(ppo.policy):
            collected = collector.collect(n_step=batch)
            ppo.update(buffer=buffer, batch_size=options.minibatch, repeat=options.epochs)
        collector.reset_buffer(keep_statistics=True)
        env_steps += collected.n_collected_steps
        episodes.add(collected.returns)
        iterations.end(env_steps, optimizer_steps.count)
    final_return = None if options.normalize else episodes.mean()
    iterations.report("tianshou", solved=episodes.solved(), final_return=final_return)


if __name__ == "__main__":
    main()
