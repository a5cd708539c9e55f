"""Which observations are pictures: decided by type, bounds and axes of their space.

The table in docs/observations.md lists the readings. `--image-keys` names the pictures instead.
"""

import numpy as np
from gymnasium import spaces

from distpg.errors import InputError
from distpg.spaces import PICTURE_AXES, layout_of

Pixels = spaces.Box | spaces.MultiBinary
CHANNELS = (1, 3, 4)
SMALLEST = 8
"""Pixels of the shorter side."""
MAX_FRAMES = 16
"""Pictures in a stack."""
SMALLEST_FRAME = 36
"""Pixels of the shorter side of gray pictures that are stacked on the axis of the channels."""


def why_vector(space: Pixels) -> str:
    """Return why a space is not that of a picture, if it has as many axes; empty if it is."""
    if len(space.shape) not in PICTURE_AXES:
        return ""
    layout = layout_of(space.shape)
    sizes = dict(zip(layout, space.shape, strict=True))
    channels, frames, side = sizes.get("C", 1), sizes.get("S", 1), min(sizes["H"], sizes["W"])
    if not has_bounds_of_pixels(space):
        return "a picture is uint8 in [0, 255], or floats in [0, 1] or [0, 255]"
    if side < SMALLEST:
        return f"{sizes['H']} x {sizes['W']} is below {SMALLEST} x {SMALLEST}, the least picture"
    if frames > MAX_FRAMES:
        return f"a stack has at most {MAX_FRAMES} pictures, not {frames}"
    is_stack = layout == "CHW" and channels <= MAX_FRAMES and side >= SMALLEST_FRAME
    if channels in CHANNELS or is_stack:
        return ""
    return f"a picture has 1, 3 or 4 channels, not {channels}"


def is_picture(space: Pixels) -> bool:
    """Return whether a space is that of a picture."""
    return len(space.shape) in PICTURE_AXES and not why_vector(space)


def has_bounds_of_pixels(space: Pixels) -> bool:
    """Return whether all entries are uint8 in [0, 255], or floats in [0, 1] or [0, 255]."""
    if not isinstance(space, spaces.Box) or np.any(space.low != 0):
        return False
    allowed = (255,) if space.dtype == np.uint8 else (1, 255)
    is_allowed = space.dtype == np.uint8 or space.dtype.kind == "f"
    return is_allowed and any(np.all(space.high == x) for x in allowed)


def scale_of(space: Pixels) -> float:
    """Return what to divide pixels by: the largest magnitude of the bounds, 1 if it is infinite.

    The largest number of float32 counts as infinite.
    """
    if not isinstance(space, spaces.Box):
        return 1.0
    low, high = float(space.low.min()), float(space.high.max())
    largest = max(abs(low), abs(high))
    return largest if 0 < largest < np.finfo(np.float32).max else 1.0


def check_pixels(space: object, name: str) -> Pixels:
    """Return the space of a leaf that `--image-keys` names.

    Raises:
        InputError: it cannot be that of a picture.
    """
    if not isinstance(space, Pixels):
        kind = type(space).__name__
        raise InputError(f"--image-keys: {name} is {kind}; a picture is a Box of 2 to 4 axes")
    if len(space.shape) not in PICTURE_AXES:
        raise InputError(
            f"--image-keys: {name} has shape {list(space.shape)}; a picture has 2 to 4 axes"
        )
    return space
