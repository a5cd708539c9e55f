"""Samples of a batch, and the order in which the epochs visit them."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from distpg.streams import Stream, stream_seeds

CHUNK = 8192
"""Observations of one forward pass over a batch."""


@dataclass(frozen=True)
class Rows:
    """Tensors, or tensors by name, that have the samples on their first axis."""

    def __getitem__(self, rows: Tensor) -> Self:
        """Take some rows of each."""
        taken: dict[str, Any] = {}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            by_name = isinstance(value, dict)
            taken[field.name] = {n: x[rows] for n, x in value.items()} if by_name else value[rows]
        return type(self)(**taken)


@dataclass(frozen=True)
class Samples(Rows):
    """The B valid steps of a batch, or those of a minibatch."""

    obs: dict[str, Tensor]
    """{leaf: [B, *O]} normalized"""
    actions: Tensor
    """[B] or [B, A]"""
    logprobs: Tensor
    """[B] of the policy that acted"""
    values: Tensor
    """[B] V before the update; zeros without a critic"""
    envs: Tensor
    """[B] int64 env of the batch that each came from; slot s has those from s * num_envs on"""
    parameters: Tensor
    """[B, P] of the policy's distributions before the update"""

    def __len__(self) -> int:
        """Count the samples."""
        return len(self.logprobs)


@dataclass(frozen=True)
class Credit(Rows):
    """How the samples are to be learned from."""

    advantages: Tensor
    """[B] Psi, scaled as the loss takes it"""
    returns: Tensor
    """[B] the critic's targets"""
    importance: Tensor
    """[B] importance weights; ones but under the surrogate of that name"""


def minibatches(
    count: int, size: int | None, *, epochs: range, seed: int, iteration: int
) -> Iterator[Tensor]:
    """Visit `count` samples once an epoch, in an order drawn for (seed, iteration, epoch).

    The last minibatch of an epoch may be smaller. The order is drawn on the CPU: the same on every
    device.

    Yields:
        [M] int64 rows.
    """
    for epoch in epochs:
        (shuffle_seed,) = stream_seeds(Stream.SHUFFLE, seed, iteration, epoch)
        generator = torch.Generator().manual_seed(shuffle_seed)
        yield from torch.randperm(count, generator=generator).split(size or count)


def in_chunks(
    function: Callable[[Mapping[str, Tensor]], Tensor], obs: Mapping[str, Tensor]
) -> Tensor:
    """Apply a network to {leaf: [B, *O]} in passes of bounded memory."""
    return torch.cat([function(chunk) for chunk in chunks(obs, CHUNK)])


def chunks(obs: Mapping[str, Tensor], size: int) -> list[dict[str, Tensor]]:
    """Split {leaf: [B, *O]} into views of at most `size` rows."""
    leaves = {name: leaf.split(size) for name, leaf in obs.items()}
    return [dict(zip(leaves, parts, strict=True)) for parts in zip(*leaves.values(), strict=True)]
