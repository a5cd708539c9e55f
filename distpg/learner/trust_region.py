"""Trust-region step of the policy: along the natural gradient, as far as the KL allows.

With a line search it is TRPO's (Schulman et al. 2015), without one that of natural policy gradients
(Kakade 2001; Rajeswaran et al. 2017).
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from distpg.gradient.losses import SURROGATES, Coefficients
from distpg.gradient.natural_gradient import (
    Trial,
    conjugate_gradient,
    hessian_product,
    line_search,
    step_size,
)
from distpg.learner import objective
from distpg.learner.minibatches import Samples, Targets, chunks, in_chunks
from distpg.learner.train_state import TrainState
from distpg.policy.actor_critic import Policy
from distpg.policy.recurrent import SEQUENCE

CHUNK_ROWS = 2048
"""Rows that are differentiated twice at once; bounds memory."""
TOLERANCE = 1e-5
"""Relative residual of conjugate gradients; float32 cannot resolve less."""


def step(
    state: TrainState, samples: Samples, targets: Targets, coefficients: Coefficients
) -> dict[str, float]:
    """Step the policy along its gradient, which the optimizer has accumulated.

    Returns:
        By TensorBoard tag: the KL of the step; whether one was accepted; how many lengths were
        tried; the gain of the surrogate, entropy bonus included, and the gain that its gradient
        predicted. All gains are 0 if no step was accepted.
    """
    config = state.config
    values, descent = state.optimizer.parts["policy"]
    start = values.clone()
    loss = loss_and_kl(state, samples, targets, coefficients)[0]

    some = every_so_many(samples, config.fisher_subsampling)

    def product(vector: Tensor) -> Tensor:
        fisher = fisher_product(state.policy, some, vector)
        return fisher + config.cg_damping * vector

    def attempt(step: Tensor) -> Trial:
        torch.add(start, step, out=values)
        after, kl = loss_and_kl(state, samples, targets, coefficients)
        return Trial(step, loss - after, kl)

    direction = conjugate_gradient(
        product, -descent, iterations=config.cg_iterations, tolerance=TOLERANCE
    )
    whole = direction * step_size(product, direction, max_kl=config.max_kl)
    tries = config.line_search_steps
    if tries:
        trial, tries = line_search(attempt, whole, max_kl=config.max_kl, tries=tries)
    else:
        trial = attempt(whole)
    if trial is None:
        values.copy_(start)
    taken = trial or Trial(torch.zeros_like(start), 0.0, 0.0)
    return {
        "train/kl_divergence_loss": taken.kl,
        "gradient/step_accepted": float(trial is not None),
        "gradient/line_search_steps": float(tries),
        "gradient/expected_gain": -float(descent @ taken.step),
        "gradient/actual_gain": taken.gain,
    }


def every_so_many(samples: Samples, factor: int) -> dict[str, Tensor]:
    """Return the observations of every so many samples of each env, {leaf: [B', *O]}.

    Steps of an env resemble those before them, so a part says nearly as much of the Fisher matrix.
    Of a recurrent policy they are every so many sequences, since those are not split. TRPO of
    SB3-Contrib computes gradient and line search, too, from its `sub_sampling_factor`-th samples.
    """
    if factor == 1:
        return samples.obs
    if SEQUENCE in samples.obs:
        numbers = samples.obs[SEQUENCE].unique(return_inverse=True)[1]
        rows = (numbers % factor == 0).nonzero().squeeze(-1)
    else:
        rows = samples.envs.argsort(stable=True)[::factor]
    return {name: leaf[rows] for name, leaf in samples.obs.items()}


def fisher_product(policy: Policy, obs: Mapping[str, Tensor], vector: Tensor) -> Tensor:
    """Multiply the Fisher matrix of a policy at normalized {leaf: [B, *O]} by [P]."""
    product, count = torch.zeros_like(vector), len(next(iter(obs.values())))
    for chunk in chunks(obs, CHUNK_ROWS):
        outputs = policy.parameters_at(chunk)
        kl = policy.rebuild(outputs.detach()).kl(policy.rebuild(outputs)).sum() / count
        product += hessian_product(kl, list(policy.parameters()), vector)
    return product


@torch.no_grad()
def loss_and_kl(
    state: TrainState, samples: Samples, targets: Targets, coefficients: Coefficients
) -> tuple[float, float]:
    """Return the policy loss, and the mean KL(behaviour || current) over the states."""
    policy, config = state.policy, state.config
    current = policy.rebuild(in_chunks(policy.parameters_at, samples.obs))
    inputs = objective.surrogate_inputs(policy, current, samples, targets, penalizes_kl=False)
    loss = SURROGATES[config.surrogate](inputs, coefficients)
    loss = loss - coefficients.entropy * current.entropy().mean()
    return float(loss), float(policy.rebuild(samples.parameters).kl(current).mean())
