"""Samples of a batch, and the order in which the epochs visit them."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, Self

import torch
from torch import Tensor

from distpg.policy.recurrent import SEQUENCE
from distpg.seeding import RNG, rng_seeds

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
    """{leaf: [B, *O]} normalized; of a recurrent policy with its memory and sequences"""
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
class Targets(Rows):
    """How the samples are to be learned from."""

    advantages: Tensor
    """[B] Psi, scaled as the loss takes it"""
    returns: Tensor
    """[B] the critic's targets"""
    importance: Tensor
    """[B] importance weights; ones but under the surrogate of that name"""


class HasObs(Protocol):
    """Samples of any kind."""

    @property
    def obs(self) -> Mapping[str, Tensor]:
        """What was observed, {leaf: [B, *O]}."""
        ...

    def __len__(self) -> int:
        """Count them."""
        ...


def minibatches(
    samples: HasObs, size: int | None, *, epochs: range, seed: int, iteration: int
) -> Iterator[Tensor]:
    """Visit all samples once an epoch, in an order drawn for (seed, iteration, epoch).

    The last minibatch of an epoch may be smaller. Sequences of a recurrent policy stay whole, so
    one may be larger by less than a sequence. The order is drawn on the CPU: the same on every
    device.

    Yields:
        [M] int64 rows.
    """
    sequence = samples.obs.get(SEQUENCE)
    for epoch in epochs:
        (shuffle_seed,) = rng_seeds(RNG.SHUFFLE, seed, iteration, epoch)
        generator = torch.Generator().manual_seed(shuffle_seed)
        if sequence is None:
            yield from torch.randperm(len(samples), generator=generator).split(size or len(samples))
        else:
            yield from whole_sequences(sequence.cpu(), size or len(samples), generator)


def whole_sequences(
    sequence: Tensor, size: int, generator: torch.Generator | None
) -> tuple[Tensor, ...]:
    """Share rows out, [B] int64 the number of each one's sequence; in a drawn order, or by it."""
    _, numbers, lengths = sequence.unique(return_inverse=True, return_counts=True)
    count = len(lengths)
    order = torch.randperm(count, generator=generator) if generator else torch.arange(count)
    rows = order.argsort()[numbers].argsort(stable=True)
    lengths = lengths[order]
    shares = (lengths.cumsum(0) - lengths) // size
    sizes = torch.zeros(int(shares[-1]) + 1, dtype=torch.long).index_add(0, shares, lengths)
    return rows.split(sizes[sizes > 0].tolist())


def in_chunks(
    function: Callable[[Mapping[str, Tensor]], Tensor], obs: Mapping[str, Tensor]
) -> Tensor:
    """Apply a network to {leaf: [B, *O]} in passes of bounded memory."""
    outputs = torch.cat([function(chunk) for chunk in chunks(obs, CHUNK)])
    if SEQUENCE in obs and len(outputs) > CHUNK:
        return outputs[obs[SEQUENCE].argsort(stable=True).argsort()]
    return outputs


def chunks(obs: Mapping[str, Tensor], size: int) -> list[dict[str, Tensor]]:
    """Split {leaf: [B, *O]} into views of at most `size` rows.

    Sequences of a recurrent policy stay whole, as in minibatches; where there are several chunks,
    they come in the order of their numbers.
    """
    sequence = obs.get(SEQUENCE)
    if sequence is not None and len(sequence) > size:
        shares = [rows.to(sequence.device) for rows in whole_sequences(sequence.cpu(), size, None)]
        return [{name: leaf[rows] for name, leaf in obs.items()} for rows in shares]
    leaves = {name: leaf.split(size) for name, leaf in obs.items()}
    return [dict(zip(leaves, parts, strict=True)) for parts in zip(*leaves.values(), strict=True)]
