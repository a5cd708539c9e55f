"""Run a traced policy by NumPy: each elementary operation of torch as a function of arrays.

The names and arguments are those of torch's ATen operators, as `policy/trace.py` records them.
"""

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from distpg.records import Program, Register, Size

Array = Any
"""A NumPy array or a number."""
ERFC = (1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592)
"""Coefficients of the polynomial in 1 / (1 + 0.3275911 z) that times exp(-z^2) is 1 - erf(z)."""


def clamp(x: Array, low: Array = None, high: Array = None) -> Array:
    """Limit to [low, high], either of which may be None."""
    if low is not None:
        x = np.maximum(x, low)
    return x if high is None else np.minimum(x, high)


def addmm(bias: Array, left: Array, right: Array) -> Array:
    """Return bias + left @ right."""
    product = left @ right
    product += bias
    return product


def relu(x: Array) -> Array:
    """Return max(x, 0)."""
    return np.maximum(x, 0)


def sigmoid(x: Array) -> Array:
    """Return 1 / (1 + exp(-x)), without overflow."""
    return 0.5 * np.tanh(0.5 * x) + 0.5


def silu(x: Array) -> Array:
    """Return x * sigmoid(x)."""
    return x * sigmoid(x)


def elu(x: Array, alpha: float = 1.0) -> Array:
    """Return x where it is positive, else alpha * (exp(x) - 1)."""
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


def leaky_relu(x: Array, slope: float = 0.01) -> Array:
    """Return x where it is positive, else slope * x."""
    return np.where(x > 0, x, slope * x)


def gelu(x: Array) -> Array:
    """Return x * Phi(x), Phi the distribution function of the standard normal, within 1.5e-7.

    NumPy has no erf: this is 7.1.26 of Abramowitz and Stegun 1964.
    """
    z = np.abs(x) * math.sqrt(0.5)
    t = 1 / (1 + 0.3275911 * z)
    tail = np.zeros_like(x)
    for coefficient in ERFC:
        tail = (tail + coefficient) * t
    tail *= 0.5 * np.exp(-z * z)
    return x * np.where(x > 0, 1 - tail, tail)


def softplus(x: Array) -> Array:
    """Return log(1 + exp(x)), without overflow."""
    return np.logaddexp(x, 0)


def log_sigmoid(x: Array) -> tuple[Array, None]:
    """Return log(sigmoid(x)), and nothing in place of torch's buffer."""
    return -np.logaddexp(0, -x), None


def log_softmax(x: Array, dim: int, half_to_float: bool = False) -> Array:
    """Return x - log(sum(exp(x))) along an axis."""
    shifted = x - x.max(dim, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(dim, keepdims=True))


def total(x: Array, dim: Sequence[int], keepdim: bool = False) -> Array:
    """Sum over axes, in the dtype of x."""
    return x.sum(tuple(dim), keepdims=keepdim, dtype=x.dtype)


def argmax(x: Array, dim: int, keepdim: bool = False) -> Array:
    """Return where the first maximum is along an axis."""
    return x.argmax(dim, keepdims=keepdim)


def gather(x: Array, dim: int, index: Array) -> Array:
    """Take the entries of an index along an axis."""
    return np.take_along_axis(x, index, dim)


def squeeze(x: Array, dim: int) -> Array:
    """Remove an axis of length 1; leave another as it is."""
    return x.squeeze(dim) if x.shape[dim] == 1 else x


def split(x: Array, sizes: int | Sequence[int], dim: int = 0) -> list[Array]:
    """Split an axis into parts of one size, or of the given sizes."""
    length = x.shape[dim]
    if isinstance(sizes, int):
        sizes = [min(sizes, length - start) for start in range(0, length, sizes)]
    before = (slice(None),) * (dim % x.ndim)
    # np.split takes ten times as long
    return [x[*before, slice(*ends)] for ends in pairwise(accumulate(sizes, initial=0))]


def unbind(x: Array, dim: int = 0) -> list[Array]:
    """Return the entries along an axis."""
    return [x.take(k, dim) for k in range(x.shape[dim])]


def cast(x: Array, dtype: str) -> Array:
    """Convert to a dtype."""
    return x.astype(dtype)


def embedding(rows: Array, index: Array) -> Array:
    """Take the rows of an index."""
    return rows[index]


def index_select(x: Array, dim: int, index: Array) -> Array:
    """Take several entries along an axis."""
    return x.take(index, dim)


def masked_fill(x: Array, mask: Array, value: float) -> Array:
    """Put a value where the mask is true."""
    return np.where(mask, np.asarray(value, x.dtype), x)


def rsub(x: Array, y: Array) -> Array:
    """Return y - x."""
    return y - x


def rsqrt(x: Array) -> Array:
    """Return 1 / sqrt(x)."""
    return 1 / np.sqrt(x)


