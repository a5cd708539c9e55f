"""Encoders: from an observation's leaves to one vector of features."""

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from distpg.policy.architecture import Architecture
from distpg.spaces import Leaf, ObsSpec

PRECISIONS = {"float32": torch.float32, "bf16": torch.bfloat16}
IMAGE_FEATURES = 512
Layer = TypeVar("Layer", nn.Linear, nn.Conv2d)


def orthogonal(layer: Layer, gain: float = math.sqrt(2)) -> Layer:
    """Initialize a layer's weight orthogonally and its bias, if it has one, to 0."""
    nn.init.orthogonal_(layer.weight, gain)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def tanh(values: Tensor) -> Tensor:
    """Take the hyperbolic tangent; without gradient on a CPU by NumPy, in place: 6 x as fast."""
    if not torch.is_grad_enabled() and values.device.type == "cpu":
        array = values.numpy()
        np.tanh(array, out=array)
        return values
    return values.tanh()


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": tanh,
    "relu": functional.relu,
    "elu": functional.elu,
    "silu": functional.silu,
}


class MLP(nn.ModuleList):
    """Linear layers, each followed by the activation, [*B, I] -> [*B, F]."""

    def __init__(self, num_inputs: int, hidden_sizes: Sequence[int], activation: str) -> None:
        """Make a layer for each size."""
        sizes = (num_inputs, *hidden_sizes)
        super().__init__(orthogonal(nn.Linear(*pair)) for pair in pairwise(sizes))
        self.num_features = sizes[-1]
        self.activation = ACTIVATIONS[activation]

    def forward(self, values: Tensor) -> Tensor:
        """Apply the layers."""
        for layer in self:
            assert isinstance(layer, nn.Linear)
            # the function, since calling a module costs as much as a small layer
            values = self.activation(functional.linear(values, layer.weight, layer.bias))
        return values


class ImageEncoder(nn.Module):
    """Convolutions over one uint8 image [*B, *O] -> [*B, 512].

    The Nature network (Mnih et al. 2015) from 36 pixels a side on; two 3x3 layers below. With bf16
    it computes in that precision, and its parameters are converted in each pass unless they are
    kept in it.
    """

    def __init__(self, shape: tuple[int, ...], precision: str = "float32") -> None:
        """Find the channel axis, the smaller of first and last, and size the layers."""
        super().__init__()
        self.precision = PRECISIONS[precision]
        self.axes = len(shape)
        self.channels_last = self.axes == 3 and shape[2] < shape[0]
        height, width, channels = shape if self.channels_last else (*shape[-2:], 1)
        if self.axes == 3 and not self.channels_last:
            channels = shape[0]
        if min(height, width) >= 36:
            layers = [(channels, 32, 8, 4, 0), (32, 64, 4, 2, 0), (64, 64, 3, 1, 0)]
        else:
            layers = [(channels, 16, 3, 1, 1), (16, 32, 3, 1, 1)]
        stack: list[nn.Module] = []
        for inputs, outputs, kernel, stride, padding in layers:
            convolution = nn.Conv2d(inputs, outputs, kernel, stride, padding)
            stack += [orthogonal(convolution), nn.ReLU()]
        self.convolutions = nn.Sequential(*stack, nn.Flatten())
        with torch.no_grad():
            size = self.convolutions(torch.zeros(1, channels, height, width)).shape[1]
        self.project = nn.Sequential(orthogonal(nn.Linear(size, IMAGE_FEATURES)), nn.ReLU())

    def forward(self, image: Tensor) -> Tensor:
        """Scale the pixels to [0, 1] and encode."""
        batch_shape = image.shape[: image.ndim - self.axes]
        pixels = image.reshape(-1, *image.shape[image.ndim - self.axes :])
        if self.axes == 2:
            pixels = pixels.unsqueeze(1)
        elif self.channels_last:
            pixels = pixels.movedim(-1, 1)
        # scaled before it is laid out anew: three times as fast as both at once
        pixels = pixels.to(self.precision).div_(255).contiguous(memory_format=torch.channels_last)
        narrow = self.precision == torch.bfloat16
        with torch.autocast(pixels.device.type, torch.bfloat16, enabled=narrow):
            features = self.project(self.convolutions(pixels))
        return features.float().reshape(*batch_shape, IMAGE_FEATURES)


class ObsEncoder(nn.Module):
    """All leaves together: images by convolutions, then everything else beside them by an MLP.

    Without hidden layers, what stands on the features is linear; where all leaves are categories it
    is a table, with one row for each category and no bias.
    """

    def __init__(self, obs_spec: ObsSpec, parts: Architecture) -> None:
        """Make an encoder for each image and one MLP for what is flat."""
        super().__init__()
        self.images = [leaf for leaf in obs_spec.leaves if leaf.kind == "image"]
        self.flat = [leaf for leaf in obs_spec.inputs if leaf.kind != "image"]
        self.image_encoders = nn.ModuleList(
            [ImageEncoder(leaf.shape, parts.precision) for leaf in self.images]
        )
        num_features = IMAGE_FEATURES * len(self.images) + sum(map(flat_size, self.flat))
        hidden_sizes = parts.hidden_sizes if self.flat else ()
        self.trunk = MLP(num_features, hidden_sizes, parts.activation)
        self.num_features = self.trunk.num_features
        categories = all(leaf.kind == "categories" for leaf in obs_spec.inputs)
        self.is_table = categories and not hidden_sizes

    def laid_out(self, obs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return {leaf: [B, *O]} with images in memory as convolutions read them, channels last."""
        found = dict(obs)
        for leaf, encoder in zip(self.images, self.image_encoders, strict=True):
            if encoder.axes == 3 and not encoder.channels_last:
                image = found[leaf.name]
                found[leaf.name] = image.contiguous(memory_format=torch.channels_last)
        return found

    def forward(self, obs: Mapping[str, Tensor]) -> Tensor:
        """Encode normalized {leaf: [*B, *O]} as [*B, F]."""
        parts = [flatten_leaf(obs[leaf.name], leaf) for leaf in self.flat]
        for leaf, encoder in zip(self.images, self.image_encoders, strict=True):
            parts.append(encoder(obs[leaf.name]))
        return self.trunk(parts[0] if len(parts) == 1 else torch.cat(parts, -1))


def flat_size(leaf: Leaf) -> int:
    """Count the numbers that a leaf without an image becomes."""
    return sum(leaf.sizes) if leaf.kind == "categories" else math.prod(leaf.shape)


def flatten_leaf(values: Tensor, leaf: Leaf) -> Tensor:
    """Turn [*B, *O] into floats [*B, flat_size]: categories as one-hot vectors side by side."""
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
