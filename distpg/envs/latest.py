"""The last observation of each of N copies, copied before the next copy is stepped."""

import math
from typing import Any

import numpy as np

from distpg.errors import EnvError, InputError
from distpg.spaces import Obs, ObsSpec


class LatestObs:
    """Arrays with a row for each copy, overwritten by the next step.

    Many environments compute in float64 and declare float32. What they return is kept as it is
    until `settle`, which casts the rows of all copies at once and refuses what float32 cannot hold.
    """

    def __init__(self, spec: ObsSpec, num_envs: int) -> None:
        """Allocate the arrays."""
        self.leaves = spec.leaves
        self.obs: Obs = {
            leaf.name: np.zeros((num_envs, *leaf.shape), leaf.dtype) for leaf in spec.leaves
        }
        """{leaf: [N, *O]}"""
        self.wide: Obs = {
            leaf.name: np.zeros((num_envs, *leaf.shape))
            for leaf in spec.leaves
            if leaf.dtype == "float32" and leaf.kind != "mask"
        }
        """Those that may come in float64, {leaf: [N, *O]}."""
        self.uncast = {name: np.zeros(num_envs, bool) for name in self.wide}
        """By leaf, [N]: whether the row of `wide` is newer than that of `obs`."""

    def put(self, env: int, obs: Any) -> None:
        """Copy the observation of one copy, in the env's nesting.

        Raises:
            EnvError: a part is missing or has another shape, or its dtype cannot represent it.
        """
        for leaf in self.leaves:
            try:
                part = leaf.find(obs)
                wide = leaf.name in self.wide and getattr(part, "dtype", None) == np.float64
                array = np.asarray(part) if wide else leaf.convert(part)
            except InputError as error:
                raise EnvError(str(error), env) from error
            if array.shape != leaf.shape:
                raise EnvError(
                    f"observation {leaf.name!r} has shape {list(array.shape)}; "
                    f"{list(leaf.shape)} is expected, as in the env's space",
                    env,
                )
            (self.wide if wide else self.obs)[leaf.name][env] = array
            if leaf.name in self.wide:
                self.uncast[leaf.name][env] = wide

    def settle(self) -> Obs:
        """Cast what was put, and return all arrays.

        Raises:
            EnvError: float32 cannot represent a number.
        """
        for leaf in self.leaves:
            uncast = self.uncast.get(leaf.name)
            if uncast is None or not uncast.any():
                continue
            array, wide = self.obs[leaf.name], self.wide[leaf.name]
            rows = slice(None) if uncast.all() else uncast
            with np.errstate(over="ignore", invalid="ignore"):
                array[rows] = wide[rows]
                total = float(np.add.reduce(array, axis=None))
            if not math.isfinite(total):
                for env in np.flatnonzero(uncast):
                    try:
                        leaf.convert(wide[env])
                    except InputError as error:
                        raise EnvError(str(error), int(env)) from error
            uncast[:] = False
        return self.obs
