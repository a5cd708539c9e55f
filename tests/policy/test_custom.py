"""A user-defined encoder: its inputs, its contract, and the policy that it is part of."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from distpg import InputError, RunError, load_policy
from distpg.policy.actor_critic import Policy
from distpg.policy.architecture import Architecture
from distpg.policy.critic import ActorCritic
from distpg.policy.custom import make_encoder
from distpg.policy.encoders import ObsEncoder
from distpg.policy.file import PolicyFile, policy_bytes, read_policy
from distpg.policy.play import SavedPolicy
from distpg.spaces import ActionSpec, Leaf, ObsSpec, spaces_to_json
from tests.faults.encoders import Fine, LooksAround

PARTS = Architecture((8,), "tanh", normalize_obs=True)
CHOICE = ActionSpec("categorical", (), "int64", (5,), (0,))
VECTOR = ObsSpec((Leaf("obs", (), (4,), "float32", "vector"),))
MIXED = ObsSpec(
    (
        Leaf("bits", ("bits",), (2, 3), "int8", "vector"),
        Leaf("screen", ("screen",), (7, 7, 3), "uint8", "image"),
        Leaf("gears", ("gears",), (2,), "int64", "categories", (4, 2), (-1, 0)),
    )
)
FINE = "tests.faults.encoders:Fine"


class Watches(nn.Module):
    """Notes what it is given."""

    num_features = 3

    def __init__(self, obs_spec: ObsSpec, parts: Architecture) -> None:
        super().__init__()
        self.made_of = (obs_spec, parts)
        self.seen: list[Mapping[str, Tensor]] = []
        self.scale = nn.Parameter(torch.ones(3))

    def forward(self, obs: Mapping[str, Tensor]) -> Tensor:
        self.seen.append(obs)
        sums = [leaf.flatten(1).float().sum(1) for leaf in obs.values()]
        return torch.stack(sums, 1) * self.scale


class Lazy(nn.Module):
    """Sizes itself by what it sees first."""

    num_features = 6

    def __init__(self, obs_spec: ObsSpec, parts: Architecture) -> None:
        super().__init__()
        self.dense = nn.LazyLinear(6)

    def forward(self, obs: Mapping[str, Tensor]) -> Tensor:
        return self.dense(torch.cat([leaf.flatten(1).float() for leaf in obs.values()], 1))


def observe(*batch_shape: int, seed: int = 0) -> dict[str, Tensor]:
    draw = np.random.default_rng(seed)
    drawn = {
        "bits": draw.integers(0, 2, (*batch_shape, 2, 3), np.int8),
        "screen": draw.integers(0, 256, (*batch_shape, 7, 7, 3), np.uint8),
        "gears": draw.integers([-1, 0], [3, 2], (*batch_shape, 2)),
    }
    return {name: torch.from_numpy(np.asarray(array)) for name, array in drawn.items()}


def having(encoder: str | type | None, **changes: Any) -> Architecture:
    return dataclasses.replace(PARTS, encoder=encoder, **changes)


def make_policy(spec: ObsSpec, parts: Architecture, seed: int = 0) -> Policy:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Policy(spec, CHOICE, parts)


@pytest.mark.parametrize("batch_shape", [(), (5,), (2, 3)])
@pytest.mark.parametrize("normalize", [True, False])
def test_it_sees_one_axis_of_observations_each_leaf_in_one_type(
    batch_shape: tuple[int, ...], normalize: bool
) -> None:
    parts = having(Watches, normalize_obs=normalize)
    policy = make_policy(MIXED, parts)
    watching = policy.encoder.get_submodule("module")
    assert isinstance(watching, Watches)
    assert watching.made_of == (MIXED, parts)
    watching.seen.clear()
    obs = observe(*batch_shape)
    assert policy(obs).greedy().shape == batch_shape
    (given,) = watching.seen
    count = int(np.prod(batch_shape))
    assert {name: (tuple(x.shape), x.dtype) for name, x in given.items()} == {
        "bits": ((count, 2, 3), torch.float32),
        "screen": ((count, 7, 7, 3), torch.uint8),
        "gears": ((count, 2), torch.int64),
    }
    assert torch.equal(given["screen"], obs["screen"].reshape(-1, 7, 7, 3))


def test_each_observation_keeps_its_place_among_the_axes() -> None:
    encoder, obs = make_encoder(MIXED, having(Lazy)), observe(2, 3)
    features = encoder(obs)
    assert features.shape == (2, 3, 6)
    alone = encoder({name: leaf[1, 2] for name, leaf in obs.items()})
    # sums of many pixels, of up to 255 each, in another order
    assert_close(features[1, 2], alone, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("spec", [VECTOR, MIXED], ids=["vector", "mixed"])
def test_the_encoder_that_is_there_is_a_class_that_can_be_named(spec: ObsSpec) -> None:
    plain = make_policy(spec, PARTS)
    named = make_policy(spec, having("distpg.policy.encoders:ObsEncoder"))
    given = make_policy(spec, having(ObsEncoder))
    obs = observe(4) if spec is MIXED else {"obs": torch.randn(4, 4)}
    actions = torch.arange(4)
    for other in (named, given):
        assert torch.equal(other(obs).log_prob(actions), plain(obs).log_prob(actions))


def test_the_critic_has_one_of_its_own_and_shares_the_policys_where_there_are_images() -> None:
    apart = ActorCritic(make_policy(VECTOR, having(Fine)), having(Fine), with_critic=True)
    assert "encoder" in apart.critic
    assert not set(apart.policy.parameters()) & set(apart.critic.parameters())
    values = apart.values({"obs": torch.randn(5, 4)})
    assert values.shape == (5,)
    shared = ActorCritic(make_policy(MIXED, having(Lazy)), having(Lazy), with_critic=True)
    assert set(shared.critic) == {"head"}
    assert shared.values(observe(5)).shape == (5,)


def test_trying_it_draws_no_observation_from_the_streams_of_the_run() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        Fine(VECTOR, PARTS)
        expected = torch.rand(3)
        torch.manual_seed(0)
        make_encoder(VECTOR, having(Fine))
        assert torch.equal(torch.rand(3), expected)


def test_what_is_wrong_with_a_class_is_said_with_its_name() -> None:
    named = "--encoder tests.faults.encoders:LooksAround: .*not the same alone as in a batch"
    with pytest.raises(InputError, match=named):
        make_encoder(VECTOR, having(LooksAround))


def saved(policy: Policy, parts: Architecture) -> bytes:
    spaces = spaces_to_json(policy.obs_spec, policy.action_spec)
    return policy_bytes(policy.weights(3), spaces, parts)


@pytest.fixture
def of_fine(tmp_path: Any) -> tuple[Policy, Any]:
    """A policy with a user-defined encoder, and its file."""
    parts = having(FINE)
    policy = make_policy(VECTOR, parts)
    path = tmp_path / "policy.safetensors"
    path.write_bytes(saved(policy, parts))
    return policy, path


@pytest.mark.parametrize("encoder", [Fine, FINE], ids=["class", "name"])
def test_a_policy_plays_from_its_file_with_the_class_that_is_given(
    of_fine: tuple[Policy, Any], encoder: str | type[nn.Module]
) -> None:
    policy, path = of_fine
    obs = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)
    acting = load_policy(path, encoder=encoder)
    expected = policy({"obs": torch.from_numpy(obs)}).greedy()
    np.testing.assert_array_equal(acting.act(obs), expected.numpy())


def test_a_policy_is_refused_without_the_class_and_with_another(
    of_fine: tuple[Policy, Any],
) -> None:
    _, path = of_fine
    with pytest.raises(InputError, match=f"{FINE}.*load_policy\\(run, encoder="):
        load_policy(path)
    with pytest.raises(InputError, match=r"encoder\.module\.dense\.bias is \[8\], absent is"):
        load_policy(path, encoder=ObsEncoder)


def test_a_policy_without_such_a_class_takes_none() -> None:
    policy = make_policy(VECTOR, PARTS)
    file = PolicyFile(policy.weights(0), VECTOR, CHOICE, PARTS)
    with pytest.raises(InputError, match=f"trained without --encoder; omit encoder={FINE}"):
        SavedPolicy(file, encoder=FINE)


def test_a_class_may_be_smaller_than_the_hidden_layers_that_it_has_no_use_for(
    tmp_path: Any,
) -> None:
    parts = having(FINE, hidden_sizes=(64, 64))
    path = tmp_path / "policy.safetensors"
    path.write_bytes(saved(make_policy(VECTOR, parts), parts))
    assert read_policy(path).architecture == parts


class Mean(nn.Module):
    """Sees a large image, and has a single number of its own."""

    num_features = 1

    def __init__(self, obs_spec: ObsSpec, parts: Architecture) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, obs: Mapping[str, Tensor]) -> Tensor:
        return self.scale * obs["obs"].flatten(1).float().mean(1, keepdim=True)


@pytest.mark.parametrize("side", [256, 2048])
def test_a_class_may_be_smaller_than_what_it_sees_within_bounds(side: int, tmp_path: Any) -> None:
    parts = having("tests.policy.test_custom:Mean")
    seen = ObsSpec((Leaf("obs", (), (8, 8, 1), "uint8", "image"),))
    policy = make_policy(seen, parts)
    policy.obs_spec = ObsSpec((Leaf("obs", (), (side, side, 1), "uint8", "image"),))
    path = tmp_path / "policy.safetensors"
    path.write_bytes(saved(policy, parts))
    if side == 256:
        acting = load_policy(path, encoder=Mean)
        assert acting.act(np.zeros((side, side, 1), np.uint8)) in range(5)
    else:
        with pytest.raises(InputError, match="more than its"):
            load_policy(path, encoder=Mean)


def test_images_alone_may_be_smaller_than_hidden_layers_which_they_have_no_use_for(
    tmp_path: Any,
) -> None:
    spec = ObsSpec((Leaf("obs", (), (7, 7, 3), "uint8", "image"),))
    parts = having(None, hidden_sizes=(2048, 2048), image_encoder="impala")
    path = tmp_path / "policy.safetensors"
    path.write_bytes(saved(make_policy(spec, parts), parts))
    assert load_policy(path).act(np.zeros((7, 7, 3), np.uint8)) in range(5)


class Picky(Fine):
    """Takes small numbers alone."""

    def forward(self, obs: Mapping[str, Tensor]) -> Tensor:
        if (obs["obs"] > 5).any():
            raise ValueError("too large")
        return super().forward(obs)


def test_what_it_raises_later_is_told_in_a_line_with_its_place() -> None:
    policy = make_policy(VECTOR, having(Picky, normalize_obs=False))
    policy({"obs": torch.zeros(2, 4)})
    said = r"^--encoder tests\.policy\.test_custom:Picky: ValueError: too large \(test_custom\.py,"
    with pytest.raises(RunError, match=said):
        policy({"obs": torch.full((2, 4), 9.0)})