def select(x: Array, dim: int, index: int) -> Array:
    """Take one entry along an axis."""
    return x.take(index, dim)


OPERATIONS: Mapping[str, Callable[..., Any]] = {
    "_log_softmax": log_softmax,
    "_to_copy": cast,
    "add.Tensor": np.add,
    "addmm": addmm,
    "argmax": argmax,
    "cat": np.concatenate,
    "clamp": clamp,
    "elu": elu,
    "embedding": embedding,
    "eq.Scalar": np.equal,
    "eq.Tensor": np.equal,
    "exp": np.exp,
    "gather": gather,
    "gelu": gelu,
    "getitem": operator.getitem,
    "gt.Scalar": np.greater,
    "index_select": index_select,
    "leaky_relu": leaky_relu,
    "log": np.log,
    "log_sigmoid_forward": log_sigmoid,
    "lt.Tensor": np.less,
    "masked_fill.Scalar": masked_fill,
    "mm": np.matmul,
    "mul.Tensor": np.multiply,
    "neg": np.negative,
    "permute": np.transpose,
    # np.power has no short way for squares
    "pow.Tensor_Scalar": operator.pow,
    "relu": relu,
    "rsqrt": rsqrt,
    "rsub.Scalar": rsub,
    "select.int": select,
    "sigmoid": sigmoid,
    "silu": silu,
    "softplus": softplus,
    "split.Tensor": split,
    "split_with_sizes": split,
    "squeeze.dim": squeeze,
    "stack": np.stack,
    "sub.Tensor": np.subtract,
    "sum.dim_IntList": total,
    "t": np.transpose,
    "tanh": np.tanh,
    "unbind.int": unbind,
    "unsqueeze": np.expand_dims,
    "view": np.reshape,
}
"""By the operator's name; a trace with another one cannot be run."""
UNCHANGED = {"alias", "clone", "contiguous", "detach", "lift_fresh"}
"""Operators that return what they are given."""


@cache
def use_one_thread() -> None:
    """Have NumPy multiply matrices on one thread, as in every process that acts."""
    threadpool_limits(1, user_api="blas")


class Calculation:
    """A program with the policy's weights, for batches of one size."""

    def __init__(self, program: Program, weights: Mapping[str, np.ndarray], rows: int) -> None:
        """Compute what depends on the weights alone, once."""
        self.inputs = program.inputs
        self.arguments = program.arguments
        self.results = program.results
        self.values: list[Any] = [None] * program.num_registers
        """By register; then the arguments of operations that are no registers."""
        self.steps: list[tuple[Callable[..., Any], list[int], int]] = []
        """Functions, the places of their arguments in `values`, and that of the result."""
        for name, number in program.weights.items():
            self.values[number] = weights[name]
        for number, array in program.constants.items():
            self.values[number] = array
        known = {*program.weights.values(), *program.constants}
        first: list[tuple[Callable[..., Any], list[int], int]] = []
        for operation in program.operations:
            function = OPERATIONS[operation.name]
            arguments = operation.arguments
            if arguments and isinstance(arguments[0], tuple):
                function = joined(function, len(arguments[0]))
                arguments = (*arguments[0], *arguments[1:])
            places = [self._place(argument, rows) for argument in arguments]
            step = function, places, operation.result
            if all(at in known or at >= program.num_registers for at in places):
                first.append(step)
                known.add(operation.result)
            else:
                self.steps.append(step)
        self._run(first)

    def _place(self, argument: Any, rows: int) -> int:
        if isinstance(argument, Register):
            return argument.number
        self.values.append(with_rows(argument, rows))
        return len(self.values) - 1

    def __call__(self, obs: Mapping[str, np.ndarray], *others: np.ndarray) -> list[np.ndarray]:
        """Return the results for {leaf: [B, *O]} and what else the program takes, [B, ...]."""
        values = self.values
        for name, number in self.inputs.items():
            values[number] = obs[name]
        for number, other in zip(self.arguments, others, strict=True):
            values[number] = other
        self._run(self.steps)
        return [values[number] for number in self.results]

    def _run(self, steps: Sequence[tuple[Callable[..., Any], list[int], int]]) -> None:
        values = self.values
        # as torch computes, whatever an environment has set by np.seterr
        with np.errstate(all="ignore"):
            for function, places, result in steps:
                values[result] = function(*[values[at] for at in places])


def joined(function: Callable[..., Any], count: int) -> Callable[..., Any]:
    """Return a function that takes the entries of its first argument one by one."""
    return lambda *values: function(values[:count], *values[count:])


def with_rows(argument: Any, rows: int) -> Any:
    """Put a number of rows in place of ROWS."""
    if isinstance(argument, tuple):
        return tuple(with_rows(each, rows) for each in argument)
    return rows if argument is Size.ROWS else argument
