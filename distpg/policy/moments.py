"""Running mean and variance, merged batch by batch (Chan et al. 1979)."""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor


@dataclass(frozen=True)
class Moments:
    """Count, mean and variance of the values so far, in float64."""

    count: Tensor
    """[]"""
    mean: Tensor
    """[*O]"""
    variance: Tensor
    """[*O]"""

    @classmethod
    def of_nothing(cls, shape: tuple[int, ...] = ()) -> Self:
        """Return those of no data: mean 0 and variance 1, which scale nothing."""
        zeros, ones = (torch.full(shape, x, dtype=torch.float64) for x in (0.0, 1.0))
        return cls(torch.zeros((), dtype=torch.float64), zeros, ones)

    def merged(self, values: Tensor) -> Self:
        """Return the moments with [B, *O] more values; B may be 0."""
        if not len(values):
            return self
        fresh = values.double()
        total = self.count + len(fresh)
        delta = fresh.mean(0) - self.mean
        between = delta.square() * self.count * len(fresh) / total
        moment = self.variance * self.count + fresh.var(0, correction=0) * len(fresh) + between
        return type(self)(total, self.mean + delta * len(fresh) / total, moment / total)
