"""How labels turn into a policy: maximum likelihood on all that an expert has said so far.

Where the expert acted, it is behavioural cloning (Pomerleau 1991); where the student did, DAgger
(Ross et al. 2011). The loss is that of the policy gradient with Psi = 1, and the expert's actions
in place of the policy's own. B labels.
"""

import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from distpg.config.config import Config
from distpg.gradient.losses import log_prob_loss
from distpg.imitation.labels import goes_on
from distpg.iteration import Update
from distpg.learner import on_policy
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
    """What an expert would do, and where."""

    obs: dict[str, Tensor]
    """{leaf: [B, *O]} normalized; of a recurrent student with its memory and sequences"""
    actions: Tensor
    """[B] or [B, A] as the student samples them"""

    def __len__(self) -> int:
        """Count them."""
        return len(self.actions)


class Cloner(TrainState):
    """A learner that makes the actions in its rollouts likely, and forgets none of them."""

    def __init__(
        self, config: Config, obs_spec: ObsSpec, action_spec: ActionSpec, num_rounds: int
    ) -> None:
        """Initialize the networks; schedules run over so many rounds."""
        super().__init__(config, obs_spec, action_spec)
        self.num_rounds = num_rounds
        # an expert says nothing of what a state is worth
        self.optimizer.frozen = {"critic"}
        self.batches: list[Batch] = []
        """Of each round, what was played, with the expert's actions."""

    def improve(self, rollouts: Sequence[Rollout]) -> Update:
        """Add the labels of one round, and fit the policy to all of them.

        Observation statistics are updated first: what is learned under others would be lost when
        the student acts.

        Args:
            rollouts: With the expert's actions where steps are valid.

        Returns:
            Scalars, including how far the student agreed with the new labels before the update.

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
        scalars = self.agreement(self.gathered(context), fresh)
        seen = {name: leaf[:-1] for name, leaf in batch.obs.items()}
        self.policy.normalizer.merge(seen, batch.valid)
        labels = self.gathered(batches)
        prepare_s = time.perf_counter() - began
        scalars |= self._fit(labels)
        on_policy.check_update_finite(scalars, self.version, finite=self.optimizer.finite())
        self.batches = batches
        self.version += 1
        self.trained_steps += fresh
        return Update(scalars, prepare_s=prepare_s)

    @torch.no_grad()
    def gathered(self, batches: Sequence[Batch]) -> Labels:
        """Take the labels out of all batches, as the networks see them now.

        A recurrent student's memory is worked out anew, since the one that it acted from is that of
        other weights, or of the expert; it goes on from one batch to the next where the env does.
        """
        parts: list[dict[str, Tensor]] = []
        before, recurrent_state, count = None, torch.zeros(0), 0
        for batch in batches:
            valid = batch.valid
            state = torch.zeros(
                valid.shape[1], self.policy.recurrent_state_size, device=self.device
            )
            if before is not None and self.policy.recurrent_state_size:
                going = goes_on(before, batch)
                state[going] = recurrent_state[going]
            rows = network_inputs(
                self.policy, dataclasses.replace(batch, state=state), self.config.sequence_length
            )
            if self.policy.recurrent_state_size:
                recurrent_state = rows[RECURRENT_STATE].unflatten(0, (len(valid) + 1, -1))[-1]
                rows[SEQUENCE] = rows[SEQUENCE] + count
                count = int(rows[SEQUENCE].max()) + 1
            parts.append({name: x[: valid.numel()][valid.flatten()] for name, x in rows.items()})
            before = batch
        obs = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
        return Labels(obs, torch.cat([batch.actions[batch.valid] for batch in batches]))

    def _fit(self, labels: Labels) -> dict[str, float]:
        """Run the epochs of minibatches."""
        config, means, own = self.config, Means(), list(self.policy.parameters())
        share_done = self.version / self.num_rounds
        _, self.optimizer.rate = self.schedules.now(int(share_done * config.total_steps))
        keys = {"seed": config.seed, "iteration": self.version}
        epochs = range(config.num_epochs)
        for rows in minibatches(labels, config.minibatch_size, epochs=epochs, **keys):
            loss = self.loss(labels[rows.to(self.device)])
            loss.backward(inputs=own)
            norm = self.optimizer.step(config.max_grad_norm)
            self.num_updates += 1
            if self.policy.log_std is not None:
                # no narrower than a state's own may be, for the same reason
                with torch.no_grad():
                    self.policy.log_std.clamp_(min=LOG_STD_LOW)
            means.add({"train/loss": loss.detach(), "gradient/norm": norm}, len(rows))
        return {
            "train/learning_rate": self.optimizer.rate,
            "train/n_updates": self.num_updates,
            **means.read(),
        }

    def loss(self, labels: Labels) -> Tensor:
        """Return -mean(log pi(a|s)) of a minibatch."""
        logprobs = self.policy(labels.obs).log_prob(labels.actions)
        return log_prob_loss(logprobs, torch.ones_like(logprobs))

    @torch.no_grad()
    def agreement(self, labels: Labels, fresh: int) -> dict[str, float]:
        """Compare the student's most likely actions with the last labels, so many of them.

        Returns:
            imitation/agreement: the share that is the same, where actions are discrete.
            imitation/distance: the root of the mean squared distance, in the env's units, where
            they are continuous.
        """
        labels = labels[torch.arange(len(labels) - fresh, len(labels), device=self.device)]
        modes = self.policy.rebuild(in_chunks(self.policy.parameters_at, labels.obs)).mode()
        if self.policy.action_spec.kind != "continuous":
            same = (modes == labels.actions).view(len(labels), -1).all(1)
            return {"imitation/agreement": float(same.double().mean())}
        done, said = (self.policy.to_bounds(x.numpy(force=True)) for x in (modes, labels.actions))
        return {"imitation/distance": float(((done - said) ** 2).mean() ** 0.5)}

    def snapshot(self) -> LearnerState:
        """Copy out what training can start from; of the labels, their number."""
        state = super().snapshot()
        counters = {**state.counters, "labels": self.trained_steps}
        return dataclasses.replace(state, counters=counters)
