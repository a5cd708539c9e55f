"""Observations to try an exported policy with, drawn from what is known of them without an env."""

import numpy as np

from distpg.policy.actor_critic import Policy
from distpg.spaces import ActionSpec, Leaf, Obs

REACH = (1.0, 1.0, 3.0, 30.0)
"""How many standard deviations wide vectors are drawn, a quarter of the observations each."""


def draw_obs(policy: Policy, rows: int, rng: np.random.Generator) -> Obs:
    """Draw raw observations, {leaf: [rows, *O]}.

    Normalized vectors are drawn around their mean, others around 0 with deviation 1; pixels,
    categories and masks uniformly. A mask allows at least one action of each choice.
    """
    constants = policy.normalizer.constants()
    obs: Obs = {}
    for leaf in policy.obs_spec.leaves:
        if leaf.kind == "mask":
            values = draw_mask(policy.action_spec, rows, rng)
        elif leaf.name in constants:
            mean, scale = (tensor.numpy() for tensor in constants[leaf.name])
            values = mean + draw_leaf(leaf, rows, rng) / scale
        else:
            values = draw_leaf(leaf, rows, rng)
        obs[leaf.name] = as_dtype(values, np.dtype(leaf.dtype))
    return obs


def draw_leaf(leaf: Leaf, rows: int, rng: np.random.Generator) -> np.ndarray:
    """Draw values of a leaf that is no mask, [rows, *O]."""
    shape = (rows, *leaf.shape)
    if leaf.kind == "categories":
        starts = np.reshape(leaf.starts, leaf.shape)
        return rng.integers(starts, starts + np.reshape(leaf.sizes, leaf.shape), shape)
    if leaf.kind == "image":
        return rng.uniform(0, leaf.scale, shape)
    reach = rng.choice(REACH, (rows, *(1 for _ in leaf.shape)))
    return reach * rng.normal(size=shape)


def draw_mask(spec: ActionSpec, rows: int, rng: np.random.Generator) -> np.ndarray:
    """Draw masks, [rows, sum of sizes]."""
    parts: list[np.ndarray] = []
    for size in spec.sizes:
        # half of the actions, and one more
        allowed = rng.integers(0, 2, (rows, size))
        allowed[np.arange(rows), rng.integers(0, size, rows)] = 1
        parts.append(allowed)
    return np.concatenate(parts, -1)


def as_dtype(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Convert values to a dtype; integers are rounded, and limited to those that it has."""
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        values = np.rint(values).clip(limits.min, limits.max)
    return values.astype(dtype)
