"""torchrl's PPO, trained once; prints its figures as a line of JSON.

.venv-peers/torch/bin/python -m benchmarks.peers.torchrl_ppo --env HalfCheetah-v5 --normalize

Its collector, advantages and loss, eager, in the loop of its own examples. It normalizes
observations alone.
"""

import argparse
import math

import torch
from tensordict import TensorDictBase
from tensordict.nn import AddStateIndependentNormalScale, TensorDictModule
from torch import nn
from torchrl.collectors import Collector
from torchrl.data import OneHot
from torchrl.envs import (
    ClipTransform,
    DoubleToFloat,
    EnvBase,
    ExplorationType,
    GymEnv,
    RewardSum,
    SerialEnv,
    StepCounter,
    TransformedEnv,
    VecNormV2,
)
from torchrl.modules import (
    MLP,
    IndependentNormal,
    OneHotCategorical,
    ProbabilisticActor,
    ValueOperator,
)
from torchrl.objectives import ClipPPOLoss
from torchrl.objectives.value.advantages import GAE

from benchmarks.iterations import Iterations
from benchmarks.peers import work
from benchmarks.peers.optimizer_steps import OptimizerSteps

OBS = ["observation"]


def make_env(options: argparse.Namespace) -> TransformedEnv:
    """Make the vector env."""
    env = TransformedEnv(SerialEnv(options.n_envs, lambda: GymEnv(options.env, device="cpu")))
    if options.normalize:
        env.append_transform(DoubleToFloat(in_keys=OBS))
        env.append_transform(VecNormV2(in_keys=OBS, decay=0.99999, eps=1e-2))
        env.append_transform(ClipTransform(in_keys=OBS, low=-10, high=10))
    env.append_transform(RewardSum())
    env.append_transform(StepCounter())
    env.set_seed(options.seed)
    return env


def network(env: EnvBase, outputs: int, gain: float) -> MLP:
    """Make a network with two hidden layers and orthogonal weights."""
    inputs = env.observation_spec["observation"].shape[-1]
    made = MLP(inputs, outputs, num_cells=[64, 64], activation_class=nn.Tanh)
    linear = [layer for layer in made if isinstance(layer, nn.Linear)]
    for layer in linear:
        nn.init.orthogonal_(layer.weight, gain if layer is linear[-1] else math.sqrt(2))
        nn.init.zeros_(layer.bias)
    return made


def make_actor(env: EnvBase) -> ProbabilisticActor:
    """Make the policy."""
    n_actions = env.action_spec.shape[-1]
    net = network(env, n_actions, 0.01)
    if isinstance(env.action_spec, OneHot):
        keys, distribution = ["logits"], OneHotCategorical
    else:
        keys, distribution = ["loc", "scale"], IndependentNormal
        net = nn.Sequential(net, AddStateIndependentNormalScale(n_actions, scale_lb=1e-8))
    return ProbabilisticActor(
        TensorDictModule(net, OBS, keys),
        in_keys=keys,
        spec=env.action_spec_unbatched,
        distribution_class=distribution,
        return_log_prob=True,
        default_interaction_type=ExplorationType.RANDOM,
    )


def main() -> None:
    """Train once."""
    options = work.parser(__doc__).parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    env = make_env(options)
    actor = make_actor(env)
    critic = ValueOperator(network(env, 1, 1.0), in_keys=OBS)
    advantages = GAE(
        gamma=options.gamma, lmbda=options.lam, value_network=critic, average_gae=False
    )
    loss = ClipPPOLoss(
        actor_network=actor,
        critic_network=critic,
        clip_epsilon=0.2,
        loss_critic_type="l2",
        critic_coeff=0.5,
        entropy_bonus=False,
        normalize_advantage=True,
    )
    parameters = [*actor.parameters(), *critic.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=options.lr, eps=1e-5, fused=True)

    def learn(minibatch: TensorDictBase) -> None:
        optimizer.zero_grad(set_to_none=True)
        parts = loss(minibatch)
        (parts["loss_objective"] + parts["loss_critic"]).backward()
        nn.utils.clip_grad_norm_(parameters, 0.5)
        optimizer.step()

    batch = options.n_steps * options.n_envs
    # without an end: one that reaches it resets torch's threads before the last update
    collector = Collector(env, actor, frames_per_batch=batch, total_frames=-1, device="cpu")
    optimizer_steps = OptimizerSteps()
    episodes = work.Episodes(options.solve)
    env_steps = 0
    iterations = Iterations.begin()
    for rollout in collector:
        episodes.add(rollout["next", "episode_reward"][rollout["next", "done"]])
        with torch.no_grad():
            credited = advantages(rollout).reshape(-1)
        data = credited.select(*loss.in_keys, "advantage", "value_target", strict=False)
        for _ in range(options.epochs):
            for rows in torch.randperm(batch).split(options.minibatch):
                learn(data[rows])
        env_steps += batch
        iterations.end(env_steps, optimizer_steps.count)
        if episodes.solved() or env_steps >= options.steps:
            break
    iterations.report("torchrl", solved=episodes.solved(), final_return=episodes.mean())
    collector.shutdown()


if __name__ == "__main__":
    main()
