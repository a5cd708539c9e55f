"""Sizes of the critic, initialization, and what a new policy's deviation is."""

import dataclasses
import math
from typing import Any

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from distpg.config.config import Config
from distpg.policy.actor_critic import Policy, to_arrays
from distpg.policy.architecture import Architecture
from distpg.policy.critic import ActorCritic
from distpg.policy.distributions import DiagonalGaussian, limit_log_std, output_of_log_std
from distpg.policy.layers import ACTIVATIONS
from distpg.spaces import ActionSpec, Leaf, ObsSpec
from tests.faults.encoders import Fine
from tests.policy.test_actor_critic import ACTIONS, GEAR, KEYS, SCREEN, VECTOR, observe

PARTS = Architecture(hidden_sizes=(32, 16), activation="tanh", normalize_obs=True)
TORQUES = ACTIONS["continuous"]


def model_of(*leaves: Leaf, actions: ActionSpec = TORQUES, **changes: Any) -> ActorCritic:
    parts = dataclasses.replace(PARTS, **changes)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return ActorCritic(Policy(ObsSpec(leaves), actions, parts), parts, with_critic=True)


def weights_of(model: nn.Module) -> list[tuple[int, ...]]:
    """List the shapes of the layers' weights."""
    return [tuple(p.shape) for name, p in model.named_parameters() if name.endswith("weight")]


def test_the_critic_may_have_other_hidden_layers() -> None:
    model = model_of(VECTOR, value_hidden_sizes=(8, 7, 5))
    assert weights_of(model.critic) == [(8, 6), (7, 8), (5, 7), (1, 5)]
    assert weights_of(model.policy) == [(32, 6), (16, 32), (2, 16)]
    linear = model_of(VECTOR, value_hidden_sizes=())
    assert weights_of(linear.critic) == [(1, 6)]
    assert weights_of(model_of(VECTOR).critic) == [(32, 6), (16, 32), (1, 16)]


def test_a_critic_may_be_a_table_beside_a_network_and_a_network_beside_a_table() -> None:
    table = model_of(GEAR, value_hidden_sizes=())
    assert [tuple(p.shape) for p in table.critic.parameters()] == [(1, 4)]
    network = model_of(GEAR, hidden_sizes=(), value_hidden_sizes=(3,))
    assert weights_of(network.critic) == [(3, 4), (1, 3)]
    assert network.critic["head"].bias is not None
    many = Leaf("state", ("state",), (), "int64", "categories", (5000,), (0,))
    looked_up = model_of(many, value_hidden_sizes=())
    states = {"state": torch.tensor([0, 4999])}
    (row,) = looked_up.critic.parameters()
    assert_close(looked_up.values(states), row[0, [0, 4999]])


def test_after_images_that_are_shared_it_may_have_layers_of_its_own() -> None:
    model = model_of(SCREEN, value_hidden_sizes=(9, 5))
    assert set(model.critic) == {"hidden", "head"}
    assert weights_of(model.critic) == [(9, 512), (5, 9), (1, 5)]
    obs = observe(SCREEN)
    _, values = model(obs)
    assert values is not None
    encoded = model.policy.encoder(obs)
    first, second = model.critic["hidden"].children()
    layers = model.critic["head"](second(first(encoded).tanh()).tanh()).squeeze(-1)
    assert_close(values, layers)
    assert torch.equal(model.values(obs), values)


def test_after_a_recurrent_layer_that_is_shared_it_may_have_layers_of_its_own() -> None:
    recurrent: dict[str, Any] = {"recurrent": "gru", "recurrent_size": 10}
    model = model_of(VECTOR, value_hidden_sizes=(9,), **recurrent)
    assert weights_of(model.critic) == [(9, 10), (1, 9)]
    own = model_of(VECTOR, value_hidden_sizes=(9,), recurrent_critic="own", **recurrent)
    assert set(own.critic) == {"encoder", "recurrent", "head"}
    assert weights_of(own.critic["encoder"]) == [(9, 6)]
    assert own.critic["head"].in_features == 10


def check_default(layer: nn.Linear | nn.Conv2d) -> None:
    """See that weights and biases are uniform within 1 / sqrt(inputs), as torch draws them."""
    limit = layer.weight[0].numel() ** -0.5
    assert layer.bias is not None
    for values in (layer.weight.detach(), layer.bias.detach()):
        assert values.abs().max() <= limit
        assert values.any()
    if layer.weight.numel() > 200:
        assert layer.weight.abs().max() > 0.95 * limit
        assert float(layer.weight.std()) == pytest.approx(limit / 3**0.5, rel=0.2)


