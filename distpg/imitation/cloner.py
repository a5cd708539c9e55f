"""Fit the student to all labels so far, by maximum likelihood.

On states of the expert this is behavioural cloning (Pomerleau 1991), on states of the student
DAgger (Ross et al. 2011). The loss is that of the policy gradient with Psi = 1, for the expert's
actions. B labels.
"""

import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from distpg.config.config import Config
from distpg.gradient.losses import log_prob_loss
from distpg.imitation.labels import continues
from distpg.iteration import Update
from distpg.learner import histograms, on_policy
from distpg.learner.means import Means
from distpg.learner.minibatches import Rows, in_chunks, minibatches
from distpg.learner.sequences import network_inputs
from distpg.learner.train_state import TrainState
from distpg.policy.distributions import LOG_STD_LOW
from distpg.policy.recurrent import RECURRENT_STATE, SEQUENCE
from distpg.records import Batch, LearnerState, Rollout
from distpg.spaces import ActionSpec, ObsSpec


@dataclass(frozen=True)
class Labels(Rows):
    """The expert's actions, and the observations that they belong to."""

    obs: dict[str, Tensor]
    """{leaf: [B, *O]} normalized; with recurrent state and sequence numbers if recurrent"""
    actions: Tensor
    """[B] or [B, A] as the student samples them"""

    def __len__(self) -> int:
        """Count the labels."""
        return len(self.actions)


class Cloner(TrainState):
    """A learner that maximizes the likelihood of the actions in all rollouts so far."""

    def __init__(
        self, config: Config, obs_spec: ObsSpec, action_spec: ActionSpec, num_rounds: int
    ) -> None:
        """Initialize the networks; learning-rate schedules run over `num_rounds`."""
        super().__init__(config, obs_spec, action_spec)
        self.num_rounds = num_rounds
        # labels have no value targets
        self.optimizer.frozen = {"critic"}
        self.batches: list[Batch] = []
        """The rollouts of each round, with the expert's actions."""

    def improve(self, rollouts: Sequence[Rollout]) -> Update:
        """Add the labels of one round, and fit the policy to all labels.

        Observation statistics are updated first: the student acts with these, so it must be
        trained with them.

        Args:
            rollouts: With the expert's actions at valid steps.

        Returns:
            Scalars, including the student's agreement with the new labels before the update.

        Raises:
            RunError: an observation is not finite.
            AnomalyError: the loss or the weights are not finite; the new labels are not kept.
        """
        began = time.perf_counter()
        batch = Batch.join(rollouts, self.device)
        on_policy.check_batch_finite(batch, rollouts[0].rewards.shape[1])
        batches, fresh = [*self.batches, batch], int(batch.valid.sum())
        # the recurrent state in this batch may continue from those before
        context = batches if self.policy.recurrent_state_size else [batch]
        scalars = self.agreement(self.gather_labels(context), fresh)
        obs = {name: leaf[:-1] for name, leaf in batch.obs.items()}
        self.policy.normalizer.merge(obs, batch.valid)
        labels = self.gather_labels(batches)
        prepare_s = time.perf_counter() - began
        scalars |= self._fit(labels)
        on_policy.check_update_finite(scalars, self.version, finite=self.optimizer.finite())
        counted = self.is_due(self.config.histogram_every)
        actions = batch.actions[batch.valid]
        counts = histograms.of_actions(self.policy, actions) if counted else {}
        self.batches = batches
        self.version += 1
        self.trained_steps += fresh
        return Update(scalars, prepare_s=prepare_s, histograms=counts)

    @torch.no_grad()
    def gather_labels(self, batches: Sequence[Batch]) -> Labels:
        """Return the labels of all batches, with the inputs of the current networks.

        The recurrent state is recomputed, since the recorded one is of older weights or of the
        expert. It carries over between batches if the episode does.
        """
        parts: list[dict[str, Tensor]] = []
        before, recurrent_state, num_sequences = None, torch.zeros(0), 0
        for batch in batches:
            valid = batch.valid
            state = torch.zeros(
                valid.shape[1], self.policy.recurrent_state_size, device=self.device
            )
            if before is not None and self.policy.recurrent_state_size:
                same_episode = continues(before, batch)
                state[same_episode] = recurrent_state[same_episode]
            rows = network_inputs(
                self.policy, dataclasses.replace(batch, state=state), self.config.sequence_length
            )
            if self.policy.recurrent_state_size:
                recurrent_state = rows[RECURRENT_STATE].unflatten(0, (len(valid) + 1, -1))[-1]
                rows[SEQUENCE] = rows[SEQUENCE] + num_sequences
                num_sequences = int(rows[SEQUENCE].max()) + 1
            parts.append({name: x[: valid.numel()][valid.flatten()] for name, x in rows.items()})
            before = batch
        obs = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
        return Labels(obs, torch.cat([batch.actions[batch.valid] for batch in batches]))

    def _fit(self, labels: Labels) -> dict[str, float]:
        """Run the epochs of minibatches; return means by TensorBoard tag."""
        config, parameters = self.config, list(self.policy.parameters())
        means = Means(("imitation/loss", "gradient/norm"))
        progress = self.version / self.num_rounds
        _, self.optimizer.rate = self.schedules.now(int(progress * config.total_steps))
        keys = {"seed": config.seed, "iteration": self.version}
        epochs = range(config.num_epochs)
        for rows in minibatches(labels, config.minibatch_size, epochs=epochs, **keys):
            loss = self.loss(labels[rows.to(self.device)])
            loss.backward(inputs=parameters)
            norm = self.optimizer.step(config.max_grad_norm)
            self.num_updates += 1
            if self.policy.log_std is not None:
                # as for a state-dependent log_std; a deterministic expert drives it to -inf
                with torch.no_grad():
                    self.policy.log_std.clamp_(min=LOG_STD_LOW)
            means.add(torch.stack([loss.detach(), norm]), len(rows))
        return {
            "train/learning_rate": self.optimizer.rate,
            "train/optimizer_steps": self.num_updates,
            **means.read(),
        }

    def loss(self, labels: Labels) -> Tensor:
        """Return -mean(log pi(a|s)) over a minibatch."""
        logprobs = self.policy(labels.obs).log_prob(labels.actions)
        return log_prob_loss(logprobs, torch.ones_like(logprobs))

    @torch.no_grad()
    def agreement(self, labels: Labels, fresh: int) -> dict[str, float]:
        """Compare the student's actions without noise with the last `fresh` labels.

        Returns:
            imitation/agreement: fraction of equal actions, if they are discrete.
            imitation/distance: root mean squared distance, in units of the env, if continuous.
        """
        labels = labels[torch.arange(len(labels) - fresh, len(labels), device=self.device)]
        policy = self.policy
        greedy = in_chunks(
            lambda obs: policy.rebuild(policy.parameters_at(obs)).greedy(),
            labels.obs,
            policy.num_outputs,
        )
        if self.policy.action_spec.kind != "continuous":
            same = (greedy == labels.actions).view(len(labels), -1).all(1)
            return {"imitation/agreement": float(same.double().mean())}
        actions, targets = (
            self.policy.to_bounds(x.numpy(force=True)) for x in (greedy, labels.actions)
        )
        return {"imitation/distance": float(((actions - targets) ** 2).mean() ** 0.5)}

    def snapshot(self) -> LearnerState:
        """Copy out the state, with the number of labels but not the labels themselves."""
        state = super().snapshot()
        counters = {**state.counters, "labels": self.trained_steps}
        return dataclasses.replace(state, counters=counters)
