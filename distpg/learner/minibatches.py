"""Samples of a batch, and their order in the minibatches of each epoch."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, Self

import torch
from torch import Tensor

from distpg.policy.recurrent import SEQUENCE, inverse_permutation
from distpg.seeding import RNG, rng_seeds

CHUNK = 8192
"""Rows of one forward pass over a batch."""
NUMBERS = 2**25
"""Outputs of one pass at most; a wider policy takes fewer rows."""


@dataclass(frozen=True)
class Rows:
    """Tensors, or tensors by name, with the samples on their first axis."""

    def __getitem__(self, rows: Tensor) -> Self:
        """Select rows of each."""
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
    """{leaf: [B, *O]} normalized; with recurrent state and sequence for a recurrent policy"""
    actions: Tensor
    """[B] or [B, A]"""
    logprobs: Tensor
    """[B] of the behaviour policy"""
    values: Tensor
    """[B] V before the update; zeros without a critic"""
    envs: Tensor
    """[B] int64 env of each sample; those of slot s start at s * num_envs"""
    parameters: Tensor
    """[B, P] of the policy's distributions before the update; [B, 0] of many actions, if unused"""

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.logprobs)


@dataclass(frozen=True)
class Targets(Rows):
    """What the samples are trained on."""

    advantages: Tensor
    """[B] Psi, scaled as the loss uses it"""
    returns: Tensor
    """[B] targets of the critic"""
    importance: Tensor
    """[B] importance weights; ones unless the surrogate is importance"""


class HasObs(Protocol):
    """Any samples with observations."""

    @property
    def obs(self) -> Mapping[str, Tensor]:
        """Observations, {leaf: [B, *O]}."""
        ...

    def __len__(self) -> int:
        """Return their number."""
        ...


def minibatches(
    samples: HasObs, size: int | None, *, epochs: range, seed: int, iteration: int
) -> Iterator[Tensor]:
    """Visit all samples once per epoch, in a random order seeded by (seed, iteration, epoch).

    The last minibatch of an epoch may be smaller. Sequences of a recurrent policy are not split, so
    a minibatch may be larger by less than a sequence. The order is drawn on the CPU, so that it is
    the same on every device.

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
    """Split rows into groups of about `size`, sequence by sequence.

    Args:
        sequence: [B] int64 the sequence of each row.
        size: A group ends with the sequence that fills it.
        generator: Shuffles the sequences; None visits them by number.

    Returns:
        [M] int64 rows of each group; those of a sequence keep their order.
    """
    _, numbers, lengths = sequence.unique(return_inverse=True, return_counts=True)
    count = len(lengths)
    order = torch.randperm(count, generator=generator) if generator else torch.arange(count)
    turn = inverse_permutation(order)
    rows = turn[numbers].argsort(stable=True)
    lengths = lengths[order]
    groups = (lengths.cumsum(0) - lengths) // size
    sizes = torch.zeros(int(groups[-1]) + 1, dtype=torch.long).index_add(0, groups, lengths)
    return rows.split(sizes[sizes > 0].tolist())


def rows_at_once(width: int) -> int:
    """Return how many rows of that many outputs a pass may have."""
    return max(1, NUMBERS // width)


def in_chunks(
    function: Callable[[Mapping[str, Tensor]], Tensor], obs: Mapping[str, Tensor], width: int = 1
) -> Tensor:
    """Apply a network of [B, width] outputs to {leaf: [B, *O]} in passes of bounded size."""
    size = min(CHUNK, rows_at_once(width))
    outputs = torch.cat([function(chunk) for chunk in chunks(obs, size)])
    if SEQUENCE in obs and len(outputs) > size:
        # the chunks came sequence by sequence
        return outputs[inverse_permutation(obs[SEQUENCE].argsort(stable=True))]
    return outputs


def chunks(obs: Mapping[str, Tensor], size: int) -> list[dict[str, Tensor]]:
    """Split {leaf: [B, *O]} into views of at most `size` rows.

    Sequences of a recurrent policy are not split, as in minibatches; if there are several chunks,
    they come in the order of the sequences.
    """
    sequence = obs.get(SEQUENCE)
    if sequence is not None and len(sequence) > size:
        groups = [rows.to(sequence.device) for rows in whole_sequences(sequence.cpu(), size, None)]
        return [{name: leaf[rows] for name, leaf in obs.items()} for rows in groups]
    leaves = {name: leaf.split(size) for name, leaf in obs.items()}
    return [dict(zip(leaves, parts, strict=True)) for parts in zip(*leaves.values(), strict=True)]
