"""Categories: one-hot vectors, or, if there are many, the columns of a layer that those select.

The product of a matrix with a one-hot vector is one of its columns. Many categories look theirs up:
the same numbers, without a vector in memory.
"""

import math
from collections.abc import Sequence
from itertools import accumulate

import torch
from torch import Tensor, nn
from torch.nn import functional

from distpg.policy.layers import orthogonal
from distpg.spaces import Leaf


def one_hot(values: Tensor, leaf: Leaf) -> Tensor:
    """Turn categories [*B, K] into concatenated one-hot vectors, [*B, I]."""
    ones = [
        values[..., k, None] - start == torch.arange(size, device=values.device)
        for k, (start, size) in enumerate(zip(leaf.starts, leaf.sizes, strict=True))
    ]
    return torch.cat(ones, -1).to(torch.get_default_dtype())


def columns_of(values: Tensor, leaf: Leaf, first: int) -> Tensor:
    """Turn categories [*B, K] into the places of their ones in `one_hot`, counted from `first`."""
    firsts = accumulate((first, *leaf.sizes[:-1]))
    moves = [place - start for place, start in zip(firsts, leaf.starts, strict=True)]
    return values + torch.tensor(moves, device=values.device)


class Lookup(nn.Linear):
    """A linear layer over one-hot vectors, given as their columns, [*B, K] -> [*B, F].

    Its bias, if there is one, is not added.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Add up the columns."""
        # unlike that of an index, the gradient of an embedding is summed in a fixed order
        return functional.embedding(input, self.weight.T).sum(-2)


class MixedLookup(Lookup):
    """A linear layer over one-hot vectors, given as their columns, and numbers beside them."""

    numbers: Tensor

    def __init__(self, num_inputs: int, num_outputs: int, numbers: Sequence[int]) -> None:
        """Make it; `numbers` are the columns of the D numbers, all others are of categories.

        Columns start with a length of about sqrt(2), as if they were orthogonal. The rows of so
        wide a matrix would be, and its columns tiny.
        """
        super().__init__(num_inputs, num_outputs)
        self.register_buffer("numbers", torch.tensor(numbers, dtype=torch.int64), persistent=False)
        nn.init.normal_(self.weight, std=math.sqrt(2 / num_outputs))
        nn.init.zeros_(self.bias)
        if numbers:
            own = orthogonal(nn.Linear(len(numbers), num_outputs))
            with torch.no_grad():
                self.weight[:, self.numbers] = own.weight

    def both(self, columns: Tensor, numbers: Sequence[Tensor]) -> Tensor:
        """Return the sums [*B, F] for columns [*B, K] and numbers, parts of [*B, D]."""
        sums = self(columns) + self.bias
        if numbers:
            sums = sums + functional.linear(
                torch.cat([*numbers], -1), self.weight.index_select(1, self.numbers)
            )
        return sums
