"""Diagnostics of the gradient and of an update; free of side effects."""

from dataclasses import dataclass

import torch
from torch import Tensor

from distpg.gradient.advantages import estimate
from distpg.gradient.diagnostics import approx_kl, effective_sample_size, kl_term
from distpg.gradient.losses import SURROGATES
from distpg.gradient.trajectories import Trajectories
from distpg.learner import objective
from distpg.learner.minibatches import Samples, Targets, rows_at_once
from distpg.learner.train_state import TrainState

NUM_GROUPS = 8
"""Groups that the envs of a batch are split into; steps of one env are not independent."""


def policy_gradient(state: TrainState, samples: Samples, targets: Targets) -> dict[str, Tensor]:
    """Return the ascent direction of the surrogate for each parameter of the policy."""
    policy, config = state.policy, state.config
    coefficients, _ = state.schedules.now(state.trained_steps)
    distribution = policy(samples.obs)
    inputs = objective.surrogate_inputs(
        policy, distribution, samples, targets, penalizes_kl=config.penalizes_kl
    )
    loss = SURROGATES[config.surrogate](inputs, coefficients)
    named = dict(policy.named_parameters())
    gradients = torch.autograd.grad(-loss, list(named.values()))
    return dict(zip(named, gradients, strict=True))


def flat_gradient(state: TrainState, samples: Samples, targets: Targets) -> Tensor:
    """Return `policy_gradient` as one vector, [P]."""
    parts = policy_gradient(state, samples, targets).values()
    return torch.cat([part.flatten() for part in parts])


def gradients_of_groups(
    state: TrainState, samples: Samples, trajectories: Trajectories
) -> tuple[Tensor, Tensor]:
    """Compute, before an update, the policy gradient of each group of envs.

    Returns:
        gradients: [K, P], K at most 8.
        sizes: [K] samples behind each.
    """
    targets = objective.compute_targets(state.config, state.policy, samples, trajectories)
    num_groups = min(NUM_GROUPS, int(samples.envs.max()) + 1)
    gradients: list[Tensor] = []
    sizes: list[float] = []
    for group in range(num_groups):
        rows = (samples.envs % num_groups == group).nonzero().squeeze(1)
        if len(rows):
            # a mean over the rows is that of the means over parts of them
            parts = rows.split(rows_at_once(state.policy.num_outputs))
            shares = [
                flat_gradient(state, samples[part], targets[part]) * (len(part) / len(rows))
                for part in parts
            ]
            gradients.append(sum(shares[1:], shares[0]))
            sizes.append(len(rows))
    return torch.stack(gradients), torch.tensor(sizes, device=samples.envs.device)


@dataclass(frozen=True)
class StepDiagnosis:
    """How far an update moved the policy, on the batch that it was computed from."""

    kl: float
    """KL(behaviour || current)."""
    effective_sample_size: float
    """Fraction of the samples that their importance weights leave; of the ratios, if the
    estimator uses no weights."""
    surrogate_gain: float | None
    """Mean over the steps of (ratio - 1) * A, in units of the return."""
    kl_term: float | None
    """Of the performance-difference bound, for an episode of one step. Both are None when the
    update is computed from the sign of rewards, which has not the unit of the return."""

    def scalars(self) -> dict[str, float]:
        """Return the first two by TensorBoard tag."""
        return {
            "gradient/kl": self.kl,
            "gradient/effective_sample_size": self.effective_sample_size,
        }


@torch.no_grad()
def diagnose_step(state: TrainState, samples: Samples, trajectories: Trajectories) -> StepDiagnosis:
    """Measure an update after it was made."""
    config = state.config
    log_ratio = objective.log_ratio(state.policy, samples)
    ratio, kl = log_ratio.exp(), approx_kl(log_ratio)
    weights = ratio
    if config.surrogate == "importance":
        targets = objective.compute_targets(config, state.policy, samples, trajectories)
        weights = targets.importance
    gain = bound = None
    if not config.signed:
        advantages = estimate(trajectories, config)[0][trajectories.valid]
        # the mean ratio is 1 but for noise, which a mean advantage would multiply
        advantages = advantages - advantages.mean()
        unit = state.reward_scale.unit if config.normalize_rewards else 1.0
        gain = float(((ratio - 1) * advantages).mean()) * unit
        bound = float(kl_term(kl, advantages)) * unit
    return StepDiagnosis(float(kl), float(effective_sample_size(weights)), gain, bound)
