"""The optimizer: parameters and gradients in flat buffers, so that a step is few kernels.

The steps are torch's functional `adam` and `sgd`: importing its optimizer classes loads torch's
compiler, which takes a second of every start.
"""

from collections.abc import Generator, Mapping
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.adam import adam
from torch.optim.sgd import sgd

from distpg.config.settings import LearnerSettings
from distpg.errors import InputError

EPSILON = 1e-5
BETAS = (0.9, 0.999)


class Optimizer:
    """Optimizes a model whose parameters and gradients become views of two flat buffers.

    Its state, Adam's moments or SGD's momentum, is flat too: one vector for each direct child of
    the model.
    """

    def __init__(self, model: nn.Module, settings: LearnerSettings) -> None:
        """Create the buffers; the device of the parameters must not change afterwards."""
        named = list(model.named_parameters())
        values = torch.cat([parameter.detach().flatten() for _, parameter in named])
        self.settings = settings
        self.rate = settings.learning_rate
        self.gradients = torch.zeros_like(values)
        """[P]"""
        places: dict[str, slice] = {}
        end = 0
        for name, parameter in named:
            place = slice(end, end := end + parameter.numel())
            parameter.data = values[place].view_as(parameter)
            parameter.grad = self.gradients[place].view_as(parameter)
            child = name.partition(".")[0]
            places[child] = slice(places.get(child, place).start, end)
        self.parts = {name: (values[x], self.gradients[x]) for name, x in places.items()}
        """Parameters and gradients of each child, by name."""
        self.state = {name: self._initial_state(part) for name, (part, _) in self.parts.items()}
        """State of each child, by kind."""
        self.frozen: set[str] = set()
        """Children that steps do not change."""

    def _initial_state(self, part: Tensor) -> dict[str, Tensor]:
        if self.settings.optimizer == "adam":
            # the step count is on the parameter's device: the fused kernel reads it there
            step = torch.zeros((), device=part.device)
            moments = {kind: torch.zeros_like(part) for kind in ("exp_avg", "exp_avg_sq")}
            return {"step": step, **moments}
        return {"momentum_buffer": torch.zeros_like(part)} if self.settings.momentum else {}

    def add(self, gradient: Tensor, weight: float) -> None:
        """Add [P], weighted, to the gradient of the next step."""
        self.gradients.add_(gradient, alpha=weight)

    def step(self, max_norm: float) -> Tensor:
        """Clip the gradient norm, step, zero the gradient; return the norm before clipping.

        The gradient of a frozen child counts in the norm that is returned, not in the clipping.
        """
        norm = moving = torch.linalg.vector_norm(self.gradients)
        if self.frozen:
            parts = [part for name, (_, part) in self.parts.items() if name not in self.frozen]
            moving = torch.linalg.vector_norm(torch.cat(parts)) if parts else norm
        self.gradients.mul_((max_norm / (moving + 1e-6)).clamp(max=1))
        self.move()
        self.gradients.zero_()
        return norm

    @torch.no_grad()
    def move(self) -> None:
        """Take a step along the gradients."""
        names = [name for name in self.parts if name not in self.frozen]
        values, gradients = ([self.parts[name][k] for name in names] for k in (0, 1))

        def state(kind: str) -> list[Tensor]:
            return [self.state[name][kind] for name in names]

        if self.settings.optimizer == "adam":
            adam(
                values,
                gradients,
                state("exp_avg"),
                state("exp_avg_sq"),
                max_exp_avg_sqs=[],
                state_steps=state("step"),
                fused=True,
                amsgrad=False,
                beta1=BETAS[0],
                beta2=BETAS[1],
                lr=self.rate,
                weight_decay=0.0,
                eps=EPSILON,
                maximize=False,
            )
        else:
            buffers: list[Tensor | None] = [None] * len(names)
            sgd(
                values,
                gradients,
                [*state("momentum_buffer")] if self.settings.momentum else buffers,
                fused=True,
                weight_decay=0.0,
                momentum=self.settings.momentum,
                lr=self.rate,
                dampening=0.0,
                nesterov=False,
                maximize=False,
            )

    def finite(self) -> bool:
        """Return whether all parameters are finite."""
        return all(bool(values.isfinite().all()) for values, _ in self.parts.values())

    @contextmanager
    def freezing(self, name: str) -> Generator[None]:
        """Context manager: steps do not change a child."""
        before, self.frozen = self.frozen, self.frozen | {name}
        try:
            yield
        finally:
            self.frozen = before

    def arrays(self) -> dict[str, np.ndarray]:
        """Copy the state into arrays named KIND/CHILD."""
        return {
            f"{kind}/{name}": value.numpy(force=True).copy()
            for name, own in self.state.items()
            for kind, value in own.items()
        }

    def load(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Restore what `arrays` returned.

        Raises:
            InputError: an array is missing, or of another size.
        """
        for name, own in self.state.items():
            for kind, value in own.items():
                array = arrays.get(f"{kind}/{name}")
                if array is None or array.shape != value.shape:
                    found = "absent" if array is None else f"of shape {list(array.shape)}"
                    raise InputError(
                        f"the saved optimizer's {kind} of {name} is {found}, "
                        f"{list(value.shape)} is expected"
                    )
        for name, own in self.state.items():
            for kind, value in own.items():
                value.copy_(torch.tensor(arrays[f"{kind}/{name}"]))
