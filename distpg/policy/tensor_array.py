"""Tensors that NumPy's functions accept, so that what is written in NumPy can be exported.

The way from sampled actions to the environment's is NumPy (`policy/action_units.py`,
`ActionSpec.to_env`). Given a `TensorArray` the same functions compute by torch.
"""

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.lib.mixins import NDArrayOperatorsMixin
from torch import Tensor

BY_TORCH: dict[np.ufunc, Callable[..., Tensor]] = {
    np.add: operator.add,
    np.subtract: operator.sub,
    np.multiply: operator.mul,
    np.divide: operator.truediv,
    np.minimum: torch.minimum,
    np.maximum: torch.maximum,
    np.tanh: torch.tanh,
}


class TensorArray(NDArrayOperatorsMixin):
    """A tensor with the part of NumPy's interface that those functions use."""

    def __init__(self, tensor: Tensor) -> None:
        """Wrap a tensor."""
        self.tensor = tensor

    @property
    def shape(self) -> tuple[int, ...]:
        """The sizes of the axes."""
        return self.tensor.shape

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any) -> "TensorArray":
        """Apply an elementwise function of NumPy."""
        assert method == "__call__", f"{method} of {ufunc} is not elementwise"
        return TensorArray(BY_TORCH[ufunc](*map(as_operand, inputs)))

    def astype(self, dtype: Any, *, copy: bool = True) -> "TensorArray":
        """Convert to a dtype of NumPy."""
        return TensorArray(self.tensor.to(getattr(torch, np.dtype(dtype).name), copy=copy))

    def reshape(self, *shape: int) -> "TensorArray":
        """Return the same numbers in another shape."""
        return TensorArray(self.tensor.reshape(shape))


def as_operand(value: Any) -> Any:
    """Return what torch computes with: a tensor for an array, a number as it is."""
    if isinstance(value, TensorArray):
        return value.tensor
    return torch.tensor(value) if isinstance(value, np.ndarray) else value
