"""The policy as one function of tensors, and NumPy's functions on tensors."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from distpg.policy.action_units import ActionUnits
from distpg.policy.actor_critic import Policy
from distpg.policy.architecture import Architecture
from distpg.policy.distributions import DiagonalGaussian
from distpg.policy.greedy import GreedyPolicy
from distpg.policy.tensor_array import TensorArray
from distpg.spaces import ActionSpec, Leaf, ObsSpec

SPECS = {
    "categorical": ActionSpec("categorical", (), "int64", (4,), (-2,)),
    "multi_categorical": ActionSpec("multi_categorical", (2,), "int32", (4, 3), (1, -1)),
    "binary": ActionSpec("binary", (3,), "int8"),
    "float32": ActionSpec("continuous", (2,), "float32", low=(-0.1, 0.2), high=(0.0, 9.0)),
    "one side": ActionSpec("continuous", (2,), "float32", low=(-np.inf, 0.2), high=(1.0, 9.0)),
    "float64": ActionSpec("continuous", (1, 2), "float64", low=(-0.1, 0.2), high=(0.0, 9.0)),
    "scalar": ActionSpec("continuous", (), "float64", low=(-0.1,), high=(0.3,)),
}
WAYS = [
    ("gaussian", "unit"),
    ("gaussian", "bounds"),
    ("squashed_gaussian", "unit"),
    ("beta", "unit"),
]


@pytest.mark.parametrize("way", WAYS, ids=map(" ".join, WAYS))
@pytest.mark.parametrize("kind", SPECS)
def test_tensors_become_the_same_actions_as_arrays(kind: str, way: tuple[str, str]) -> None:
    spec = SPECS[kind]
    if kind == "one side" and way[0] != "gaussian":
        pytest.skip("needs two bounds")
    units = ActionUnits(spec, *way)
    rng = np.random.default_rng(0)
    shape = (50, *spec.stored_shape)
    if spec.kind == "continuous":
        sampled = rng.random(shape) if way[0] == "beta" else 3 * rng.normal(size=shape)
    else:
        sampled = rng.integers(0, spec.sizes or 2, shape if spec.sizes != (4,) else (50,))
    sampled = sampled.astype(spec.stored_dtype)
    expected = spec.to_env(units.to_bounds(sampled))
    wrapped: Any = TensorArray(torch.from_numpy(sampled))
    found: Any = spec.to_env(units.to_bounds(wrapped))
    assert found.tensor.numpy().dtype == expected.dtype
    np.testing.assert_allclose(found.tensor.numpy(), expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("scale", ["unit", "bounds"])
@pytest.mark.parametrize("distribution", ["gaussian", "squashed_gaussian", "gsde"])
@torch.no_grad()
def test_the_docs_tell_how_to_sample(distribution: str, scale: str) -> None:
    obs_spec = ObsSpec((Leaf("obs", (), (3,), "float32", "vector"),))
    parts = Architecture((8,), "tanh", normalize_obs=False, action_distribution=distribution)
    policy = Policy(obs_spec, SPECS["float32"], replace(parts, action_scale=scale))
    obs, noise = torch.randn(40, 3), torch.randn(40, 2)
    found = {name: tensor.numpy() for name, tensor in GreedyPolicy(policy)(obs).items()}
    u = found["mean"] + np.exp(found["log_std"]) * noise.numpy()
    low, high = policy.action_spec.bounds
    middle, half = (low + high) / 2, (high - low) / 2
    if distribution == "squashed_gaussian":
        action = middle + half * np.tanh(u)
    elif scale == "bounds":
        action = (middle + half * u).clip(low, high)
    else:
        action = u.clip(low, high)
    acted = policy({"obs": obs})
    assert isinstance(acted, DiagonalGaussian)
    sampled = DiagonalGaussian(acted.mean, acted.log_std).sample_from(noise).numpy()
    expected = policy.action_spec.to_env(policy.to_bounds(sampled))
    np.testing.assert_allclose(action, expected, rtol=1e-5, atol=1e-5)
    greedy = policy.action_spec.to_env(policy.to_bounds(acted.greedy().numpy()))
    np.testing.assert_allclose(found["action"], greedy, rtol=1e-6)
