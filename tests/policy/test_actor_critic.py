import dataclasses
import math
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from distpg.errors import InputError
from distpg.policy.acting import ActingPolicy
from distpg.policy.actor_critic import Policy, load_arrays, to_arrays
from distpg.policy.architecture import Architecture
from distpg.policy.critic import ActorCritic
from distpg.policy.encoders import flatten_leaf
from distpg.policy.images import ImageEncoder
from distpg.policy.layers import orthogonal
from distpg.spaces import ActionSpec, Leaf, ObsSpec

PARTS = Architecture(hidden_sizes=(32, 16), activation="tanh", normalize_obs=True)

VECTOR = Leaf("obs", (), (6,), "float32", "vector")
PLACE = Leaf("place", ("place",), (2, 3), "float32", "vector")
SCREEN = Leaf("screen", ("screen",), (4, 4, 3), "uint8", "image")
GEAR = Leaf("gear", ("gear",), (), "int64", "categories", (4,), (1,))
KEYS = Leaf("keys", ("keys",), (2,), "int64", "categories", (2, 3), (0, -1))

ACTIONS = {
    "categorical": ActionSpec("categorical", (), "int64", (5,), (0,)),
    "multi_categorical": ActionSpec("multi_categorical", (2,), "int64", (2, 4), (0, 0)),
    "binary": ActionSpec("binary", (3,), "int8"),
    "continuous": ActionSpec("continuous", (2,), "float32", low=(-1.0, -1.0), high=(1.0, 1.0)),
}
UNIFORM = {"categorical": math.log(5), "multi_categorical": math.log(8), "binary": math.log(8)}
"""Entropies of the uniform distributions over each kind's actions."""


def make_policy(*leaves: Leaf, kind: str = "categorical", seed: int = 0) -> Policy:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Policy(ObsSpec(leaves), ACTIONS[kind], PARTS)


def make_model(*leaves: Leaf, kind: str = "categorical", with_critic: bool = True) -> ActorCritic:
    return ActorCritic(make_policy(*leaves, kind=kind), PARTS, with_critic=with_critic)


def observe(*leaves: Leaf, batch_shape: tuple[int, ...] = (8,), seed: int = 0) -> dict[str, Tensor]:
    """Draw raw observations."""
    generator = torch.Generator().manual_seed(seed)
    obs: dict[str, Tensor] = {}
    for leaf in leaves:
        shape = (*batch_shape, *leaf.shape)
        if leaf.kind == "vector":
            obs[leaf.name] = torch.randn(shape, generator=generator)
        elif leaf.kind == "image":
            pixels = torch.randint(0, 256, shape, generator=generator)
            obs[leaf.name] = pixels.to(torch.uint8)
        else:
            parts = [
                torch.randint(start, start + size, batch_shape, generator=generator)
                for start, size in zip(leaf.starts, leaf.sizes, strict=True)
            ]
            obs[leaf.name] = torch.stack(parts, -1).reshape(shape)
    return obs


def check_orthogonal(weight: Tensor, gain: float) -> None:
    matrix = weight.detach().flatten(1)
    if len(matrix) > matrix.shape[1]:
        matrix = matrix.T
    gram = matrix @ matrix.T
    assert_close(gram, gain**2 * torch.eye(len(gram)), rtol=0, atol=1e-5)


def parameters_with_gradient(module: nn.Module) -> set[str]:
    return {name for name, one in module.named_parameters() if one.grad is not None}


@pytest.mark.parametrize("gain", [0.01, 1.0, math.sqrt(2)])
def test_orthogonal_weights_have_orthogonal_rows_or_columns_of_length_gain(gain: float) -> None:
    for layer in (
        orthogonal(nn.Linear(6, 4), gain),
        orthogonal(nn.Linear(4, 6), gain),
        orthogonal(nn.Conv2d(3, 5, 2), gain),
    ):
        check_orthogonal(layer.weight, gain)
        assert layer.bias is not None
        assert not layer.bias.any()


@pytest.mark.parametrize("leaf", [VECTOR, SCREEN], ids=["vector", "image"])
def test_all_layers_start_orthogonal_with_the_gain_of_their_place(leaf: Leaf) -> None:
    model = make_model(leaf)
    (critic_head,) = [layer for layer in model.modules() if is_linear(layer, 1)]
    for layer in model.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            gain = {id(model.policy.head): 0.01, id(critic_head): 1.0}.get(id(layer), math.sqrt(2))
            check_orthogonal(layer.weight, gain)


