"""Bounded action distributions: no action outside of the bounds is sampled, so none is clipped.

They have the methods of those in `distributions.py`. A rollout stores an action as sampled;
`action_units.py` maps it to the bounds.
"""

import math
from typing import Self

import torch
from torch import Generator, Tensor
from torch.nn.functional import softplus

from distpg.policy.distributions import DiagonalGaussian, Noise

MIXTURE = (
    (0.003246343272134, 1.365340806296348),
    (0.051517477033972, 1.059523971016916),
    (0.195077912673858, 0.830791313765644),
    (0.315569823632818, 0.650732166639391),
    (0.274149576158423, 0.508135425366489),
    (0.131076880695470, 0.396313345166341),
    (0.027912418727972, 0.308904252267995),
    (0.001449567805354, 0.238212616409306),
)
"""Weights and inverse deviations of normals. Their mixture has the distribution function of the
standard logistic distribution within 2.2e-9 (Monahan and Stefanski 1992, k = 8).
"""
UNIT_RANGE = torch.finfo(torch.float32).tiny, 1 - torch.finfo(torch.float32).eps / 2
"""The smallest and largest normal float32 strictly between 0 and 1."""


class SquashedGaussian(DiagonalGaussian):
    """tanh(u), A components, for independent normals u; `mean` [*B, A], `log_std` [A] or [*B, A].

    `sample`, `greedy` and `log_prob` use u. From tanh(u), which rounds to 1, u could not be
    recovered; from u the log-density is exact, finite even at the bounds, and the ratio of two
    policies is that of their normals. Densities are those of tanh(u) on [-1, 1].
    """

    def greedy(self) -> Tensor:
        """Return the mean of u: squashed, the median of the actions rather than their mode."""
        return self.mean

    def log_prob(self, actions: Tensor) -> Tensor:
        """Return the summed log-density of tanh(u) at u, [*B, A] (Haarnoja et al. 2018, app. C)."""
        return super().log_prob(actions) - log_slope(actions).sum(-1)

    def entropy(self) -> Tensor:
        """Return the summed differential entropy: that of u, plus E[log tanh'(u)].

        log tanh'(u) = 2 log 2 - 2 E|u + x| for x from a logistic distribution of scale 1/2. For a
        mixture of normals in its place, u + x is a mixture, too, and |u + x| has the mean of folded
        normals: differentiable, and off by less than 2e-8 for any mean and deviation.
        """
        weights, precisions = self.mean.new_tensor(MIXTURE).unbind(-1)
        mean = self.mean.unsqueeze(-1)
        std = torch.hypot(self.log_std.exp().unsqueeze(-1), 0.5 / precisions)
        z = mean / std
        near = math.sqrt(2 / math.pi) * std * (-0.5 * z.square()).exp()
        folded = mean * torch.erf(z * math.sqrt(0.5)) + near
        slope = 2 * math.log(2) - 2 * (folded @ weights)
        return super().entropy() + slope.sum(-1)

    # tanh is one-to-one, so KL(self || other) is that of the normals: inherited


def log_slope(u: Tensor) -> Tensor:
    """Return log tanh'(u) = log(1 - tanh(u)^2), without cancellation."""
    return 2 * (math.log(2) - u - softplus(-2 * u))


class Beta:
    """A independent Beta distributions on (0, 1) (Chou et al. 2017); `alpha`, `beta` [*B, A].

    They are 1 + softplus of a network's outputs, so above 1: one mode, and no infinite density.
    All is computed in float64: a log-probability is a small difference of large lgammas.
    """

    noise: Noise | None = None
    num_noise = 0

    def __init__(self, first: Tensor, second: Tensor) -> None:
        """Make alpha and beta from two [*B, A] network outputs, any real numbers."""
        self.precision = first.dtype
        self.above_1 = softplus(first.double()), softplus(second.double())
        self.alpha, self.beta = (1 + part for part in self.above_1)

    def sample(self, generator: Generator) -> Tensor:
        """Sample [*B, A] float32 strictly between 0 and 1, so that the density is finite."""
        both = torch.stack([self.alpha, self.beta], -1).detach()
        # torch.distributions calls it, too, but accepts no generator
        drawn = torch._sample_dirichlet(both, generator)  # pyright: ignore[reportPrivateUsage, reportPrivateImportUsage]
        return drawn[..., 0].float().clamp(*UNIT_RANGE)

    def sample_from(self, noise: Tensor) -> Tensor:
        """Refuse: sampling takes a number of draws that is not fixed.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError

    def greedy(self) -> Tensor:
        """Return the means, alpha / (alpha + beta).

        The modes of flat distributions are far from them, where few samples are.
        """
        return (self.alpha / (self.alpha + self.beta)).float().clamp(*UNIT_RANGE)

    def std(self) -> Tensor:
        """Return the standard deviations, [*B, A]."""
        total = self.alpha + self.beta
        return (self.alpha * self.beta / (total + 1)).sqrt() / total

    def log_prob(self, actions: Tensor) -> Tensor:
        """Return the summed log-density of [*B, A] actions in (0, 1)."""
        actions = actions.double()
        left, right = self.above_1
        density = left * actions.log() + right * (-actions).log1p() - self._log_normalizer()
        return density.sum(-1).to(self.precision)

    def entropy(self) -> Tensor:
        """Return the summed differential entropy."""
        left, right = self.above_1
        logs = left * self.alpha.digamma() + right * self.beta.digamma()
        both = (left + right) * (self.alpha + self.beta).digamma()
        return (self._log_normalizer() - logs + both).sum(-1).to(self.precision)

    def kl(self, other: Self) -> Tensor:
        """Return the summed divergence."""
        total = (self.alpha + self.beta).digamma()
        left = (self.alpha - other.alpha) * (self.alpha.digamma() - total)
        right = (self.beta - other.beta) * (self.beta.digamma() - total)
        normalizers = other._log_normalizer() - self._log_normalizer()
        return (normalizers + left + right).sum(-1).to(self.precision)

    def _log_normalizer(self) -> Tensor:
        """Return log B(alpha, beta), [*B, A]."""
        return self.alpha.lgamma() + self.beta.lgamma() - (self.alpha + self.beta).lgamma()
