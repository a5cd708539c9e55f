"""Means over the minibatches of an update, kept on the device until they are read once."""

from collections.abc import Mapping

import torch
from torch import Tensor


class Means:
    """Averages of named scalars, weighted by the number of samples behind each."""

    def __init__(self) -> None:
        """Start without minibatches."""
        self.terms: dict[str, list[Tensor]] = {}
        self.weights: list[int] = []

    def add(self, terms: Mapping[str, Tensor], weight: int) -> None:
        """Add [] tensors by name, the same names each time, computed from `weight` samples."""
        for name, term in terms.items():
            self.terms.setdefault(name, []).append(term)
        self.weights.append(weight)

    def read(self) -> dict[str, float]:
        """Return the means, with one transfer from the device."""
        if not self.terms:
            return {}
        rows = torch.stack([torch.stack(terms) for terms in self.terms.values()])
        weights = rows.new_tensor(self.weights)
        means = (rows @ weights / weights.sum()).tolist()
        return dict(zip(self.terms, means, strict=True))
