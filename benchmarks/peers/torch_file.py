"""PPO as a single file does it in torch; prints its figures as a line of JSON.

    .venv-peers/rllib/bin/python -m benchmarks.peers.torch_file --env HalfCheetah-v5 --normalize

One process, in the manner of CleanRL. With --compile, torch.compile takes the whole minibatch:
gradient, clipping and the optimizer's step.
"""

import math

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.iterations import Iterations
from benchmarks.peers import work
from benchmarks.peers.optimizer_steps import OptimizerSteps
from benchmarks.peers.rollout import Collector, Rollout

CLIP = 0.2
MAX_NORM = 0.5
HIDDEN_GAIN, POLICY_GAIN = math.sqrt(2), 0.01


def layer(inputs: int, outputs: int, gain: float) -> nn.Linear:
    """Make a linear layer with orthogonal weights."""
    made = nn.Linear(inputs, outputs)
    nn.init.orthogonal_(made.weight, gain)
    nn.init.zeros_(made.bias)
    return made


def network(inputs: int, outputs: int, gain: float) -> nn.Sequential:
    """Make a network with two hidden layers."""
    first, second = layer(inputs, 64, HIDDEN_GAIN), layer(64, 64, HIDDEN_GAIN)
    return nn.Sequential(first, nn.Tanh(), second, nn.Tanh(), layer(64, outputs, gain))


class ActorCritic(nn.Module):
    """Policy and V, without shared layers."""

    def __init__(self, n_obs: int, n_actions: int, *, discrete: bool) -> None:
        super().__init__()
        self.discrete = discrete
        self.actor = network(n_obs, n_actions, POLICY_GAIN)
        self.critic = network(n_obs, 1, 1.0)
        self.log_std = nn.Parameter(torch.zeros(n_actions), requires_grad=not discrete)

    def value(self, obs: Tensor) -> Tensor:
        """Return V [N]."""
        return self.critic(obs).squeeze(-1)

    def log_prob(self, scores: Tensor, actions: Tensor) -> Tensor:
        """Return log pi [N] of actions, from what the actor says."""
        if self.discrete:
            return scores.log_softmax(-1).gather(1, actions.unsqueeze(1)).squeeze(1)
        unit = (actions - scores) * (-self.log_std).exp()
        return (-0.5 * unit**2 - self.log_std - 0.5 * math.log(2 * math.pi)).sum(-1)

    def sample(self, scores: Tensor) -> Tensor:
        """Draw actions."""
        if self.discrete:
            gumbel = -torch.empty_like(scores).exponential_().log()
            return (scores + gumbel).argmax(-1)
        return scores + self.log_std.exp() * torch.randn_like(scores)

    @torch.inference_mode()
    def act(self, obs: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return actions, their log pi, and V."""
        inputs = torch.from_numpy(obs)
        scores = self.actor(inputs)
        actions = self.sample(scores)
        log_probs = self.log_prob(scores, actions)
        return actions.numpy(), log_probs.numpy(), self.value(inputs).numpy()

    @torch.inference_mode()
    def value_of(self, obs: np.ndarray) -> np.ndarray:
        """Return V."""
        return self.value(torch.from_numpy(obs)).numpy()


def advantages(rollout: Rollout, last: np.ndarray, gamma: float, lam: float) -> np.ndarray:
    """Return GAE [T, N]; `last` is V after the last step."""
    credit = np.zeros_like(rollout.rewards)
    following, next_values = np.zeros_like(last), last
    for step in reversed(range(len(credit))):
        alive = 1 - rollout.dones[step]
        values = rollout.values[step]
        delta = rollout.rewards[step] + gamma * alive * next_values - values
        following = delta + gamma * lam * alive * following
        credit[step], next_values = following, values
    return credit


def main() -> None:
    """Train once."""
    parser = work.parser(__doc__)
    parser.add_argument("--compile", action="store_true", help="the minibatch, by torch.compile")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    collector = Collector(options)
    agent = ActorCritic(collector.n_obs, collector.n_actions, discrete=collector.discrete)
    parameters = [each for each in agent.parameters() if each.requires_grad]
    optimizer = torch.optim.Adam(parameters, lr=options.lr, eps=1e-5, fused=True)

    def learn(obs: Tensor, actions: Tensor, old: Tensor, credit: Tensor, targets: Tensor) -> None:
        optimizer.zero_grad(set_to_none=True)
        credit = (credit - credit.mean()) / (credit.std() + 1e-8)
        ratio = (agent.log_prob(agent.actor(obs), actions) - old).exp()
        clipped = ratio.clamp(1 - CLIP, 1 + CLIP)
        policy_loss = -torch.min(credit * ratio, credit * clipped).mean()
        loss = policy_loss + 0.5 * (agent.value(obs) - targets).square().mean()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, MAX_NORM)
        optimizer.step()

    if options.compile:
        learn = torch.compile(learn)
    batch = options.n_steps * options.n_envs
    optimizer_steps = OptimizerSteps()
    iterations = Iterations.begin()
    env_steps, solved = 0, False
    while env_steps < options.steps and not solved:
        rollout = collector.collect(agent.act, agent.value_of)
        last = agent.value_of(rollout.next_obs)
        credit = advantages(rollout, last, options.gamma, options.lam)
        columns = (
            rollout.obs,
            rollout.actions,
            rollout.log_probs,
            credit,
            credit + rollout.values,
        )
        data = [torch.from_numpy(each.reshape(batch, *each.shape[2:])) for each in columns]
        for _ in range(options.epochs):
            for rows in torch.randperm(batch).split(options.minibatch):
                learn(*(each[rows] for each in data))
        env_steps += batch
        iterations.end(env_steps, optimizer_steps.count)
        solved = collector.episodes.solved()
    name = "torch file, compiled" if options.compile else "torch file"
    iterations.report(name, solved=solved, final_return=collector.episodes.mean())


if __name__ == "__main__":
    main()
