"""Means over the minibatches of an update, added up on the device and read once."""

from collections.abc import Mapping

import torch
from torch import Tensor


class Means:
    """Averages of named scalars, weighted by the number of samples behind each."""

    def __init__(self) -> None:
        """Start from nothing."""
        self.weight = 0
        self.sums: dict[str, Tensor] = {}

    def add(self, terms: Mapping[str, Tensor], weight: int) -> None:
        """Add scalar tensors that stand for `weight` samples."""
        for name, term in terms.items():
            self.sums[name] = self.sums.get(name, 0) + term.detach() * weight
        self.weight += weight

    def read(self) -> dict[str, float]:
        """Return the means, in one transfer."""
        if not self.sums:
            return {}
        means = (torch.stack(list(self.sums.values())) / self.weight).tolist()
        return dict(zip(self.sums, means, strict=True))
