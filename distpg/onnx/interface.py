"""Names, types and shapes of what an exported policy takes and returns."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from distpg.policy.greedy import STATE, GreedyPolicy
from distpg.policy.trace import examples

ROWS = 3
"""Batch size of the inputs that a policy is traced with."""


@dataclass(frozen=True)
class Port:
    """An input or an output; its first axis is the batch."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    """Without the batch."""

    def __str__(self) -> str:
        """Describe it in a few words."""
        return f"{self.name}: [{', '.join(map(str, ('batch', *self.shape)))}] {self.dtype}"


@dataclass(frozen=True)
class Interface:
    """What an exported policy takes and returns, in order."""

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]


def example_inputs(policy: GreedyPolicy) -> tuple[Tensor, ...]:
    """Make inputs of a batch."""
    leaves = examples(policy.policy.obs_spec, ROWS).values()
    state = torch.zeros(ROWS, policy.policy.recurrent_state_size)
    return (*leaves, state) if policy.is_recurrent else tuple(leaves)


def interface_of(policy: GreedyPolicy) -> Interface:
    """Return the interface of a policy.

    Leaves of the observation keep their names. Another input or output that has the name of one
    gets underscores at its end: in an ONNX file names are unique.
    """
    inputs = example_inputs(policy)
    with torch.no_grad():
        outputs = policy(*inputs)
    names = [*policy.leaves, *([STATE] if policy.is_recurrent else [])]
    own = unique((*names[len(policy.leaves) :], *outputs), policy.leaves)
    given = zip((*policy.leaves, *own), (*inputs, *outputs.values()), strict=True)
    ports = [port_of(name, tensor) for name, tensor in given]
    return Interface(tuple(ports[: len(inputs)]), tuple(ports[len(inputs) :]))


def unique(names: Iterable[str], taken: Iterable[str]) -> list[str]:
    """Return names, with underscores after those that are taken."""
    known, free = set(taken), list[str]()
    for name in names:
        while name in known:
            name += "_"
        known.add(name)
        free.append(name)
    return free


def port_of(name: str, batch: Tensor) -> Port:
    """Describe a batch of values."""
    return Port(name, str(batch.dtype).removeprefix("torch."), tuple(batch.shape[1:]))
