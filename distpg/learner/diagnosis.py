"""How noisy the gradient is, and what an update came to; measuring changes nothing."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from distpg.gradient.advantages import estimate
from distpg.gradient.diagnostics import (
    approx_kl,
    effective_sample_size,
    gradient_noise,
    kl_term,
)
from distpg.gradient.losses import SURROGATES
from distpg.gradient.paths import Paths
from distpg.learner.minibatches import Credit, Samples

if TYPE_CHECKING:
    from distpg.learner.learner import Learner

Gradients = tuple[Tensor, Tensor]

PARTS = 8
"""Parts that the envs of a batch are grouped in; steps of one env are not independent."""


class NoiseMemory:
    """Signal and noise over the measurements so far, since one batch tells poorly."""

    KEPT = 0.9
    """Weight of what is remembered, at each measurement."""

    def __init__(self) -> None:
        """Remember nothing."""
        self.signal_and_noise = np.zeros(2)

    def take_in(self, signal: float, noise: float) -> None:
        """Let the past fade."""
        now = np.array([signal, noise])
        self.signal_and_noise = self.KEPT * self.signal_and_noise + (1 - self.KEPT) * now

    def state(self) -> dict[str, np.ndarray]:
        """Return what is remembered."""
        return {"signal_and_noise": self.signal_and_noise.copy()}

    def load(self, state: Mapping[str, np.ndarray]) -> None:
        """Take it back."""
        self.signal_and_noise = np.array(state["signal_and_noise"])


def policy_gradient(learner: "Learner", samples: Samples, credit: Credit) -> dict[str, Tensor]:
    """Return the direction in which the surrogate alone sends each parameter of the policy."""
    policy = learner.policy
    coefficients, _ = learner.schedules.now(learner.trained_steps)
    scored = learner.score(policy(samples.obs), samples, credit)
    loss = SURROGATES[learner.config.surrogate](scored, coefficients)
    named = dict(policy.named_parameters())
    gradients = torch.autograd.grad(-loss, list(named.values()))
    return dict(zip(named, gradients, strict=True))


def gradient_samples(learner: "Learner", samples: Samples, paths: Paths) -> Gradients:
    """Compute, before an update, the policy gradient of some of the envs at a time.

    Returns:
        gradients: [K, P], K at most 8.
        sizes: [K] samples behind each.
    """
    credit = learner.credit(samples, paths)
    num_parts = min(PARTS, int(samples.envs.max()) + 1)
    gradients: list[Tensor] = []
    sizes: list[float] = []
    for number in range(num_parts):
        rows = (samples.envs % num_parts == number).nonzero().squeeze(1)
        if len(rows):
            gradient = policy_gradient(learner, samples[rows], credit[rows])
            gradients.append(torch.cat([part.flatten() for part in gradient.values()]))
            sizes.append(len(rows))
    return torch.stack(gradients), torch.tensor(sizes, device=samples.envs.device)


def measure_noise(memory: NoiseMemory, gradients: Tensor, sizes: Tensor) -> dict[str, float]:
    """Measure the noise of the policy gradient from one env to another.

    Returns:
        gradient/noise_scale: noise over signal, in samples (McCandlish et al. 2018), of this batch.
        gradient/snr: norm of the gradient over the standard deviation of this batch's.
        gradient/recommended_batch_size: the noise scale, from the measurements so far. Smaller
            batches are mostly noise; larger ones repeat what is known.
        Each is left out where signal or noise, as estimated, is not positive, and in a batch of
        one env, whose steps are not independent.
    """
    if len(sizes) < 2:
        return {}
    signal, noise = (float(x) for x in gradient_noise(gradients, sizes))
    memory.take_in(signal, noise)
    scalars: dict[str, float] = {}
    if signal > 0 and noise > 0:
        scalars["gradient/noise_scale"] = noise / signal
        scalars["gradient/snr"] = (signal * float(sizes.sum()) / noise) ** 0.5
    remembered = memory.signal_and_noise
    if (remembered > 0).all():
        scalars["gradient/recommended_batch_size"] = float(remembered[1] / remembered[0])
    return scalars


@torch.no_grad()
def measure_step(learner: "Learner", samples: Samples, paths: Paths) -> dict[str, float]:
    """Measure what an update came to, on the batch that it learned from.

    Returns:
        gradient/kl: KL(acting || current).
        gradient/effective_sample_size: share of the samples that their importance weights leave;
            of the ratios, where the estimator takes none.
        gradient/surrogate_gain: mean over the steps of (ratio - 1) * A, in units of the score.
        gradient/kl_term: of the performance-difference bound, for an episode of one step.
        The last two are left out where the sign of rewards is learned from, which is no score.
    """
    config = learner.config
    log_ratio = learner.log_ratio(samples)
    ratio, kl = log_ratio.exp(), approx_kl(log_ratio)
    weights = ratio
    if config.surrogate == "importance":
        weights = learner.credit(samples, paths).importance
    scalars = {
        "gradient/kl": float(kl),
        "gradient/effective_sample_size": float(effective_sample_size(weights)),
    }
    if not config.signed:
        advantages = estimate(paths, config)[0][paths.valid]
        # the mean ratio is 1 but for noise, which a mean advantage would multiply
        advantages = advantages - advantages.mean()
        unit = learner.reward_scale.unit if config.normalize_rewards else 1.0
        scalars["gradient/surrogate_gain"] = float(((ratio - 1) * advantages).mean()) * unit
        scalars["gradient/kl_term"] = float(kl_term(kl, advantages)) * unit
    return scalars