def is_linear(layer: nn.Module, outputs: int) -> bool:
    return isinstance(layer, nn.Linear) and layer.out_features == outputs


@pytest.mark.parametrize("leaf", [VECTOR, SCREEN], ids=["vector", "image"])
@pytest.mark.parametrize("kind", UNIFORM)
def test_a_new_policy_acts_almost_uniformly(kind: str, leaf: Leaf) -> None:
    entropy = make_policy(leaf, kind=kind)(observe(leaf)).entropy()
    assert (entropy > 0.999 * UNIFORM[kind]).all()


def test_a_new_gaussian_policy_acts_around_0_with_standard_deviation_1() -> None:
    distribution = make_policy(VECTOR, kind="continuous")(observe(VECTOR))
    assert (distribution.greedy().abs() < 0.1).all()
    normal_entropy = 0.5 * math.log(2 * math.pi * math.e)
    assert_close(distribution.entropy(), torch.full((8,), 2 * normal_entropy))


def test_for_vectors_actor_and_critic_share_no_parameter() -> None:
    model = make_model(VECTOR)
    distribution, values = model(observe(VECTOR))
    assert values is not None
    values.sum().backward()
    assert not parameters_with_gradient(model.policy)
    assert parameters_with_gradient(model.critic) == set(dict(model.critic.named_parameters()))
    model.zero_grad()
    distribution.log_prob(distribution.greedy()).sum().backward()
    assert not parameters_with_gradient(model.critic)
    assert parameters_with_gradient(model.policy) == set(dict(model.policy.named_parameters()))


def test_for_images_actor_and_critic_share_the_encoder() -> None:
    model = make_model(SCREEN)
    _, values = model(observe(SCREEN))
    assert values is not None
    values.sum().backward()
    of_encoder = set(dict(model.policy.encoder.named_parameters()))
    assert parameters_with_gradient(model.policy.encoder) == of_encoder
    assert not parameters_with_gradient(model.policy.head)
    assert len(list(model.critic.parameters())) == 2


@pytest.mark.parametrize("leaves", [(VECTOR,), (SCREEN, GEAR)], ids=["vector", "image"])
def test_values_are_the_same_with_and_without_the_distribution(leaves: tuple[Leaf, ...]) -> None:
    model = make_model(*leaves)
    obs = observe(*leaves)
    _, values = model(obs)
    assert values is not None
    assert values.shape == (8,)
    assert torch.equal(model.values(obs), values)


def test_without_a_critic_there_are_no_values() -> None:
    model = make_model(VECTOR, with_critic=False)
    _, values = model(observe(VECTOR))
    assert values is None
    assert len(list(model.parameters())) == len(list(model.policy.parameters()))


@torch.inference_mode()
def test_the_policy_normalizes_what_it_observes() -> None:
    policy = make_policy(VECTOR)
    obs = observe(VECTOR, batch_shape=(20, 2))
    policy.normalizer.merge(obs, torch.ones(20, 2, dtype=torch.bool))
    _, outputs = ActingPolicy(policy, torch.zeros(40, 0)).act(
        {name: leaf.flatten(0, 1).numpy() for name, leaf in obs.items()}, np.zeros(40, bool)
    )
    acting = policy.distribution_of(torch.from_numpy(outputs))
    chances = acting.log_prob(torch.zeros(40, dtype=torch.int64))
    actions = torch.zeros(20, 2, dtype=torch.int64)
    assert torch.equal(chances, policy(policy.normalizer(obs)).log_prob(actions).flatten())
    assert not torch.equal(chances, policy(obs).log_prob(actions).flatten())


@pytest.mark.parametrize("kind", ACTIONS)
def test_arrays_make_a_round_trip_between_two_networks(kind: str) -> None:
    leaves = (VECTOR, SCREEN, GEAR)
    first, second = make_policy(*leaves, kind=kind), make_policy(*leaves, kind=kind, seed=1)
    rows = torch.ones(8, 1, dtype=torch.bool)
    first.normalizer.merge(observe(*leaves, batch_shape=(8, 1)), rows)
    obs = observe(*leaves, seed=5)
    actions = first(obs).greedy()
    assert not torch.equal(first(obs).log_prob(actions), second(obs).log_prob(actions))
    load_arrays(second, to_arrays(first))
    assert torch.equal(first(obs).log_prob(actions), second(obs).log_prob(actions))
    for name, array in to_arrays(second).items():
        np.testing.assert_array_equal(array, to_arrays(first)[name])
        assert array.dtype == to_arrays(first)[name].dtype


