"""IMPALA's residual network, for images of any size; the Nature network is in test_actor_critic."""

import dataclasses
from itertools import pairwise
from typing import Literal

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from distpg.policy.actor_critic import Policy, load_arrays, to_arrays
from distpg.policy.architecture import Architecture
from distpg.policy.images import ImageEncoder, Residual
from distpg.spaces import ActionSpec, Leaf, ObsSpec

CHOICE = ActionSpec("categorical", (), "int64", (5,), (0,))
PARTS = Architecture((8,), "tanh", normalize_obs=True, image_encoder="impala")


def encoder_of(shape: tuple[int, ...], precision: str = "float32") -> ImageEncoder:
    return ImageEncoder(Leaf("obs", (), shape, "uint8", "image"), precision, "impala")


def images(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(256, shape, dtype=torch.uint8, generator=generator)


def test_it_has_the_layers_of_the_paper() -> None:
    encoder = encoder_of((84, 84, 4))
    found = [layer for layer in encoder.modules() if isinstance(layer, nn.Conv2d)]
    channels = [4, *[16] * 5, *[32] * 10]
    assert [(one.in_channels, one.out_channels) for one in found] == [*pairwise(channels)]
    assert {one.kernel_size for one in found} == {(3, 3)}
    pools = [layer for layer in encoder.modules() if isinstance(layer, nn.MaxPool2d)]
    assert [(pool.kernel_size, pool.stride) for pool in pools] == [(3, 2)] * 3
    # 84 halves to 42, 21 and 11
    (dense,) = (layer for layer in encoder.modules() if isinstance(layer, nn.Linear))
    assert (dense.in_features, dense.out_features) == (32 * 11 * 11, 256)


def test_a_residual_block_adds_to_what_it_is_given() -> None:
    block, values = Residual(3), torch.randn(2, 3, 4, 5)
    found = [layer for layer in block.modules() if isinstance(layer, nn.Conv2d)]
    assert len(found) == 2
    last = found[-1]
    nn.init.zeros_(last.weight)
    assert torch.equal(block(values), values)
    assert last.bias is not None
    nn.init.constant_(last.bias, 2.0)
    assert_close(block(values), values + 2)


@pytest.mark.parametrize(
    "shape", [(7, 7, 3), (3, 7, 7), (7, 7), (1, 1, 1), (2, 9, 3), (36, 40, 3), (4, 84, 84)]
)
def test_an_image_becomes_256_features_whatever_its_size_and_axes(shape: tuple[int, ...]) -> None:
    encoder, image = encoder_of(shape), images(2, 3, *shape)
    features = encoder(image)
    assert features.shape == (2, 3, 256)
    assert encoder.num_features == 256
    assert_close(features[1, 2], encoder(image[1, 2]), rtol=1e-4, atol=1e-5)


def test_every_pixel_of_a_small_image_reaches_the_features() -> None:
    encoder = encoder_of((7, 7, 3))
    lit = 255 * torch.eye(147, dtype=torch.uint8).view(147, 7, 7, 3)
    dark = torch.zeros(1, 7, 7, 3, dtype=torch.uint8)
    assert ((encoder(lit) - encoder(dark)).abs().amax(1) > 1e-6).all()


@pytest.mark.parametrize("network", ["nature", "impala"])
def test_features_start_about_as_large_as_the_pixels(network: Literal["nature", "impala"]) -> None:
    encoder = ImageEncoder(Leaf("obs", (), (64, 64, 3), "uint8", "image"), network=network)
    pixels = images(4, 64, 64, 3)
    ratio = encoder(pixels).square().mean() / (pixels / 255).square().mean()
    assert 0.05 < ratio.sqrt() < 5


def test_in_bf16_the_features_are_those_of_float32_but_for_its_rounding() -> None:
    wide, narrow = encoder_of((64, 64, 3)), encoder_of((64, 64, 3), "bf16")
    load_arrays(narrow, to_arrays(wide))
    image = images(8, 64, 64, 3)
    expected, found = wide(image), narrow(image)
    assert found.dtype == torch.float32
    assert not torch.equal(found, expected)
    assert_close(found, expected, rtol=0.05, atol=0.05 * float(expected.max()))


def test_a_policy_that_keeps_its_weights_in_bf16_acts_as_the_one_that_learns() -> None:
    parts = dataclasses.replace(PARTS, precision="bf16")
    spec = ObsSpec((Leaf("obs", (), (7, 7, 3), "uint8", "image"),))
    learning, acting = (Policy(spec, CHOICE, parts) for _ in range(2))
    acting.for_acting().load(learning.weights(0))
    obs, actions = {"obs": images(8, 7, 7, 3)}, torch.arange(8) % 5
    assert torch.equal(learning(obs).log_prob(actions), acting(obs).log_prob(actions))


@pytest.mark.parametrize("network", ["nature", "impala"])
def test_each_image_has_convolutions_of_its_own_beside_what_is_flat(network: str) -> None:
    leaves = (
        Leaf("near", ("near",), (7, 7, 3), "uint8", "image"),
        Leaf("far", ("far",), (40, 40), "uint8", "image"),
        Leaf("direction", ("direction",), (), "int64", "categories", (4,), (0,)),
    )
    parts = dataclasses.replace(PARTS, image_encoder=network)
    policy = Policy(ObsSpec(leaves), CHOICE, parts)
    obs = {"near": images(8, 7, 7, 3), "far": images(8, 40, 40), "direction": torch.arange(8) % 4}
    features = policy.encoder(obs)
    assert features.shape == (8, 8)
    for name, other in obs.items():
        assert not torch.equal(policy.encoder({**obs, name: other.flip(0)}), features)
    near, far = (one for one in policy.encoder.modules() if isinstance(one, ImageEncoder))
    assert not set(near.parameters()) & set(far.parameters())
