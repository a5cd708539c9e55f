"""Each operation by NumPy is the operator of torch whose name it has."""

from typing import Any

import numpy as np
import pytest
import torch

from distpg.policy.operations import OPERATIONS, Calculation
from distpg.records import Operation, Program, Register, Size

RNG = np.random.default_rng(0)
X = (3 * RNG.standard_normal((4, 6))).astype(np.float32)
Y = RNG.standard_normal((4, 6)).astype(np.float32)
WIDE = np.array([[-200, -30, -1e-4], [1e-4, 30, 200]], np.float32)
ROW = RNG.standard_normal(6).astype(np.float32)
SQUARE = RNG.standard_normal((6, 6)).astype(np.float32)
INDEX = RNG.integers(0, 6, (4, 2))
MASK = X > 0

CASES: list[tuple[Any, ...]] = [
    ("_log_softmax", X, -1, False),
    ("_log_softmax", WIDE, 1, False),
    ("_to_copy", X, "float64"),
    ("_to_copy", MASK, "float32"),
    ("_to_copy", MASK, "int64"),
    ("add.Tensor", X, ROW),
    ("add.Tensor", INDEX, 2),
    ("addmm", ROW, X, SQUARE),
    ("argmax", X, -1),
    ("argmax", np.zeros((3, 2), np.float32), -1),
    ("cat", (X, Y), -1),
    ("cat", (X, Y)),
    ("clamp", X, -1, 1),
    ("clamp", X, None, 0.5),
    ("clamp", X, 0.5),
    ("elu", WIDE),
    ("elu", X, 0.5),
    ("embedding", SQUARE, INDEX),
    ("eq.Scalar", INDEX, 2),
    ("eq.Tensor", INDEX, INDEX[:, :1]),
    ("exp", X),
    ("gather", X, -1, INDEX),
    ("gelu", X),
    ("gelu", WIDE),
    ("gelu", np.linspace(-6, 6, 999, dtype=np.float32)),
    ("gt.Scalar", X, 0),
    ("index_select", X, 1, INDEX[0]),
    ("leaky_relu", WIDE),
    ("leaky_relu", X, 0.5),
    ("log", np.abs(X)),
    ("log_sigmoid_forward", WIDE),
    ("lt.Tensor", X, Y),
    ("masked_fill.Scalar", X, MASK, float(np.finfo(np.float32).min)),
    ("mm", X, SQUARE),
    ("mul.Tensor", X, 2.0),
    ("neg", X),
    ("permute", X, (1, 0)),
    ("pow.Tensor_Scalar", X, 2),
    ("relu", X),
    ("rsqrt", np.abs(X)),
    ("rsub.Scalar", X, 1),
    ("select.int", X, 1, 2),
    ("select.int", X, -1, 5),
    ("sigmoid", WIDE),
    ("silu", WIDE),
    ("softplus", WIDE),
    ("split.Tensor", X, 2, -1),
    ("split.Tensor", X, 4, 1),
    ("split_with_sizes", X, (1, 3, 2), -1),
    ("squeeze.dim", X[:, :1], -1),
    ("squeeze.dim", X, -1),
    ("stack", (X, Y), -1),
    ("stack", (X, Y)),
    ("sub.Tensor", X, ROW),
    ("sum.dim_IntList", X, (-1,)),
    ("sum.dim_IntList", X, (0,), True),
    ("t", X),
    ("tanh", WIDE),
    ("unbind.int", X, -1),
    ("unbind.int", X),
    ("unsqueeze", X, -1),
    ("view", X, (-1, 3)),
]


def to_torch(argument: Any) -> Any:
    if isinstance(argument, np.ndarray):
        return torch.from_numpy(argument)
    if isinstance(argument, tuple):
        return [to_torch(each) for each in argument]
    return argument


def of_torch(name: str, *arguments: Any) -> list[np.ndarray]:
    """Call torch's operator; return all results but the buffer of log_sigmoid."""
    if name == "_to_copy":
        x, dtype = arguments
        return [to_torch(x).to(getattr(torch, dtype)).numpy()]
    operator, _, overload = name.partition(".")
    call = getattr(getattr(torch.ops.aten, operator), overload or "default")
    result = call(*map(to_torch, arguments))
    results = list(result) if isinstance(result, list | tuple) else [result]
    return [each.numpy() for each in results][: 1 if "log_sigmoid" in name else None]


def test_every_operation_has_a_case() -> None:
    assert {name for name, *_ in CASES} == OPERATIONS.keys() - {"getitem"}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0])
def test_it_is_what_torch_computes(case: tuple[Any, ...]) -> None:
    name, *arguments = case
    found = OPERATIONS[name](*arguments)
    results = list(found) if isinstance(found, list | tuple) else [found]
    for one, other in zip(results, of_torch(name, *arguments), strict=False):
        assert one.dtype == other.dtype
        np.testing.assert_allclose(one, other, rtol=2e-6, atol=2e-6)


def test_what_depends_on_the_weights_alone_is_computed_once_and_sizes_follow_the_batch() -> None:
    """It doubles x W' + 1 and splits it, for any number of rows; W' is computed beforehand."""
    program = Program(
        inputs={"x": 0},
        arguments=(1,),
        weights={"w": 2},
        constants={3: np.ones((), np.float32)},
        operations=(
            Operation("t", (Register(2),), 4),
            Operation("mm", (Register(0), Register(4)), 5),
            Operation("add.Tensor", (Register(5), Register(3)), 6),
            Operation("stack", ((Register(6), Register(1)), -1), 7),
            Operation("view", (Register(7), (Size.ROWS, 4)), 8),
            Operation("split.Tensor", (Register(8), 2, 1), 9),
            Operation("getitem", (Register(9), 1), 10),
        ),
        results=(8, 10),
        num_registers=11,
    )
    weights = {"w": np.array([[1, 0], [0, 2]], np.float32)}
    for rows in (1, 3):
        calculation = Calculation(program, weights, rows)
        assert len(calculation.steps) == len(program.operations) - 1
        x = np.arange(2 * rows, dtype=np.float32).reshape(rows, 2)
        whole, half = calculation({"x": x}, -x)
        expected = [[a + 1, -a, 2 * b + 1, -b] for a, b in x.tolist()]
        assert whole.tolist() == expected
        assert half.tolist() == [row[2:] for row in expected]
