"""Encoders: from an observation's leaves to one vector of features."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from distpg.policy.architecture import Architecture
from distpg.policy.images import ImageEncoder
from distpg.policy.layers import MLP
from distpg.spaces import Leaf, ObsSpec


class Encoder(nn.Module):
    """Maps a whole observation to features, the input of the linear actor and critic heads."""

    num_features: int
    is_table = False
    """Whether the features are one-hot, so that the heads need no bias."""

    def to_memory_format(self, obs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return {leaf: [B, *O]} in the memory format that `forward` reads fastest."""
        return dict(obs)

    def for_acting(self) -> None:
        """Make inference cheaper, if possible; the encoder can no longer be trained."""


class ObsEncoder(Encoder):
    """All leaves: images by convolutions, their features and all other leaves by one MLP.

    Without hidden layers the policy is linear, and a table if all leaves are categories: one row
    for each category, and no bias.
    """

    def __init__(self, obs_spec: ObsSpec, parts: Architecture) -> None:
        """Make an encoder for each image, and one MLP."""
        super().__init__()
        self.images = [leaf for leaf in obs_spec.leaves if leaf.kind == "image"]
        self.flat = [leaf for leaf in obs_spec.inputs if leaf.kind != "image"]
        encoders = [
            ImageEncoder(leaf.shape, parts.precision, parts.image_encoder) for leaf in self.images
        ]
        self.image_encoders = nn.ModuleList(encoders)
        num_features = sum(encoder.num_features for encoder in encoders)
        num_features += sum(map(flat_size, self.flat))
        hidden_sizes = parts.hidden_sizes if self.flat else ()
        self.trunk = MLP(num_features, hidden_sizes, parts.activation)
        self.num_features = self.trunk.num_features
        categories = all(leaf.kind == "categories" for leaf in obs_spec.inputs)
        self.is_table = categories and not hidden_sizes

    def to_memory_format(self, obs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Convert images to the channels-last memory format."""
        found = dict(obs)
        for leaf, encoder in zip(self.images, self.image_encoders, strict=True):
            if encoder.axes == 3 and not encoder.channels_last:
                image = found[leaf.name]
                found[leaf.name] = image.contiguous(memory_format=torch.channels_last)
        return found

    def for_acting(self) -> None:
        """Convert image encoders to the precision that they compute in."""
        for encoder in self.image_encoders:
            assert isinstance(encoder, ImageEncoder)
            encoder.to(encoder.precision)

    def forward(self, obs: Mapping[str, Tensor]) -> Tensor:
        """Encode normalized {leaf: [*B, *O]} as [*B, F]."""
        parts = [flatten_leaf(obs[leaf.name], leaf) for leaf in self.flat]
        for leaf, encoder in zip(self.images, self.image_encoders, strict=True):
            parts.append(encoder(obs[leaf.name]))
        return self.trunk(parts[0] if len(parts) == 1 else torch.cat(parts, -1))


def flat_size(leaf: Leaf) -> int:
    """Return the number of floats that a leaf that is not an image becomes."""
    return sum(leaf.sizes) if leaf.kind == "categories" else math.prod(leaf.shape)


def flatten_leaf(values: Tensor, leaf: Leaf) -> Tensor:
    """Turn [*B, *O] into floats [*B, flat_size]: categories become concatenated one-hot vectors."""
    batch_shape = values.shape[: values.ndim - len(leaf.shape)]
    flat = values.reshape(*batch_shape, -1)
    precision = torch.get_default_dtype()
    if leaf.kind == "vector":
        return flat.to(precision)
    codes = [
        functional.one_hot(flat[..., k] - start, size)
        for k, (start, size) in enumerate(zip(leaf.starts, leaf.sizes, strict=True))
    ]
    return torch.cat(codes, -1).to(precision)
