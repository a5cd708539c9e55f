"""Trace what a policy computes to act, so that `policy/operations.py` can repeat it by NumPy."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from distpg.policy.actor_critic import Policy
from distpg.policy.architecture import Architecture
from distpg.policy.distributions import BLOCK
from distpg.policy.operations import OPERATIONS, UNCHANGED, Calculation
from distpg.records import ActingPrograms, Operation, Program, Register, Size
from distpg.spaces import ActionSpec, Leaf, ObsSpec

ROWS = (5, 7)
"""Batch sizes of two traces: a size that is 5 in one and 7 in the other is that of the batch."""
CHECK_ROWS = 3
"""Batch size at which a program is compared with the policy."""
TOLERANCE = 1e-4
ARITHMETIC = {"add.Tensor", "mul.Tensor", "sub.Tensor"}
"""Operators whose operands torch casts to the dtype of the result."""
Tensors = Mapping[str, Tensor]
Function = Callable[..., tuple[Tensor, ...]]
"""Of {leaf: [B, *O]} and further tensors [B, ...]."""


class UntraceableError(Exception):
    """NumPy cannot repeat a computation; the message says what."""


class Recorder(TorchDispatchMode):
    """Records each operator that torch calls, with a register for each tensor."""

    def __init__(self) -> None:
        """Start without registers."""
        super().__init__()
        self.count = 0
        self.registers: dict[int, int] = {}
        """By id of a tensor."""
        self.kept: list[Tensor] = []
        """Tensors that are kept alive, so that no other has the id of one."""
        self.constants: dict[int, np.ndarray] = {}
        self.operations: list[Operation] = []

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Say that torch.compile need not be kept out, which would import it."""
        return False

    def new(self, tensor: Tensor | None = None) -> int:
        """Return another register, for a tensor or for several."""
        if tensor is not None:
            self.kept.append(tensor)
            self.registers[id(tensor)] = self.count
        self.count += 1
        return self.count - 1

    def number_of(self, tensor: Tensor) -> int:
        """Return the register of a tensor; one that no operator returned is a constant."""
        if id(tensor) not in self.registers:
            self.constants[self.new(tensor)] = tensor.numpy().copy()
        return self.registers[id(tensor)]

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Call an operator, and record it if it depends on a tensor."""
        options: dict[str, Any] = dict(kwargs or {})
        returned = func(*args, **options)
        if not any(isinstance(each, Tensor) for each in entries(args)):
            return returned
        name = str(func).removeprefix("aten.").removesuffix(".default")
        if name in UNCHANGED:
            self.kept.append(returned)
            self.registers[id(returned)] = self.number_of(args[0])
            return returned
        if name == "_to_copy":
            args, options = (args[0], str(returned.dtype).removeprefix("torch.")), {}
        if func._schema.is_mutable or name not in OPERATIONS or options:
            raise UntraceableError(f"the operator {name}")
        if name in ARITHMETIC:
            args = tuple(self.cast(each, returned.dtype) for each in args)
        arguments = tuple(self.recorded(argument) for argument in args)
        if isinstance(returned, Tensor):
            self.operations.append(Operation(name, arguments, self.new(returned)))
            return returned
        several = self.new()
        self.operations.append(Operation(name, arguments, several))
        for k, tensor in enumerate(returned):
            one = Operation("getitem", (Register(several), k), self.new(tensor))
            self.operations.append(one)
        return returned

    def cast(self, argument: Any, dtype: torch.dtype) -> Any:
        """Record a cast of a tensor of another dtype, which NumPy would widen."""
        if not isinstance(argument, Tensor) or argument.dtype == dtype:
            return argument
        cast = argument.to(dtype)
        arguments = (self.recorded(argument), str(dtype).removeprefix("torch."))
        self.operations.append(Operation("_to_copy", arguments, self.new(cast)))
        return cast

    def recorded(self, argument: Any) -> Any:
        """Return an argument with registers in place of tensors."""
        if isinstance(argument, Tensor):
            return Register(self.number_of(argument))
        if isinstance(argument, list | tuple):
            return tuple(self.recorded(each) for each in argument)
        return argument


def entries(arguments: Any) -> list[Any]:
    """Return what nested lists and tuples hold."""
    if not isinstance(arguments, list | tuple):
        return [arguments]
    return [entry for each in arguments for entry in entries(each)]


def record(function: Function, weights: Tensors, obs: Tensors, *others: Tensor) -> Program:
    """Return a function as a program for inputs of the size of these."""
    recorder = Recorder()
    inputs = {name: recorder.new(leaf) for name, leaf in obs.items()}
    arguments = tuple(recorder.new(other) for other in others)
    numbers = {name: recorder.new(tensor) for name, tensor in weights.items()}
    # without gradients, the policy itself calls NumPy
    with torch.enable_grad(), recorder:
        results = function(obs, *others)
    registers = tuple(map(recorder.number_of, results))
    return Program(
        inputs=inputs,
        arguments=arguments,
        weights=numbers,
        results=registers,
        constants=recorder.constants,
        operations=needed(recorder.operations, registers),
        num_registers=recorder.count,
    )


def needed(operations: Sequence[Operation], results: Iterable[int]) -> tuple[Operation, ...]:
    """Return the operations that registers depend on."""
    wanted, kept = set(results), list[Operation]()
    for operation in reversed(operations):
        if operation.result in wanted:
            kept.append(operation)
            arguments = entries(operation.arguments)
            wanted.update(each.number for each in arguments if isinstance(each, Register))
    return tuple(reversed(kept))


def of_any_size(one: Program, other: Program) -> Program:
    """Return a program for any batch size from those for two sizes.

    Raises:
        UntraceableError: they differ in more than the number of rows.
    """
    same = len(one.operations) == len(other.operations) and all(
        number in other.constants and np.array_equal(array, other.constants[number])
        for number, array in one.constants.items()
    )
    if not same:
        raise UntraceableError("a computation that depends on the batch size")
    operations = tuple(
        Operation(*unified(tuple(a), tuple(b)))
        for a, b in zip(one.operations, other.operations, strict=True)
    )
    return replace(one, operations=operations)


def unified(one: Any, other: Any) -> Any:
    """Return what two arguments have in common, with `Size.ROWS` for the batch size."""
    if not isinstance(one, tuple):
        if (one, other) == ROWS:
            return Size.ROWS
        if one != other:
            raise UntraceableError(f"the sizes {one} and {other} for {ROWS} rows")
        return one
    if not isinstance(other, tuple) or len(one) != len(other):
        raise UntraceableError("a computation that depends on the batch size")
    return tuple(unified(a, b) for a, b in zip(one, other, strict=True))


@lru_cache(maxsize=16)
def acting_programs(
    obs_spec: ObsSpec, action_spec: ActionSpec, parts: Architecture, dtype: torch.dtype
) -> ActingPrograms:
    """Trace the policy of an architecture; `dtype` is torch's default dtype.

    Raises:
        UntraceableError: it has a recurrent layer, a user-defined encoder, or an operator that
            `policy/operations.py` lacks.
    """
    if parts.recurrent != "none" or parts.encoder is not None:
        raise UntraceableError("a recurrent layer or a user-defined encoder")
    with torch.random.fork_rng(devices=[]):
        policy = Policy(obs_spec, action_spec, parts).requires_grad_(False)
    weights = dict(policy.state_dict(keep_vars=True))

    def outputs(obs: Tensors) -> Tensor:
        return policy.outputs(policy.features(policy.normalizer(obs)), obs)

    def sample(obs: Tensors, noise: Tensor) -> tuple[Tensor, ...]:
        head = outputs(obs)
        return policy.distribution_of(head).sample_from(noise), head

    def greedy(obs: Tensors) -> tuple[Tensor, ...]:
        head = outputs(obs)
        return policy.distribution_of(head).greedy(), head

    def log_prob(_: Tensors, actions: Tensor, head: Tensor) -> tuple[Tensor, ...]:
        return (policy.distribution_of(head).log_prob(actions),)

    with torch.no_grad():
        head = outputs(examples(obs_spec, 1))
    distribution = policy.distribution_of(head)
    if distribution.noise is None or distribution.num_noise > BLOCK:
        raise UntraceableError(f"sampling by {type(distribution).__name__}")

    def traced(function: Function, inputs: Callable[[int], tuple[Any, ...]]) -> Program:
        one, other = (record(function, weights, *inputs(rows)) for rows in ROWS)
        program = of_any_size(one, other)
        compare(program, function, policy, inputs(CHECK_ROWS))
        return program

    def noise(rows: int) -> Tensor:
        # positive, as all noise may be
        return torch.rand(rows, distribution.num_noise) + 0.1

    def taken(rows: int) -> tuple[Any, ...]:
        obs = examples(obs_spec, rows)
        with torch.no_grad():
            return {}, *sample(obs, noise(rows))

    with torch.random.fork_rng(devices=[]):
        return ActingPrograms(
            sample=traced(sample, lambda rows: (examples(obs_spec, rows), noise(rows))),
            greedy=traced(greedy, lambda rows: (examples(obs_spec, rows),)),
            log_prob=traced(log_prob, taken),
            noise=distribution.noise,
            num_noise=distribution.num_noise,
            noise_steps=policy.noise_steps,
        )


def examples(spec: ObsSpec, rows: int) -> dict[str, Tensor]:
    """Make observations that a policy can take, {leaf: [rows, *O]}."""
    return {leaf.name: example(leaf, rows) for leaf in spec.leaves}


def example(leaf: Leaf, rows: int) -> Tensor:
    """Make a leaf of observations, [rows, *O]."""
    rng, shape = np.random.default_rng(rows), (rows, *leaf.shape)
    if leaf.kind == "mask":
        values = np.ones(shape)
    elif leaf.kind == "categories":
        starts = np.reshape(leaf.starts, leaf.shape)
        values = rng.integers(starts, starts + np.reshape(leaf.sizes, leaf.shape), shape)
    else:
        values = rng.uniform(0, 2, shape)
    return torch.from_numpy(values.astype(leaf.dtype))


def compare(program: Program, function: Function, policy: Policy, inputs: tuple[Any, ...]) -> None:
    """Compare a program with the function that it was made from, with other weights.

    Raises:
        UntraceableError: they differ.
    """
    obs, *others = inputs
    with torch.no_grad():
        for tensor in policy.state_dict().values():
            # small, so that the sums of a wide network stay finite
            tensor.add_(0.05 * torch.rand(tensor.shape, dtype=tensor.dtype))
        expected = function(obs, *others)
    arrays = {name: tensor.numpy() for name, tensor in policy.state_dict().items()}
    rows = len(next(iter([*obs.values(), *others])))
    try:
        calculation = Calculation(program, arrays, rows)
        found = calculation({k: v.numpy() for k, v in obs.items()}, *(x.numpy() for x in others))
    except (IndexError, TypeError, ValueError) as error:
        raise UntraceableError(f"a computation: {error}") from error
    for one, other in zip(found, expected, strict=True):
        same = np.allclose(one, other.numpy(), rtol=TOLERANCE, atol=TOLERANCE)
        if not same or one.dtype != other.numpy().dtype:
            raise UntraceableError("a computation that NumPy does not repeat")
