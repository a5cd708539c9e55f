"""Gradient noise over signal, and its moving average: the batch size that pays."""

from collections.abc import Mapping

import numpy as np
from torch import Tensor

from distpg.gradient.diagnostics import gradient_noise

DECAY = 0.9
"""Weight of the average so far at each measurement."""


class NoiseAverage:
    """Exponential moving averages of signal and noise; one batch's estimates vary too much."""

    def __init__(self) -> None:
        """Start both at 0."""
        self.signal_and_noise = np.zeros(2)

    def measure(self, gradients: Tensor, sizes: Tensor) -> dict[str, float]:
        """Measure how the policy gradient differs between envs, and update the averages.

        Args:
            gradients: [K, P] policy gradients of groups of envs.
            sizes: [K] samples behind each.

        Returns:
            By TensorBoard tag:
            gradient/noise_scale: noise over signal of this batch, in samples (McCandlish et al.
            2018).
            gradient/snr: norm of the gradient over the standard deviation of this batch's.
            gradient/recommended_batch_size: the noise scale of the averages. Smaller batches are
            mostly noise; larger ones add little.
            Each is absent if the estimate of signal or noise is not positive, and all for a batch
            of one env, whose steps are not independent.
        """
        if len(sizes) < 2:
            return {}
        signal, noise = (float(x) for x in gradient_noise(gradients, sizes))
        measured = np.array([signal, noise])
        self.signal_and_noise = DECAY * self.signal_and_noise + (1 - DECAY) * measured
        scalars: dict[str, float] = {}
        if signal > 0 and noise > 0:
            scalars["gradient/noise_scale"] = noise / signal
            scalars["gradient/snr"] = (signal * float(sizes.sum()) / noise) ** 0.5
        mean_signal, mean_noise = self.signal_and_noise
        if mean_signal > 0 and mean_noise > 0:
            scalars["gradient/recommended_batch_size"] = float(mean_noise / mean_signal)
        return scalars

    def state(self) -> dict[str, np.ndarray]:
        """Return the averages as arrays."""
        return {"signal_and_noise": self.signal_and_noise.copy()}

    def load(self, state: Mapping[str, np.ndarray]) -> None:
        """Restore what `state` returned."""
        self.signal_and_noise = np.array(state["signal_and_noise"])
