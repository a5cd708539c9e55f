"""Images: convolutions, then a dense layer, over one leaf of an observation."""

from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from distpg.policy.architecture import IMAGE_FEATURES
from distpg.policy.layers import orthogonal
from distpg.spaces import Leaf

PRECISIONS = {"float32": torch.float32, "bf16": torch.bfloat16}


class ImageEncoder(nn.Module):
    """Convolutions and a dense layer over one image of any size, [*B, *O] -> [*B, F].

    With bf16 it computes in that precision; its parameters are converted in each pass unless they
    are stored in it.
    """

    def __init__(
        self,
        leaf: Leaf,
        precision: str = "float32",
        network: Literal["nature", "impala"] = "nature",
    ) -> None:
        """Make the layers for the leaf's layout; a stack's pictures become channels."""
        super().__init__()
        self.precision = PRECISIONS[precision]
        self.layout, self.scale, self.shape = leaf.layout, leaf.scale, leaf.shape
        sizes = dict(zip(leaf.layout, leaf.shape, strict=True))
        height, width = sizes["H"], sizes["W"]
        channels = sizes.get("C", 1) * sizes.get("S", 1)
        small = min(height, width) < 36
        stack = impala(channels) if network == "impala" else nature(channels, small=small)
        self.convolutions = nn.Sequential(*stack, nn.Flatten())
        with torch.no_grad():
            size = self.convolutions(torch.zeros(1, channels, height, width)).shape[1]
        self.num_features = IMAGE_FEATURES[network]
        self.project = nn.Sequential(orthogonal(nn.Linear(size, self.num_features)), nn.ReLU())

    def forward(self, image: Tensor) -> Tensor:
        """Divide the pixels by the scale and encode."""
        axes = len(self.shape)
        batch_shape = image.shape[: image.ndim - axes]
        pixels = channels_first(image.reshape(-1, *self.shape), self.layout)
        # scaling before changing the memory format is three times as fast as both at once
        pixels = pixels.to(self.precision, copy=True).div_(self.scale)
        pixels = pixels.contiguous(memory_format=torch.channels_last)
        narrow = self.precision == torch.bfloat16
        with torch.autocast(pixels.device.type, torch.bfloat16, enabled=narrow):
            features = self.project(self.convolutions(pixels))
        return features.float().reshape(*batch_shape, self.num_features)


def channels_first(images: Tensor, layout: str) -> Tensor:
    """Arrange [B, *O] images as [B, C, H, W]; a stack of S becomes S * C channels."""
    if layout == "HW":
        return images.unsqueeze(1)
    if layout.endswith("C"):
        images = images.movedim(-1, -3)
    return images.flatten(1, 2) if layout.startswith("S") else images


def nature(channels: int, *, small: bool) -> list[nn.Module]:
    """Make the convolutions of Mnih et al. 2015; two of 3x3 if the image is too small."""
    layers = [(channels, 32, 8, 4, 0), (32, 64, 4, 2, 0), (64, 64, 3, 1, 0)]
    if small:
        layers = [(channels, 16, 3, 1, 1), (16, 32, 3, 1, 1)]
    stack: list[nn.Module] = []
    for inputs, outputs, kernel, stride, padding in layers:
        convolution = nn.Conv2d(inputs, outputs, kernel, stride, padding)
        stack += [orthogonal(convolution), nn.ReLU()]
    return stack


def impala(channels: int) -> list[nn.Module]:
    """Make the 15 convolutions of Espeholt et al. 2018, fig. 3; three poolings halve the size."""
    stack: list[nn.Module] = []
    for inputs, outputs in pairwise((channels, 16, 32, 32)):
        stack += [same_size(inputs, outputs), nn.MaxPool2d(3, 2, 1)]
        stack += [Residual(outputs), Residual(outputs)]
    return [*stack, nn.ReLU()]


class Residual(nn.Module):
    """Residual block of two convolutions, [B, C, H, W] -> [B, C, H, W]."""

    def __init__(self, channels: int) -> None:
        """Make both, each after a ReLU."""
        super().__init__()
        first, second = same_size(channels, channels), same_size(channels, channels)
        self.change = nn.Sequential(nn.ReLU(), first, nn.ReLU(), second)

    def forward(self, values: Tensor) -> Tensor:
        """Add the residual."""
        return values + self.change(values)


def same_size(inputs: int, outputs: int) -> nn.Conv2d:
    """Make a 3x3 convolution that preserves height and width.

    Its gain is 1, since no nonlinearity follows: with more, each residual block would double the
    variance.
    """
    return orthogonal(nn.Conv2d(inputs, outputs, 3, padding=1), gain=1.0)
