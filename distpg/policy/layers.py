"""Layers that several networks share, and their initialization."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

Layer = TypeVar("Layer", nn.Linear, nn.Conv2d)


def orthogonal(layer: Layer, gain: float = math.sqrt(2)) -> Layer:
    """Initialize a layer's weight orthogonally and its bias, if it has one, to 0."""
    nn.init.orthogonal_(layer.weight, gain)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def initialize_by_default(module: nn.Module) -> None:
    """Initialize the weights and biases of a module's layers as torch does by default."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d | nn.GRU | nn.LSTM):
            layer.reset_parameters()


def tanh(values: Tensor) -> Tensor:
    """Hyperbolic tangent; without gradient on a CPU by NumPy, in place, 6 times as fast."""
    if not torch.is_grad_enabled() and values.device.type == "cpu":
        array = values.numpy()
        np.tanh(array, out=array)
        return values
    return values.tanh()


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": tanh,
    "relu": functional.relu,
    "elu": functional.elu,
    "silu": functional.silu,
    "gelu": functional.gelu,
    "leaky_relu": functional.leaky_relu,
}


class MLP(nn.ModuleList):
    """Linear layers, each followed by the activation, [*B, I] -> [*B, F]."""

    def __init__(
        self,
        num_inputs: int,
        hidden_sizes: Sequence[int],
        activation: str,
        first: nn.Linear | None = None,
    ) -> None:
        """Make a layer for each size, but the first one if it is given."""
        given = [] if first is None else [first]
        sizes = (num_inputs, *hidden_sizes)[len(given) :]
        super().__init__([*given, *(orthogonal(nn.Linear(*pair)) for pair in pairwise(sizes))])
        self.num_features = sizes[-1]
        self.activation = ACTIVATIONS[activation]

    def forward(self, values: Tensor) -> Tensor:
        """Apply the layers."""
        for layer in self:
            assert isinstance(layer, nn.Linear)
            # calling a module costs as much as a small layer
            values = self.activation(functional.linear(values, layer.weight, layer.bias))
        return values

    def after_first(self, sums: Tensor) -> Tensor:
        """Apply all layers but the first, whose sums [*B, F] are given."""
        values = self.activation(sums)
        for layer in list(self)[1:]:
            assert isinstance(layer, nn.Linear)
            values = self.activation(functional.linear(values, layer.weight, layer.bias))
        return values