def test_weights_carry_their_version_and_the_normalizer() -> None:
    policy, other = make_policy(VECTOR), make_policy(VECTOR, seed=1)
    rows = torch.ones(8, 1, dtype=torch.bool)
    policy.normalizer.merge(observe(VECTOR, batch_shape=(8, 1)), rows)
    weights = policy.weights(7)
    assert weights.version == 7
    other.load(weights)
    actions = torch.zeros(8, dtype=torch.int64)
    obs = observe(VECTOR, seed=9)
    assert torch.equal(policy(obs).log_prob(actions), other(obs).log_prob(actions))


def test_arrays_are_copies_on_the_way_out_and_on_the_way_in() -> None:
    policy = make_policy(VECTOR)
    arrays = to_arrays(policy)
    kept = {name: array.copy() for name, array in arrays.items()}
    for array in arrays.values():
        array += 1
    after = to_arrays(policy)
    assert all(np.array_equal(after[name], kept[name]) for name in kept)
    load_arrays(policy, arrays)
    for array in arrays.values():
        array += 1
    after = to_arrays(policy)
    assert all(np.array_equal(after[name], kept[name] + 1) for name in kept)


def test_arrays_that_are_read_only_are_loaded() -> None:
    arrays = to_arrays(make_policy(VECTOR, seed=1))
    for array in arrays.values():
        array.flags.writeable = False
    policy = make_policy(VECTOR)
    load_arrays(policy, arrays)
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.add_(1)
    again = to_arrays(make_policy(VECTOR, seed=1))
    assert all(np.array_equal(arrays[name], again[name]) for name in arrays)


def test_loading_refuses_a_wrong_shape_and_names_it() -> None:
    arrays = to_arrays(make_policy(VECTOR))
    arrays["head.weight"] = arrays["head.weight"][:, :3]
    with pytest.raises(InputError, match=r"head\.weight is \[5, 3\], \[5, 16\] is expected"):
        load_arrays(make_policy(VECTOR), arrays)


def test_loading_refuses_a_missing_array_and_names_it() -> None:
    arrays = to_arrays(make_policy(VECTOR))
    del arrays["head.bias"]
    with pytest.raises(InputError, match=r"head\.bias is absent, \[5\] is expected"):
        load_arrays(make_policy(VECTOR), arrays)


def test_loading_refuses_an_array_too_many_and_names_it() -> None:
    arrays = to_arrays(make_policy(VECTOR)) | {"tail": np.zeros(3)}
    with pytest.raises(InputError, match=r"tail is \[3\], absent is expected"):
        load_arrays(make_policy(VECTOR), arrays)


def test_loading_what_does_not_fit_changes_nothing() -> None:
    policy = make_policy(VECTOR)
    before = to_arrays(policy)
    with pytest.raises(InputError):
        load_arrays(policy, to_arrays(make_policy(VECTOR, seed=1)) | {"zzz": np.zeros(1)})
    after = to_arrays(policy)
    assert all(np.array_equal(after[name], before[name]) for name in before)


def encoder_of(*shape: int, precision: str = "float32") -> ImageEncoder:
    return ImageEncoder(Leaf("i", (), shape, "uint8", "image"), precision)


@pytest.mark.parametrize(
    "shape", [(36, 40, 3), (3, 36, 40), (36, 40), (7, 7, 3), (3, 7, 7), (7, 7)]
)
def test_an_image_becomes_512_features_whatever_its_size_and_axes(shape: tuple[int, ...]) -> None:
    encoder = encoder_of(*shape)
    (image,) = observe(Leaf("i", (), shape, "uint8", "image"), batch_shape=(2, 3)).values()
    assert encoder(image).shape == (2, 3, 512)
    assert encoder(image[0, 0]).shape == (512,)
    assert_close(encoder(image)[1, 2], encoder(image[1, 2]))


@pytest.mark.parametrize(("height", "width"), [(36, 40), (5, 4)])
def test_an_image_with_its_channels_first_or_last_gives_the_same_features(
    height: int, width: int
) -> None:
    last, first = encoder_of(height, width, 3), encoder_of(3, height, width)
    load_arrays(first, to_arrays(last))
    (image,) = observe(Leaf("i", (), (height, width, 3), "uint8", "image")).values()
    assert_close(first(image.movedim(-1, 1)), last(image))


