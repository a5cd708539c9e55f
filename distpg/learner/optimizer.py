"""The optimizer: parameters and gradients in flat buffers, so that a step is few kernels.

The steps of Adam and SGD are torch's functional `adam` and `sgd`: importing its optimizer classes
loads torch's compiler, which takes a second of every start. That of RMSprop is `optimizer_step`.
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
from distpg.learner.optimizer_step import NORM_EPSILON, OptimizerState, Rule, optimizer_step


class Optimizer:
    """Optimizes a model whose parameters and gradients become views of two flat buffers.

    Its state, Adam's moments for example, is flat too: one vector for each direct child of the
    model.
    """

    def __init__(self, model: nn.Module, settings: LearnerSettings) -> None:
        """Create the buffers; the device of the parameters must not change afterwards."""
        named = list(model.named_parameters())
        values = torch.cat([parameter.detach().flatten() for _, parameter in named])
        self.rule = Rule.of(settings)
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
        # step counts are on the parameters' device: the fused kernel reads them there
        steps = torch.zeros(len(places), device=values.device)
        starts = self.rule.moments
        moments = {kind: torch.full_like(values, start) for kind, start in starts.items()}
        self.whole = OptimizerState(values, steps, moments)
        """Parameters and state of all children; `states` has views of it."""
        self.states = {
            name: OptimizerState(
                values[place], step, {kind: moment[place] for kind, moment in moments.items()}
            )
            for (name, place), step in zip(places.items(), steps.split(1), strict=True)
        }
        """Parameters and state of each child, by name."""
        self.frozen: set[str] = set()
        """Children that steps do not change."""

    def add(self, gradient: Tensor, weight: float, child: str | None = None) -> None:
        """Add [P], or that of a child, weighted, to the gradient of the next step."""
        total = self.gradients if child is None else self.parts[child][1]
        total.add_(gradient, alpha=weight)

    def step(self, max_norm: float) -> Tensor:
        """Clip the gradient norm, step, zero the gradient; return the norm before clipping.

        The gradient of a frozen child counts in the norm that is returned, not in the clipping.
        """
        norm = moving = torch.linalg.vector_norm(self.gradients)
        if self.frozen:
            parts = [part for name, (_, part) in self.parts.items() if name not in self.frozen]
            moving = torch.linalg.vector_norm(torch.cat(parts)) if parts else norm
        self.gradients.mul_((max_norm / (moving + NORM_EPSILON)).clamp(max=1))
        self.move()
        self.gradients.zero_()
        return norm

    @torch.no_grad()
    def move(self) -> None:
        """Take a step along the gradients."""
        names = [name for name in self.parts if name not in self.frozen]
        values, gradients = ([self.parts[name][k] for name in names] for k in (0, 1))
        rule = self.rule

        def moment(kind: str) -> list[Tensor]:
            return [self.states[name].moments[kind] for name in names]

        if rule.kind == "adam":
            adam(
                values,
                gradients,
                moment("exp_avg"),
                moment("exp_avg_sq"),
                max_exp_avg_sqs=[],
                state_steps=[self.states[name].steps.squeeze(0) for name in names],
                fused=True,
                amsgrad=False,
                beta1=rule.betas[0],
                beta2=rule.betas[1],
                lr=self.rate,
                weight_decay=rule.weight_decay,
                eps=rule.epsilon,
                maximize=False,
            )
        elif rule.kind == "sgd":
            buffers: list[Tensor | None] = [None] * len(names)
            sgd(
                values,
                gradients,
                [*moment("momentum_buffer")] if rule.momentum else buffers,
                fused=True,
                weight_decay=rule.weight_decay,
                momentum=rule.momentum,
                lr=self.rate,
                dampening=0.0,
                nesterov=False,
                maximize=False,
            )
        else:
            rate = torch.tensor(self.rate, dtype=torch.float64)
            for name, value, gradient in zip(names, values, gradients, strict=True):
                after = optimizer_step(self.states[name], gradient, [len(value)], rate, rule)
                value.copy_(after.values)
                self.states[name].moments["square_avg"].copy_(after.moments["square_avg"])

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
            for name in self.states
            for kind, value in self._named(name).items()
        }

    def _named(self, child: str) -> dict[str, Tensor]:
        """Return views of a child's state by kind, with the count of Adam's steps."""
        state = self.states[child]
        step = {"step": state.steps.squeeze(0)} if self.rule.kind == "adam" else {}
        return step | dict(state.moments)

    def load(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Restore what `arrays` returned.

        Raises:
            InputError: an array is missing, or of another size.
        """
        for name in self.states:
            for kind, value in self._named(name).items():
                array = arrays.get(f"{kind}/{name}")
                if array is None or array.shape != value.shape:
                    found = "absent" if array is None else f"of shape {list(array.shape)}"
                    raise InputError(
                        f"the saved optimizer's {kind} of {name} is {found}, "
                        f"{list(value.shape)} is expected"
                    )
        for name in self.states:
            for kind, value in self._named(name).items():
                value.copy_(torch.tensor(arrays[f"{kind}/{name}"]))
