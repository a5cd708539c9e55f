"""Samples of a batch, and the order in which an epoch visits them."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from distpg.streams import Stream, stream_seeds


@dataclass(frozen=True)
class Samples:
    """The B valid steps of a batch, or those of a minibatch, in rows."""

    obs: dict[str, Tensor]
    """{leaf: [B, *O]} normalized"""
    actions: Tensor
    """[B] or [B, A]"""
    logprobs: Tensor
    """[B] of the policy that acted"""
    advantages: Tensor
    """[B]"""
    returns: Tensor
    """[B] the critic's targets"""
    slots: Tensor
    """[B] int64 slot that each came from"""

    def __len__(self) -> int:
        """Count the samples."""
        return len(self.logprobs)

    def __getitem__(self, rows: Tensor) -> "Samples":
        """Take some rows."""
        return Samples(
            obs={name: leaf[rows] for name, leaf in self.obs.items()},
            actions=self.actions[rows],
            logprobs=self.logprobs[rows],
            advantages=self.advantages[rows],
            returns=self.returns[rows],
            slots=self.slots[rows],
        )


def minibatches(
    samples: Samples, size: int | None, *, seed: int, iteration: int, epoch: int
) -> Iterator[Samples]:
    """Visit every sample once, in an order drawn for (seed, iteration, epoch).

    The last minibatch may be smaller. The order is drawn on the CPU: the same on every device.
    """
    (shuffle_seed,) = stream_seeds(Stream.SHUFFLE, seed, iteration, epoch)
    generator = torch.Generator().manual_seed(shuffle_seed)
    order = torch.randperm(len(samples), generator=generator).to(samples.logprobs.device)
    for rows in order.split(size or len(samples)):
        yield samples[rows]
