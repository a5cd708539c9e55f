"""Action distributions of a network's outputs, without the checks of torch.distributions.

Each is made from parameters [*B, ...] and has `sample`, `greedy`, `log_prob`, `entropy` and `kl`,
the last three summed over the action's components, [*B]. Bounded ones are in `bounded.py`.
"""

import math
from typing import Any, Literal, Protocol, Self

import torch
from torch import Generator, Tensor
from torch.nn.functional import logsigmoid

LOG_STD_LOW, LOG_STD_HIGH = -5.0, 2.0
"""Range of a state-dependent log standard deviation. Below, float32 rounds a mean by more than 1e-5
of a deviation, which shows in the ratio; above, nearly all actions lie at a bound.
"""

BLOCK = 2**16
"""Actions of a categorical distribution that are drawn for at once."""


Noise = Literal["exponential", "normal", "uniform"]
"""The standard exponential, the standard normal, or the uniform distribution on [0, 1)."""


class Distribution(Protocol):
    """Action distributions of a batch of observations."""

    @property
    def noise(self) -> Noise | None:
        """What `sample_from` takes; None if a sample is not a function of such noise."""
        ...

    @property
    def num_noise(self) -> int:
        """How many numbers of it for each observation."""
        ...

    def sample(self, generator: Generator) -> Tensor:
        """Draw actions."""
        ...

    def sample_from(self, noise: Tensor) -> Tensor:
        """Return the actions that noise [*B, num_noise] draws."""
        ...

    def greedy(self) -> Tensor:
        """Return the actions without noise: the most likely ones, or means of continuous ones."""
        ...

    def log_prob(self, actions: Tensor) -> Tensor:
        """Return log pi(a|s), [*B]."""
        ...

    def entropy(self) -> Tensor:
        """Return the entropy in nats, [*B]."""
        ...

    def kl(self, other: Any) -> Tensor:
        """Return KL(self || other) in nats, [*B]; both have the same type."""
        ...


class Categorical:
    """One of n actions; `logits` [*B, n]."""

    noise: Noise | None = "exponential"

    def __init__(self, logits: Tensor) -> None:
        """Keep the logits, which need not be normalized."""
        self.logits = logits
        self.num_noise = logits.shape[-1]
        self.normalized: Tensor | None = None

    @property
    def logprobs(self) -> Tensor:
        """[*B, n] log pi(a|s), computed once; acting needs only the logits."""
        if self.normalized is None:
            self.normalized = self.logits.log_softmax(-1)
        return self.normalized

    def sample(self, generator: Generator) -> Tensor:
        """Draw by the exponential race: argmax of p / Exp(1).

        The race is run in blocks: of many actions, the noise of only one block is in memory.
        """
        heats = [race(block, generator) for block in self.logits.split(BLOCK, -1)]
        if len(heats) == 1:
            return heats[0][1]
        bests, winners = (torch.stack(each, -1) for each in zip(*heats, strict=True))
        block = bests.argmax(-1, keepdim=True)
        return (block * BLOCK + winners.gather(-1, block)).squeeze(-1)

    def sample_from(self, noise: Tensor) -> Tensor:
        """Return the winners of the race, [*B] int64."""
        return (self.logits - noise.log()).argmax(-1)

    def greedy(self) -> Tensor:
        """Return the most likely action, [*B] int64."""
        return self.logits.argmax(-1)

    def log_prob(self, actions: Tensor) -> Tensor:
        """Return log pi(a|s) of [*B] int64 actions."""
        return self.logprobs.gather(-1, actions.unsqueeze(-1)).squeeze(-1)

    def entropy(self) -> Tensor:
        """Return -sum p log p."""
        return -(self.logprobs.exp() * self.logprobs).sum(-1)

    def kl(self, other: Self) -> Tensor:
        """Return sum p (log p - log q)."""
        return (self.logprobs.exp() * (self.logprobs - other.logprobs)).sum(-1)


