"""The epochs of an update: their minibatches, and the targets that these are trained on."""

import dataclasses
from collections.abc import Iterator

import torch
from torch import Tensor

from distpg.gradient.losses import Coefficients
from distpg.gradient.trajectories import Trajectories, without_undefined
from distpg.learner import objective
from distpg.learner.minibatch import Steps
from distpg.learner.minibatches import Samples, minibatches
from distpg.learner.train_state import TrainState
from distpg.records import Batch


class Epochs:
    """The minibatches of an update, and what its steps are given to learn from.

    Targets are estimated before the first epoch. Importance weights follow the policy, so with them
    targets are estimated again before each step. With `recompute_advantages` they are before each
    epoch but the first, with the critic of that moment (Andrychowicz et al. 2021, section 3.5).
    """

    def __init__(
        self,
        state: TrainState,
        steps: Steps,
        batch: Batch,
        samples: Samples,
        trajectories: Trajectories,
        now: Coefficients,
    ) -> None:
        """Take what `observe` made of a batch, and estimate the targets of the first epoch."""
        self.state, self.steps, self.batch, self.samples = state, steps, batch, samples
        self.trajectories = objective.with_ratios(state.config, state.policy, samples, trajectories)
        self.now = now
        self._set_targets()

    def _set_targets(self) -> None:
        config, policy = self.state.config, self.state.policy
        self.targets = objective.compute_targets(config, policy, self.samples, self.trajectories)
        self.steps.begin(self.samples, self.targets, self.now)

    def minibatches(self) -> Iterator[Tensor]:
        """Visit the minibatches of all epochs, [M] int64 rows each."""
        config = self.state.config
        recomputes = config.recompute_advantages and bool(self.state.model.critic)
        for epoch in range(config.num_epochs):
            if recomputes and epoch > 0:
                self.trajectories = value_again(self.state, self.batch, self.trajectories)
                self._set_targets()
            for rows in self._visit(range(epoch, epoch + 1)):
                if config.surrogate == "importance":
                    self._set_targets()
                yield rows

    def of_critic(self) -> Iterator[Tensor]:
        """Visit those of the epochs after them, which move nothing but the critic."""
        first, count = self.state.config.num_epochs, self.state.config.value_epochs
        return self._visit(range(first, first + count if self.state.model.critic else 0))

    def _visit(self, epochs: range) -> Iterator[Tensor]:
        state, config = self.state, self.state.config
        keys = {"seed": config.seed, "iteration": state.version}
        for rows in minibatches(self.samples, config.minibatch_size, epochs=epochs, **keys):
            yield rows.to(state.device)


@torch.no_grad()
def value_again(state: TrainState, batch: Batch, trajectories: Trajectories) -> Trajectories:
    """Replace V by that of the critic as it is now; rewards, flags and ratios stay.

    Recurrent layers are unrolled again from their state at the batch's first row, and what a critic
    remembers of the batch is from the last time. Values are still clipped around those of the
    samples, before the update; Tianshou clips around the new ones.
    """
    values = objective.values(state.model, state.network_inputs(batch))
    values = without_undefined(values.unflatten(0, (-1, batch.valid.shape[1])), batch.valid)
    return dataclasses.replace(trajectories, values=values[:-1], next_values=values[1:])