def test_an_image_without_a_channel_axis_is_an_image_of_one_channel() -> None:
    flat, deep = encoder_of(5, 4), encoder_of(5, 4, 1)
    load_arrays(flat, to_arrays(deep))
    (image,) = observe(Leaf("i", (), (5, 4), "uint8", "image")).values()
    assert_close(flat(image), deep(image.unsqueeze(-1)))


def test_every_pixel_of_a_small_image_reaches_the_features() -> None:
    encoder = encoder_of(7, 7, 3)
    lit = 255 * torch.eye(147, dtype=torch.uint8).view(147, 7, 7, 3)
    dark = torch.zeros(1, 7, 7, 3, dtype=torch.uint8)
    assert ((encoder(lit) - encoder(dark)).abs().amax(1) > 1e-6).all()


def test_in_bf16_the_features_are_those_of_float32_but_for_its_rounding() -> None:
    wide, narrow = encoder_of(4, 84, 84), encoder_of(4, 84, 84, precision="bf16")
    load_arrays(narrow, to_arrays(wide))
    (image,) = observe(Leaf("i", (), (4, 84, 84), "uint8", "image")).values()
    expected, found = wide(image), narrow(image)
    assert found.dtype == torch.float32
    assert not torch.equal(found, expected)
    assert_close(found, expected, rtol=0.05, atol=0.02 * float(expected.max()))


def test_a_policy_that_keeps_its_weights_in_bf16_acts_as_the_one_that_learns() -> None:
    parts = dataclasses.replace(PARTS, precision="bf16")
    spec, kind = ObsSpec((SCREEN,)), ACTIONS["categorical"]
    learning, acting = (Policy(spec, kind, parts) for _ in range(2))
    acting.for_acting().load(learning.weights(0))
    obs = observe(SCREEN)
    actions = torch.arange(8) % 4
    assert torch.equal(learning(obs).log_prob(actions), acting(obs).log_prob(actions))


def test_categories_become_one_hot_vectors_side_by_side() -> None:
    # of sizes 2 and 3, the second counted from -1
    values = torch.tensor([[0, -1], [1, 1], [1, 0]])
    expected = [[1, 0, 1, 0, 0], [0, 1, 0, 0, 1], [0, 1, 0, 1, 0]]
    assert flatten_leaf(values, KEYS).tolist() == expected
    assert flatten_leaf(torch.tensor([1, 4]), GEAR).tolist() == [[1, 0, 0, 0], [0, 0, 0, 1]]


@pytest.mark.parametrize("batch_shape", [(), (5,), (2, 3)])
def test_images_vectors_and_categories_are_observed_together(batch_shape: tuple[int, ...]) -> None:
    leaves = (SCREEN, PLACE, GEAR, KEYS)
    model = make_model(*leaves)
    obs = observe(*leaves, batch_shape=batch_shape)
    distribution, values = model(model.policy.normalizer(obs))
    assert values is not None
    assert values.shape == batch_shape
    assert distribution.entropy().shape == batch_shape
    assert model.policy(obs).greedy().shape == batch_shape


@pytest.mark.parametrize("changed", [SCREEN, PLACE, GEAR, KEYS], ids=lambda leaf: leaf.name)
def test_each_part_of_an_observation_matters(changed: Leaf) -> None:
    leaves = (SCREEN, PLACE, GEAR, KEYS)
    policy = make_policy(*leaves)
    obs, other = observe(*leaves), observe(*leaves, seed=1)
    features = policy.encoder(obs)
    assert not torch.equal(policy.encoder(obs | {changed.name: other[changed.name]}), features)


@pytest.mark.parametrize("kind", ACTIONS)
def test_actions_have_the_shape_and_type_that_a_rollout_stores(kind: str) -> None:
    policy = make_policy(VECTOR, kind=kind)
    actions = policy(observe(VECTOR)).sample(torch.Generator().manual_seed(0))
    assert tuple(actions.shape[1:]) == ACTIONS[kind].stored_shape
    assert actions.numpy(force=True).dtype == ACTIONS[kind].stored_dtype


LINEAR = Architecture(hidden_sizes=(), activation="tanh", normalize_obs=False)