def race(logits: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
    """Return the highest of log(p / Exp(1)) for [*B, n] logits, and whose it is, [*B] each."""
    noise = torch.empty_like(logits).exponential_(generator=generator)
    # -log noise + logits are the same bits as logits - log noise
    best, winner = noise.log_().neg_().add_(logits.detach()).max(-1)
    return best, winner


class MultiCategorical:
    """A independent choices, choice k out of sizes[k]; `logits` [*B, sum of sizes]."""

    noise: Noise | None = "exponential"

    def __init__(self, logits: Tensor, sizes: tuple[int, ...]) -> None:
        """Split the logits."""
        self.sizes = sizes
        self.num_noise = logits.shape[-1]
        self.choices = [Categorical(part) for part in logits.split(sizes, -1)]

    def sample(self, generator: Generator) -> Tensor:
        """Draw [*B, A] int64."""
        return torch.stack([choice.sample(generator) for choice in self.choices], -1)

    def sample_from(self, noise: Tensor) -> Tensor:
        """Return [*B, A] int64."""
        parts = zip(self.choices, noise.split(self.sizes, -1), strict=True)
        return torch.stack([choice.sample_from(part) for choice, part in parts], -1)

    def greedy(self) -> Tensor:
        """Return the most likely choices, [*B, A]."""
        return torch.stack([choice.greedy() for choice in self.choices], -1)

    def log_prob(self, actions: Tensor) -> Tensor:
        """Return the summed log-probability of [*B, A] choices."""
        logprobs = [
            choice.log_prob(action)
            for choice, action in zip(self.choices, actions.unbind(-1), strict=True)
        ]
        return torch.stack(logprobs).sum(0)

    def entropy(self) -> Tensor:
        """Return the summed entropy."""
        return torch.stack([choice.entropy() for choice in self.choices]).sum(0)

    def kl(self, other: Self) -> Tensor:
        """Return the summed divergence."""
        pairs = zip(self.choices, other.choices, strict=True)
        return torch.stack([one.kl(another) for one, another in pairs]).sum(0)


class Bernoulli:
    """A independent bits; `logits` [*B, A] of a bit being 1."""

    noise: Noise | None = "uniform"

    def __init__(self, logits: Tensor) -> None:
        """Keep the logits."""
        self.logits = logits
        self.num_noise = logits.shape[-1]

    def sample(self, generator: Generator) -> Tensor:
        """Draw [*B, A] int64 bits."""
        return self.sample_from(torch.empty_like(self.logits).uniform_(generator=generator))

    def sample_from(self, noise: Tensor) -> Tensor:
        """Return [*B, A] int64 bits."""
        return (noise < self.logits.sigmoid()).long()

    def greedy(self) -> Tensor:
        """Return the most likely bits."""
        return (self.logits > 0).long()

    def log_prob(self, actions: Tensor) -> Tensor:
        """Return the summed log-probability of [*B, A] bits."""
        signs = 2 * actions - 1
        return logsigmoid(signs * self.logits).sum(-1)

    def entropy(self) -> Tensor:
        """Return the summed entropy."""
        probs = self.logits.sigmoid()
        return -(probs * logsigmoid(self.logits) + (1 - probs) * logsigmoid(-self.logits)).sum(-1)

    def kl(self, other: Self) -> Tensor:
        """Return the summed divergence."""
        ones = logsigmoid(self.logits) - logsigmoid(other.logits)
        zeros = logsigmoid(-self.logits) - logsigmoid(-other.logits)
        probs = self.logits.sigmoid()
        return (probs * ones + (1 - probs) * zeros).sum(-1)


class DiagonalGaussian:
    """A independent normals; `mean` [*B, A], `log_std` [A] or [*B, A]."""

    noise: Noise | None = "normal"

    def __init__(self, mean: Tensor, log_std: Tensor) -> None:
        """Keep mean and log standard deviation."""
        self.mean = mean
        self.num_noise = mean.shape[-1]
        self.log_std = log_std

    def sample(self, generator: Generator) -> Tensor:
        """Draw [*B, A] float32."""
        return self.sample_from(torch.empty_like(self.mean).normal_(generator=generator))

    def sample_from(self, noise: Tensor) -> Tensor:
        """Return [*B, A] float32."""
        return self.mean + self.log_std.exp() * noise

    def greedy(self) -> Tensor:
        """Return the mean."""
        return self.mean

    def std(self) -> Tensor:
        """Return the standard deviations, [A] or [*B, A]."""
        return self.log_std.exp()

    def log_prob(self, actions: Tensor) -> Tensor:
        """Return the summed log-density of [*B, A] actions as sampled, not as clipped."""
        z = (actions - self.mean) * (-self.log_std).exp()
        constant = self.log_std.sum(-1) + 0.5 * math.log(2 * math.pi) * self.log_std.shape[-1]
        return -0.5 * z.square().sum(-1) - constant

    def entropy(self) -> Tensor:
        """Return the summed differential entropy, which does not depend on the mean."""
        constant = 0.5 * math.log(2 * math.pi * math.e) * self.log_std.shape[-1]
        return (self.log_std.sum(-1) + constant).expand(self.mean.shape[:-1])

    def kl(self, other: Self) -> Tensor:
        """Return the summed divergence."""
        narrower = other.log_std - self.log_std
        moved = (self.mean - other.mean) * (-other.log_std).exp()
        return (narrower + 0.5 * ((-2 * narrower).exp() + moved.square() - 1)).sum(-1)


def output_of_log_std(log_std: float) -> float:
    """Return the output that `limit_log_std` maps to a log standard deviation within the limits."""
    above, below = log_std - LOG_STD_LOW, LOG_STD_HIGH - log_std
    return math.log(above / below) - math.log(-LOG_STD_LOW / LOG_STD_HIGH)


def limit_log_std(outputs: Tensor) -> Tensor:
    """Map [*B, A] outputs to log standard deviations within the limits, 0 to 0.

    By a sigmoid: beyond a hard limit there would be no gradient.
    """
    start = math.log(-LOG_STD_LOW / LOG_STD_HIGH)
    return LOG_STD_LOW + (LOG_STD_HIGH - LOG_STD_LOW) * (outputs + start).sigmoid()
