"""What an update maximizes: targets of the samples, and the inputs of the surrogate losses.

Functions of the configuration, the policy and the samples: B valid samples of a batch, M of a
minibatch.
"""

import dataclasses
import math
from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor

from distpg.config.config import Config
from distpg.gradient.advantages import estimate, normalize
from distpg.gradient.importance import importance_weights
from distpg.gradient.losses import SurrogateInputs
from distpg.gradient.trajectories import Trajectories, episode_starts
from distpg.learner.minibatches import CHUNK, Samples, Targets, in_chunks, rows_at_once
from distpg.policy.actor_critic import Policy
from distpg.policy.critic import ActorCritic
from distpg.policy.distributions import Distribution

ACTIONS = "/actions"
"""Name under which actions accompany observations."""


@torch.no_grad()
def compute_targets(
    config: Config, policy: Policy, samples: Samples, trajectories: Trajectories
) -> Targets:
    """Estimate advantages, the critic's targets, and importance weights if the surrogate uses them.

    Returns:
        [B] each; advantages as the loss takes them: normalized, scaled per episode.
    """
    valid = trajectories.valid
    importance = torch.ones_like(samples.logprobs)
    if config.surrogate == "importance":
        log_ratios = log_ratio_of_steps(policy, samples, trajectories)
        weights = importance_weights(log_ratios, trajectories.done, valid, config.importance)
        importance = weights[valid].clamp(max=config.importance_clip or math.inf)
        ratios = log_ratios.exp()
        if config.importance == "trajectory":
            # the weight covers the steps ahead, too
            ratios = torch.ones_like(ratios)
        if config.importance == "per_decision" or config.advantage == "vtrace":
            trajectories = dataclasses.replace(trajectories, ratios=ratios)
    elif trajectories.ratios is None:
        trajectories = with_ratios(config, policy, samples, trajectories)
    advantages, returns = (table[valid] for table in estimate(trajectories, config))
    if config.normalize_advantages:
        advantages = normalize(advantages)
    if config.loss_average == "per_episode":
        advantages = advantages * len(samples) / episode_starts(trajectories.done, valid).sum()
    return Targets(advantages, returns, importance)


@torch.no_grad()
def with_ratios(
    config: Config, policy: Policy, samples: Samples, trajectories: Trajectories
) -> Trajectories:
    """Add the ratios that V-trace corrects by, those of the policy as it is now, if it is used.

    Under the surrogate `importance` ratios follow the policy from step to step instead, so
    `compute_targets` adds them.
    """
    if config.advantage != "vtrace" or config.surrogate == "importance":
        return trajectories
    log_ratios = log_ratio_of_steps(policy, samples, trajectories)
    return dataclasses.replace(trajectories, ratios=log_ratios.exp())


def surrogate_inputs(
    policy: Policy,
    distribution: Distribution,
    minibatch: Samples,
    targets: Targets,
    *,
    penalizes_kl: bool,
) -> SurrogateInputs:
    """Return what a surrogate loss is computed from, for the current action distribution."""
    logprobs = distribution.log_prob(minibatch.actions)
    kl = logprobs.new_zeros(0)
    if penalizes_kl:
        kl = policy.rebuild(minibatch.parameters).kl(distribution)
    ratio = logprobs - minibatch.logprobs
    return SurrogateInputs(logprobs, ratio, targets.advantages, targets.importance, kl)


def outputs(config: Config, model: ActorCritic, obs: Mapping[str, Tensor]) -> Tensor:
    """Return the parameters of a batch's distributions and V(s), side by side, [B, P + 1].

    Of many actions only V(s), [B, 1], unless the KL to those distributions will be computed.
    """
    width = model.policy.num_outputs
    many = model.policy.action_spec.sizes and rows_at_once(width) < CHUNK
    kept = not many or config.penalizes_kl or config.surrogate == "trust_region"
    return in_chunks(partial(model.outputs, only_values=not kept), obs, width)


def values(model: ActorCritic, obs: Mapping[str, Tensor]) -> Tensor:
    """Return V(s) of a batch, [B], to the same bits as `outputs`; there must be a critic."""
    return in_chunks(model.values, obs, model.policy.num_outputs)


def initial_log_ratio(policy: Policy, samples: Samples) -> Tensor:
    """Return `log_ratio` before an update, [B], from the outputs that were kept, if they were."""
    if not samples.parameters.shape[1]:
        return log_ratio(policy, samples)
    return policy.rebuild(samples.parameters).log_prob(samples.actions) - samples.logprobs


def log_ratio(policy: Policy, samples: Samples) -> Tensor:
    """Return log pi(a|s) minus that of the behaviour policy, [B], as constants."""

    def logprobs(rows: Mapping[str, Tensor]) -> Tensor:
        return policy.rebuild(policy.parameters_at(rows)).log_prob(rows[ACTIONS])

    rows = {**samples.obs, ACTIONS: samples.actions}
    with torch.no_grad():
        return in_chunks(logprobs, rows, policy.num_outputs) - samples.logprobs


def log_ratio_of_steps(policy: Policy, samples: Samples, trajectories: Trajectories) -> Tensor:
    """Return `log_ratio` at the samples' places, [T, N], and 0 at steps that are not valid."""
    table = torch.zeros_like(trajectories.rewards)
    table[trajectories.valid] = log_ratio(policy, samples)
    return table
