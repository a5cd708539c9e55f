"""The optimizer: parameters in one buffer, gradients in another, so that a step is few kernels."""

from collections.abc import Generator, Mapping
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from distpg.config import LearnerSettings
from distpg.errors import InputError

KEPT = {"adam": ("step", "exp_avg", "exp_avg_sq"), "sgd": ("momentum_buffer",)}
"""What each optimizer keeps of a part."""


class Optimizer:
    """Moves a model whose parameters and gradients become views of two flat buffers.

    What is kept, Adam's moments or SGD's momentum, is flat too: one vector for each of the model's
    parts, its direct children.
    """

    def __init__(self, model: nn.Module, settings: LearnerSettings) -> None:
        """Lay the parameters out; their device must not change from here on."""
        named = list(model.named_parameters())
        values = torch.cat([parameter.detach().flatten() for _, parameter in named])
        self.gradients = torch.zeros_like(values)
        """[P]"""
        starts: dict[str, int] = {}
        end = 0
        for name, parameter in named:
            starts.setdefault(name.partition(".")[0], end)
            place = slice(end, end := end + parameter.numel())
            parameter.data = values[place].view_as(parameter)
            parameter.grad = self.gradients[place].view_as(parameter)
        self.parts: dict[str, nn.Parameter] = {}
        """By the child's name, its slice of the parameters."""
        for name, stop in zip(starts, [*starts.values(), end][1:], strict=True):
            place = slice(starts[name], stop)
            self.parts[name] = nn.Parameter(values[place])
            self.parts[name].grad = self.gradients[place]
        self.kept = KEPT[settings.optimizer]
        rate, parts = settings.learning_rate, list(self.parts.values())
        if settings.optimizer == "sgd":
            self.method = torch.optim.SGD(parts, rate, momentum=settings.momentum, fused=True)
        else:
            self.method = torch.optim.Adam(parts, rate, eps=1e-5, fused=True)

    def set_rate(self, rate: float) -> None:
        """Change the step size."""
        for group in self.method.param_groups:
            group["lr"] = rate

    def step(self, max_norm: float) -> Tensor:
        """Cut the gradient to a norm, take a step, clear the gradient; return the norm before."""
        norm = torch.linalg.vector_norm(self.gradients)
        self.gradients.mul_((max_norm / (norm + 1e-6)).clamp(max=1))
        self.method.step()
        self.gradients.zero_()
        return norm

    @contextmanager
    def holding(self, name: str) -> Generator[None]:
        """Leave a part as it is within the block: its gradient counts for nothing."""
        part = self.parts[name]
        gradient, part.grad = part.grad, None
        try:
            yield
        finally:
            part.grad = gradient

    def arrays(self) -> dict[str, np.ndarray]:
        """Copy out what is kept, as KIND/PART."""
        return {
            f"{kind}/{name}": value.numpy(force=True).copy()
            for name, part in self.parts.items()
            for kind, value in self.method.state.get(part, {}).items()
            if value is not None
        }

    def load(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Copy back what `arrays` returned.

        Raises:
            InputError: some of what belongs together is missing, or of another size.
        """
        for name, part in self.parts.items():
            saved = {kind: arrays.get(f"{kind}/{name}") for kind in self.kept}
            found = {kind: array for kind, array in saved.items() if array is not None}
            if found and len(found) < len(self.kept):
                raise InputError(
                    f"the saved optimizer lacks some of {', '.join(self.kept)} of {name}"
                )
            for kind, array in found.items():
                if array.shape not in ((), part.shape):
                    raise InputError(f"the saved optimizer's {kind} of {name} is of another size")
            # the step count stays on the parameter's device: the fused optimizer reads it there
            self.method.state[part] = {
                kind: torch.tensor(array, device=part.device) for kind, array in found.items()
            }
            if not found:
                del self.method.state[part]
