"""Encoders: from an observation's leaves to one vector of features."""

import math
from collections.abc import Mapping
from itertools import accumulate, pairwise

import torch
from torch import Tensor, nn

from distpg.policy.architecture import Architecture, looks_up
from distpg.policy.categories import MixedLookup, columns_of, one_hot
from distpg.policy.images import ImageEncoder
from distpg.policy.layers import MLP
from distpg.spaces import Leaf, ObsSpec


class Encoder(nn.Module):
    """Maps a whole observation to features, the input of the linear actor and critic heads."""

    num_features: int
    is_table = False
    """Whether the features are one-hot, so that the heads need no bias."""
    gives_columns = False
    """Whether one-hot features are given as their columns, [*B, K] int64, for `Lookup` heads."""

    def to_memory_format(self, obs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return {leaf: [B, *O]} in the memory format that `forward` reads fastest."""
        return dict(obs)

    def for_acting(self) -> None:
        """Make inference cheaper, if possible; the encoder can no longer be trained."""


class ObsEncoder(Encoder):
    """All leaves: images by convolutions, their features and all other leaves by one MLP.

    Without hidden layers the policy is linear, and a table if all leaves are categories: one row
    for each category, and no bias. More than `MAX_ONE_HOT` categories are looked up.
    """

    def __init__(self, obs_spec: ObsSpec, parts: Architecture) -> None:
        """Make an encoder for each image, and one MLP."""
        super().__init__()
        self.images = [leaf for leaf in obs_spec.leaves if leaf.kind == "image"]
        self.flat = [leaf for leaf in obs_spec.inputs if leaf.kind != "image"]
        encoders = [
            ImageEncoder(leaf, parts.precision, parts.image_encoder) for leaf in self.images
        ]
        self.image_encoders = nn.ModuleList(encoders)
        sizes = [*map(flat_size, self.flat), *(encoder.num_features for encoder in encoders)]
        self.firsts = [0, *accumulate(sizes)]
        """The first input of the MLP that is of a flat leaf, or of an image; then their number."""
        hidden_sizes = parts.hidden_sizes if self.flat else ()
        categories = all(leaf.kind == "categories" for leaf in obs_spec.inputs)
        self.is_table = categories and not hidden_sizes
        self.gives_columns = self.is_table and looks_up(obs_spec) and parts.recurrent == "none"
        first = None
        if looks_up(obs_spec) and hidden_sizes:
            first = MixedLookup(self.firsts[-1], hidden_sizes[0], self._numbers())
        self.trunk = MLP(self.firsts[-1], hidden_sizes, parts.activation, first)
        self.num_features = self.trunk.num_features

    def _numbers(self) -> list[int]:
        """Return the inputs of the MLP that are not of categories."""
        kinds = [leaf.kind for leaf in self.flat] + ["image"] * len(self.images)
        ranges = zip(kinds, pairwise(self.firsts), strict=True)
        return [k for kind, pair in ranges if kind != "categories" for k in range(*pair)]

    def to_memory_format(self, obs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Convert images to the channels-last memory format."""
        found = dict(obs)
        for leaf in self.images:
            if leaf.layout == "CHW":
                image = found[leaf.name]
                found[leaf.name] = image.contiguous(memory_format=torch.channels_last)
        return found

    def for_acting(self) -> None:
        """Convert image encoders to the precision that they compute in."""
        for encoder in self.image_encoders:
            assert isinstance(encoder, ImageEncoder)
            encoder.to(encoder.precision)

    def forward(self, obs: Mapping[str, Tensor]) -> Tensor:
        """Encode normalized {leaf: [*B, *O]} as [*B, F], or as columns."""
        first = self.trunk[0] if len(self.trunk) else None
        looks_up = self.gives_columns or isinstance(first, MixedLookup)
        flat = [leaf for leaf in self.flat if not looks_up or leaf.kind != "categories"]
        parts = [flatten_leaf(obs[leaf.name], leaf) for leaf in flat]
        for leaf, encoder in zip(self.images, self.image_encoders, strict=True):
            parts.append(encoder(obs[leaf.name]))
        if isinstance(first, MixedLookup):
            return self.trunk.after_first(first.both(self._columns(obs), parts))
        if self.gives_columns:
            return self._columns(obs)
        return self.trunk(parts[0] if len(parts) == 1 else torch.cat(parts, -1))

    def _columns(self, obs: Mapping[str, Tensor]) -> Tensor:
        """Return the inputs of the MLP that are 1, [*B, K]."""
        columns = [
            columns_of(flattened(obs[leaf.name], leaf), leaf, first)
            for leaf, first in zip(self.flat, self.firsts, strict=False)
            if leaf.kind == "categories"
        ]
        return torch.cat(columns, -1)


def flat_size(leaf: Leaf) -> int:
    """Return the number of floats that a leaf that is not an image becomes."""
    return sum(leaf.sizes) if leaf.kind == "categories" else math.prod(leaf.shape)


def flattened(values: Tensor, leaf: Leaf) -> Tensor:
    """Turn [*B, *O] into [*B, K]."""
    return values.reshape(*values.shape[: values.ndim - len(leaf.shape)], -1)


def flatten_leaf(values: Tensor, leaf: Leaf) -> Tensor:
    """Turn [*B, *O] into floats [*B, flat_size]: categories become concatenated one-hot vectors."""
    flat = flattened(values, leaf)
    if leaf.kind == "categories":
        return one_hot(flat, leaf)
    return flat.to(torch.get_default_dtype())
