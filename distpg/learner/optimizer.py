"""The optimizer, and what it keeps for each parameter."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

from distpg.config import LearnerSettings
from distpg.errors import InputError

KEPT = {"adam": ("step", "exp_avg", "exp_avg_sq"), "sgd": ("momentum_buffer",)}
"""By the name of the optimizer's class."""


def make_optimizer(model: nn.Module, settings: LearnerSettings) -> torch.optim.Optimizer:
    """Make the optimizer that the settings name, its steps fused into one kernel."""
    rate = settings.learning_rate
    if settings.optimizer == "sgd":
        momentum = settings.momentum
        return torch.optim.SGD(model.parameters(), lr=rate, momentum=momentum, fused=True)
    return torch.optim.Adam(model.parameters(), lr=rate, eps=1e-5, fused=True)


def optimizer_arrays(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, np.ndarray]:
    """Copy out what the optimizer keeps, as KIND/PARAMETER."""
    return {
        f"{kind}/{name}": value.numpy(force=True).copy()
        for name, parameter in model.named_parameters()
        for kind, value in optimizer.state.get(parameter, {}).items()
        if value is not None
    }


def load_optimizer_arrays(
    model: nn.Module, optimizer: torch.optim.Optimizer, arrays: Mapping[str, np.ndarray]
) -> None:
    """Copy back what `optimizer_arrays` returned.

    Raises:
        InputError: some of what belongs together is missing.
    """
    kinds = KEPT[type(optimizer).__name__.lower()]
    for name, parameter in model.named_parameters():
        kept = {kind: arrays.get(f"{kind}/{name}") for kind in kinds}
        found = {kind: array for kind, array in kept.items() if array is not None}
        if found and len(found) < len(kinds):
            raise InputError(f"the saved optimizer lacks some of {', '.join(kinds)} of {name}")
        optimizer.state.pop(parameter, None)
        if found:
            # the step count stays on the parameter's device: the fused optimizer reads it there
            optimizer.state[parameter] = {
                kind: torch.tensor(array, device=parameter.device) for kind, array in found.items()
            }