@pytest.mark.parametrize("leaf", [VECTOR, SCREEN, GEAR], ids=["vector", "image", "categories"])
def test_without_orthogonal_initialization_weights_and_biases_are_torchs(leaf: Leaf) -> None:
    model = model_of(leaf, orthogonal_init=False)
    layers = [one for one in model.modules() if isinstance(one, nn.Linear | nn.Conv2d)]
    assert len(layers) >= 4
    for layer in layers:
        check_default(layer)


@pytest.mark.parametrize("kind", ["gru", "lstm"])
def test_recurrent_layers_too(kind: str) -> None:
    recurrent: dict[str, Any] = {"recurrent": kind, "recurrent_size": 16, "recurrent_layers": 2}
    model = model_of(VECTOR, **recurrent, recurrent_critic="own", orthogonal_init=False)
    for module in (model.policy.recurrent, model.critic["recurrent"]):
        assert module is not None
        parameters = list(module.parameters())
        assert len(parameters) == 8
        for parameter in parameters:
            assert parameter.abs().max() <= 0.25
            assert parameter.abs().max() > 0.2


def test_an_encoder_of_the_users_initializes_itself() -> None:
    choice, leaf = ACTIONS["categorical"], dataclasses.replace(VECTOR, shape=(4,))
    plain, other = (
        model_of(leaf, actions=choice, encoder=Fine, orthogonal_init=orthogonal)
        for orthogonal in (True, False)
    )
    for name, array in to_arrays(plain.policy.encoder).items():
        assert (array == to_arrays(other.policy.encoder)[name]).all()
    check_default(other.policy.head)


def deviations(policy: Policy, leaf: Leaf) -> torch.Tensor:
    """Return the standard deviations at eight observations, [8, A]."""
    distribution = policy(observe(leaf))
    assert isinstance(distribution, DiagonalGaussian)
    return distribution.std().expand_as(distribution.mean).detach()


@pytest.mark.parametrize("log_std", [-4.99, -2.0, 0.0, 1.5])
def test_a_new_policy_has_the_deviation_that_is_asked_for(log_std: float) -> None:
    std = torch.full((8, 2), math.exp(log_std))
    free = model_of(VECTOR, log_std_init=log_std).policy
    assert free.log_std is not None
    assert_close(deviations(free, VECTOR), std)
    state = model_of(VECTOR, log_std_init=log_std, log_std="state").policy
    # the head's weights are small, not 0
    assert_close(deviations(state, VECTOR), std, rtol=0.1, atol=0.0)
    assert_close(state.head.bias[2:].detach(), torch.full((2,), output_of_log_std(log_std)))


def test_the_deviation_of_a_table_starts_there_too() -> None:
    for kind in ("free", "state"):
        policy = model_of(KEYS, hidden_sizes=(), log_std_init=-1.5, log_std=kind).policy
        assert policy.is_table
        std = torch.full((8, 2), math.exp(-1.5))
        assert_close(deviations(policy, KEYS), std, rtol=0.1, atol=0.0)


def test_an_output_is_found_for_each_deviation_and_0_for_1() -> None:
    found = limit_log_std(torch.tensor([output_of_log_std(x) for x in (-4.9, -1.0, 0.0, 1.9)]))
    assert_close(found, torch.tensor([-4.9, -1.0, 0.0, 1.9]))
    assert output_of_log_std(0.0) == pytest.approx(0, abs=1e-12)


def test_activations_are_torchs_modules() -> None:
    modules: dict[str, nn.Module] = {
        "tanh": nn.Tanh(),
        "relu": nn.ReLU(),
        "elu": nn.ELU(),
        "silu": nn.SiLU(),
        "gelu": nn.GELU(),
        "leaky_relu": nn.LeakyReLU(),
    }
    assert ACTIVATIONS.keys() == modules.keys()
    values = torch.linspace(-5, 5, 41)
    for name, module in modules.items():
        assert_close(ACTIVATIONS[name](values.clone()), module(values))


def test_the_architecture_of_a_critic_is_that_of_the_settings() -> None:
    config = Config(value_hidden_sizes=(9,), recurrent="gru", recurrent_layers=3)
    parts = Architecture.of(config)
    assert parts.recurrent_state_size == 3 * 128
    assert parts.of_critic.hidden_sizes == (9,)
    assert parts.of_critic.recurrent == "none"
    own = dataclasses.replace(parts, recurrent_critic="own", value_hidden_sizes=None)
    assert own.of_critic == own
    described = {**dataclasses.asdict(parts), "value_hidden_sizes": [9], "hidden_sizes": [64, 64]}
    assert Architecture.from_json(described) == parts
