"""Numbers that lose their digits: float32, in which networks compute, cannot tell them apart."""

from typing import Any

import numpy as np

from distpg.spaces import ObsSpec

LEVELS = 16
"""Steps of float32 that the values of an entry should span."""
NOISE = 1e-12
"""Spread of floats, relative to their magnitude, that is rounding in the environment itself."""


class Digits:
    """The range of each entry of the vectors that an environment returns, before the cast."""

    def __init__(self, spec: ObsSpec) -> None:
        """Watch the vectors."""
        self.leaves = [leaf for leaf in spec.leaves if leaf.kind == "vector"]
        self.ranges: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        """Lowest and highest value so far, [*O] each."""

    def watch(self, obs: Any) -> None:
        """Add an observation, of one env or batched, as the env returns it."""
        for leaf in self.leaves:
            values = np.asarray(leaf.get(obs))
            # float32 holds what is shorter
            if values.dtype.kind not in "iuf" or values.dtype.itemsize < np.dtype("f4").itemsize:
                continue
            if values.dtype == np.float32:
                continue
            rows = values.reshape(-1, *leaf.shape)
            low, high = np.fmin.reduce(rows), np.fmax.reduce(rows)
            if leaf.name in self.ranges:
                lowest, highest = self.ranges[leaf.name]
                low, high = np.fmin(low, lowest), np.fmax(high, highest)
            self.ranges[leaf.name] = low, high

    def lost(self) -> dict[str, str]:
        """Return a warning for each leaf with an entry whose values float32 cannot tell apart."""
        warnings: dict[str, str] = {}
        for name, (low, high) in self.ranges.items():
            with np.errstate(all="ignore"):
                magnitude = np.maximum(np.abs(low.astype(float)), np.abs(high.astype(float)))
                # exact in the dtype of the env, also for integers beyond 2**53
                spread = (high - low).astype(float)
                step = np.spacing(magnitude.astype(np.float32)).astype(float)
                least = NOISE * magnitude if low.dtype.kind == "f" else 0
                lost = (spread > least) & (spread < LEVELS * step)
            if lost.any():
                entry = np.unravel_index(int(np.argmax(lost)), lost.shape)
                at = f", entry {list(map(int, entry))}," if lost.ndim else ""
                warnings[name] = (
                    f"observation {name!r}{at} loses digits: its values near "
                    f"{magnitude[entry]:.3g} span {spread[entry]:.3g}, and float32 has steps of "
                    f"{step[entry]:.3g} there; subtract an offset in a wrapper, such as "
                    "gymnasium.wrappers.TransformObservation"
                )
        return warnings
