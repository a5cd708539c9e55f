"""Many categories are looked up, with the numbers that one-hot vectors would give."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from distpg.config.config import Config
from distpg.policy import architecture, encoders
from distpg.policy.actor_critic import Policy, load_arrays, to_arrays
from distpg.policy.architecture import MAX_ONE_HOT, Architecture
from distpg.policy.categories import MixedLookup
from distpg.policy.critic import ActorCritic
from distpg.policy.readings import describe_leaf
from distpg.spaces import ActionSpec, Leaf, ObsSpec

CHOICE = ActionSpec("categorical", (), "int64", (3,), (0,))
STATE = Leaf("state", ("state",), (), "int64", "categories", (5000,), (-7,))
KEYS = Leaf("keys", ("keys",), (2,), "int64", "categories", (2, 3), (0, -1))
PLACE = Leaf("place", ("place",), (2,), "float32", "vector")
SCREEN = Leaf("screen", ("screen",), (9, 9), "uint8", "image")


def observe(leaf: Leaf, count: int) -> torch.Tensor:
    draw = np.random.default_rng(0)
    if leaf.kind == "categories":
        codes = draw.integers(leaf.sizes, size=(count, len(leaf.sizes))) + leaf.starts
        return torch.from_numpy(codes.reshape(count, *leaf.shape))
    if leaf.kind == "image":
        return torch.from_numpy(draw.integers(256, size=(count, *leaf.shape), dtype=np.uint8))
    return torch.from_numpy(draw.normal(size=(count, *leaf.shape)).astype(np.float32))


@pytest.mark.parametrize("hidden_sizes", [(16, 8), ()], ids=str)
@pytest.mark.parametrize("recurrent", ["none", "gru"])
@pytest.mark.parametrize(
    "leaves",
    [(STATE,), (STATE, KEYS), (PLACE, STATE, KEYS, SCREEN)],
    ids=lambda leaves: " ".join(leaf.name for leaf in leaves),
)
def test_features_values_and_gradients_are_those_of_one_hot_vectors(
    leaves: tuple[Leaf, ...], recurrent: Any, hidden_sizes: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = Architecture(hidden_sizes, "tanh", normalize_obs=False, recurrent=recurrent)
    obs = {leaf.name: observe(leaf, 6) for leaf in leaves}
    obs["/sequence"] = torch.zeros(6, dtype=torch.int64)
    obs["/recurrent_state"] = torch.zeros(6, parts.recurrent_state_size)

    def model() -> ActorCritic:
        return ActorCritic(Policy(ObsSpec(leaves), CHOICE, parts), parts, with_critic=True)

    looked_up = model()
    monkeypatch.setattr(architecture, "MAX_ONE_HOT", 10**6)
    dense = model()
    assert not any(isinstance(x, MixedLookup) for x in dense.modules())
    # the same parameters by the same names
    load_arrays(dense, to_arrays(looked_up))
    for one in (looked_up, dense):
        outputs = one.outputs(obs)
        assert outputs.shape == (6, 4)
        (outputs * torch.arange(24).view(6, 4)).sum().backward()
    assert_close(looked_up.outputs(obs), dense.outputs(obs))
    for (name, first), second in zip(looked_up.named_parameters(), dense.parameters(), strict=True):
        assert first.grad is not None, name
        assert second.grad is not None, name
        assert_close(first.grad, second.grad, rtol=1e-4, atol=1e-4)


def test_no_vector_as_long_as_the_categories_is_made() -> None:
    million = dataclasses.replace(STATE, sizes=(10**6,))
    parts = Architecture((4,), "tanh", normalize_obs=False)
    policy = Policy(ObsSpec((million,)), CHOICE, parts)
    # 4 TB as one-hot vectors
    obs = {"state": torch.full((10**6,), 999_992)}
    weight = policy.encoder.state_dict()["trunk.0.weight"]
    with torch.no_grad():
        features = policy.encoder(obs)
    assert_close(features[[0, -1]], weight[:, -1].tanh().expand(2, 4))


def test_columns_start_as_long_as_orthogonal_ones() -> None:
    torch.manual_seed(0)
    layer = MixedLookup(5002, 16, [0, 5001])
    lengths = layer.weight.norm(dim=0)
    assert_close(lengths[[0, 5001]], torch.full((2,), 2**0.5))
    assert_close(lengths.square().mean().sqrt(), torch.tensor(2**0.5), rtol=0.02, atol=0)
    assert lengths.min() > 0.5


def test_the_gradient_of_a_lookup_is_the_same_for_each_repetition() -> None:
    torch.manual_seed(0)
    layer = MixedLookup(10_000, 16, [])
    # each column many times, so that the order of their sum matters
    columns = torch.randint(100, (8192, 1))
    weights = torch.randn(8192, 16)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        gradients = [
            torch.autograd.grad((layer(columns) * weights).sum(), layer.weight)[0]
            for _ in range(10)
        ]
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(gradient, gradients[0]) for gradient in gradients)


def test_few_categories_remain_one_hot_vectors() -> None:
    few = dataclasses.replace(STATE, sizes=(MAX_ONE_HOT,))
    parts = Architecture((4,), "tanh", normalize_obs=False)
    encoder = encoders.ObsEncoder(ObsSpec((few,)), parts)
    assert not isinstance(encoder.trunk[0], MixedLookup)


def test_what_many_categories_cost_is_said() -> None:
    million = dataclasses.replace(STATE, sizes=(10**6,))
    said = describe_leaf(million, ObsSpec((million,)), Config(hidden_sizes=(8, 64)))
    assert said == (
        "[] int64, read as categories, 1,000,000 in all; encoder: hidden layers 8 64, 8,000,000 "
        "parameters, and as many in the critic"
    )
    shared = describe_leaf(million, ObsSpec((million, SCREEN)), Config(hidden_sizes=(8, 64)))
    assert shared.endswith("8,000,000 parameters")
