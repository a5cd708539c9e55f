"""Means over the minibatches of an update, kept on the device until they are read once."""

from collections.abc import Sequence

import torch
from torch import Tensor


class Means:
    """Averages of named scalars, weighted by the number of samples behind each."""

    def __init__(self, names: Sequence[str]) -> None:
        """Start without minibatches."""
        self.names = names
        self.rows: list[Tensor] = []
        self.weights: list[int] = []

    def add(self, row: Tensor, weight: int) -> None:
        """Add the scalars, [K], in the order of the names, computed from `weight` samples."""
        self.rows.append(row)
        self.weights.append(weight)

    def read(self) -> dict[str, float]:
        """Return the means, with one transfer from the device."""
        if not self.rows:
            return {}
        rows = torch.stack(self.rows)
        weights = rows.new_tensor(self.weights)
        means = (weights @ rows / weights.sum()).tolist()
        return dict(zip(self.names, means, strict=True))
