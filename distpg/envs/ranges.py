"""Values that contradict their space, or that float32, in which networks compute, merges."""

from typing import Any

import numpy as np

from distpg.spaces import ObsSpec

WHITE = 255
"""The largest value of a pixel in eight bits."""
LEVELS = 16
"""Steps of float32 that the values of an entry should span."""
NOISE = 1e-12
"""Spread of floats, relative to their magnitude, that is rounding in the environment itself."""


class Ranges:
    """The ranges of what an environment returns, before the cast."""

    def __init__(self, spec: ObsSpec) -> None:
        """Watch the vectors and the pictures."""
        self.vectors = [leaf for leaf in spec.leaves if leaf.kind == "vector"]
        self.pictures = [leaf for leaf in spec.leaves if leaf.kind == "image"]
        self.ranges: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        """By vector, the lowest and highest value of each entry so far, [*O] each."""
        self.brightest = dict.fromkeys((leaf.name for leaf in self.pictures), 0.0)
        """By picture, the largest magnitude of a pixel so far."""

    def watch(self, obs: Any) -> None:
        """Add an observation, of one env or batched, as the env returns it."""
        for leaf in self.pictures:
            values = np.asarray(leaf.get(obs))
            largest = max(float(values.max()), -float(values.min()))
            self.brightest[leaf.name] = max(self.brightest[leaf.name], largest)
        for leaf in self.vectors:
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

    def warnings(self) -> dict[str, str]:
        """Return a warning for each picture of the wrong range, and each vector that loses digits.

        A vector loses digits if float32 cannot tell the values of an entry apart.
        """
        return self._of_pictures() | self._of_vectors()

    def _of_pictures(self) -> dict[str, str]:
        """Warn of pixels beyond the bounds of the space, and of ones up to 1 where 255 is white."""
        return {
            leaf.name: (
                f"picture {leaf.name!r} has values up to {self.brightest[leaf.name]:.3g}, and is "
                f"divided by {leaf.scale:g}; give the space the bounds of its values"
            )
            for leaf in self.pictures
            if self.brightest[leaf.name] > leaf.scale
            or (leaf.scale == WHITE and 0 < self.brightest[leaf.name] <= 1)
        }

    def _of_vectors(self) -> dict[str, str]:
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
