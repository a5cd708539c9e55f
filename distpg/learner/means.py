"""Means over the minibatches of an update, kept on the device and read once."""

from collections.abc import Mapping

import torch
from torch import Tensor


class Means:
    """Averages of named scalars, weighted by the number of samples behind each."""

    def __init__(self) -> None:
        """Start from nothing."""
        self.names: list[str] = []
        self.rows: list[Tensor] = []
        self.weights: list[int] = []

    def add(self, terms: Mapping[str, Tensor], weight: int) -> None:
        """Take in scalar tensors, always of the same names, that stand for `weight` samples."""
        self.names = list(terms)
        self.rows.append(torch.stack([term.detach() for term in terms.values()]))
        self.weights.append(weight)

    def read(self) -> dict[str, float]:
        """Return the means, in one transfer."""
        if not self.rows:
            return {}
        rows = torch.stack(self.rows)
        weights = rows.new_tensor(self.weights)
        means = (weights @ rows / weights.sum()).tolist()
        return dict(zip(self.names, means, strict=True))
