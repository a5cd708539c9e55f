"""Means over the minibatches of an update, kept on the device and read once."""

from collections.abc import Mapping

import torch
from torch import Tensor


class Means:
    """Averages of named scalars, weighted by the number of samples behind each."""

    def __init__(self) -> None:
        """Start from nothing."""
        self.terms: dict[str, list[Tensor]] = {}
        self.weights: list[int] = []

    def add(self, terms: Mapping[str, Tensor], weight: int) -> None:
        """Take in scalar constants, always of the same names, that stand for `weight` samples."""
        for name, term in terms.items():
            self.terms.setdefault(name, []).append(term)
        self.weights.append(weight)

    def read(self) -> dict[str, float]:
        """Return the means, in one transfer."""
        if not self.terms:
            return {}
        rows = torch.stack([torch.stack(terms) for terms in self.terms.values()])
        weights = rows.new_tensor(self.weights)
        means = (rows @ weights / weights.sum()).tolist()
        return dict(zip(self.terms, means, strict=True))