def make_linear(*leaves: Leaf, kind: str = "categorical") -> ActorCritic:
    policy = Policy(ObsSpec(leaves), ACTIONS[kind], LINEAR)
    return ActorCritic(policy, LINEAR, with_critic=True)


def both(model: ActorCritic, obs: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    return model.policy.parameters_at(obs), model.values(obs)


@pytest.mark.parametrize("kind", ACTIONS)
def test_without_hidden_layers_actor_and_critic_are_linear(kind: str) -> None:
    model = make_linear(VECTOR, PLACE, kind=kind)
    outputs = model.policy.head.out_features
    # 6 + 2 x 3 numbers are observed
    assert {tuple(one.shape) for one in model.critic.parameters()} == {(1, 12), (1,)}
    shapes = {name: tuple(one.shape) for name, one in model.policy.named_parameters()}
    shapes.pop("log_std", None)
    assert shapes == {"head.weight": (outputs, 12), "head.bias": (outputs,)}
    one, other = observe(VECTOR, PLACE), observe(VECTOR, PLACE, seed=1)
    between = {name: 0.25 * one[name] + 0.75 * other[name] for name in one}
    for found, first, second in zip(*map(partial(both, model), (between, one, other)), strict=True):
        assert_close(found, 0.25 * first + 0.75 * second)


def test_where_all_observations_are_categories_they_are_tables() -> None:
    model = make_linear(GEAR)
    # a row for each of four gears, of five actions or one value, and nothing that rows share
    assert [tuple(one.shape) for one in model.policy.parameters()] == [(5, 4)]
    assert [tuple(one.shape) for one in model.critic.parameters()] == [(1, 4)]
    gears = {"gear": torch.tensor([1, 2, 3, 4, 3])}
    before, values = model.policy(gears).log_prob(torch.zeros(5).long()), model.values(gears)
    with torch.no_grad():
        model.policy.head.weight[0, 2] += 1  # of gear 3
        for weight in model.critic.parameters():
            weight[0, 2] += 7
    after = model.policy(gears).log_prob(torch.zeros(5).long())
    assert (after != before).tolist() == [False, False, True, False, True]
    assert_close(model.values(gears) - values, torch.tensor([0.0, 0, 7, 0, 7]))


@pytest.mark.parametrize(
    ("leaves", "hidden_sizes", "is_table"),
    [
        ((GEAR,), (), True),
        ((GEAR, KEYS), (), True),
        ((GEAR,), (8,), False),
        ((VECTOR,), (), False),
        ((GEAR, VECTOR), (), False),
        ((SCREEN,), (), False),
        ((SCREEN, GEAR), (), False),
    ],
    ids=str,
)
def test_only_categories_without_hidden_layers_are_a_table_and_have_no_bias(
    leaves: tuple[Leaf, ...], hidden_sizes: tuple[int, ...], is_table: bool
) -> None:
    parts = Architecture(hidden_sizes=hidden_sizes, activation="relu", normalize_obs=True)
    policy = Policy(ObsSpec(leaves), ACTIONS["categorical"], parts)
    assert policy.encoder.is_table == is_table
    assert (policy.head.bias is None) == is_table
    model = ActorCritic(policy, parts, with_critic=True)
    distribution, values = model(policy.normalizer(observe(*leaves)))
    assert values is not None
    assert values.shape == distribution.entropy().shape == (8,)


@pytest.mark.parametrize("kind", ACTIONS)
def test_a_distribution_is_rebuilt_from_its_parameters(kind: str) -> None:
    policy = make_policy(VECTOR, kind=kind)
    if kind == "continuous":
        assert policy.log_std is not None
        with torch.no_grad():
            policy.log_std.copy_(torch.tensor([0.3, -0.9]))
    original, parameters = policy(observe(VECTOR)), policy.parameters_at(observe(VECTOR))
    assert parameters.shape[0] == 8
    rebuilt = policy.rebuild(parameters)
    actions = original.sample(torch.Generator().manual_seed(0))
    assert torch.equal(rebuilt.log_prob(actions), original.log_prob(actions))
    assert_close(rebuilt.entropy(), original.entropy())
    assert_close(rebuilt.kl(original), torch.zeros(8), rtol=0, atol=1e-6)
    # and they can be split into minibatches
    rows = torch.tensor([5, 2])
    some = policy.rebuild(parameters[rows]).log_prob(actions[rows])
    assert_close(some, original.log_prob(actions)[rows])
