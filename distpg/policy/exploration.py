"""Generalized state-dependent exploration, gSDE (Raffin, Kober and Stulp 2021).

The noise of an action is a linear function of the features that the policy computes its mean from.
While the matrix of that function is held, like states get like noise, so actions do not jitter.
"""

from torch import Generator, Tensor

from distpg.policy.distributions import DiagonalGaussian

EPSILON = 1e-6
"""Added to the variance, so that a density stays finite where all features are 0. Sampled actions
do not have this part, as in Stable-Baselines3.
"""


class StateDependentExploration(DiagonalGaussian):
    """Actions mean + features @ E of A components, for an exploration matrix E [F, A].

    The entries of E are independent normals with mean 0 and standard deviations exp(`log_std`).
    Given the features f the components are independent, too: normals with the variances
    sum_k f_k^2 exp(log_std_k)^2, to which `EPSILON` is added. Density, entropy and KL are theirs.
    Steps with the same E are not independent of each other; their log-probabilities are added up as
    if they were.
    """

    def __init__(self, outputs: Tensor, log_std: Tensor) -> None:
        """Take the means and then the features, [*B, A + F], and log standard deviations [F, A].

        The features are constants: the variance has a gradient with respect to `log_std` only.
        """
        num_features, num_actions = log_std.shape
        mean, features = outputs.split([num_actions, num_features], -1)
        self.features = features.detach()
        self.deviations = log_std.exp()
        variance = self.features.square() @ self.deviations.square()
        super().__init__(mean, 0.5 * (variance + EPSILON).log())
        self.num_noise = log_std.numel()

    def draw(self, generator: Generator) -> Tensor:
        """Draw an exploration matrix for each observation, in deviations, [*B, num_noise]."""
        shape = (*self.mean.shape[:-1], self.num_noise)
        return self.mean.new_empty(shape).normal_(generator=generator)

    def sample(self, generator: Generator) -> Tensor:
        """Draw [*B, A] float32, each from a matrix of its own."""
        return self.sample_from(self.draw(generator))

    def sample_from(self, noise: Tensor) -> Tensor:
        """Return [*B, A] float32."""
        transposed = self.deviations.T
        matrix = transposed * noise.view(*noise.shape[:-1], *transposed.shape)
        return self.mean + (matrix * self.features.unsqueeze(-2)).sum(-1)
