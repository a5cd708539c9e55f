"""How labels turn into a policy: maximum likelihood on all that an expert has said so far.

Where the expert acted, it is behavioural cloning (Pomerleau 1991); where the student did, DAgger
(Ross et al. 2011). The loss is that of the policy gradient with Psi = 1, and the expert's actions
in place of the policy's own. B labels.
"""

import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from distpg.config import Config
from distpg.gradient.losses import log_prob_loss
from distpg.learner import on_policy
from distpg.learner.means import Means
from distpg.learner.minibatches import CHUNK, Rows, chunks, minibatches
from distpg.learner.trainable import Trainable
from distpg.learner.undo import or_not_at_all
from distpg.policy.distributions import LOG_STD_LOW
from distpg.records import Batch, LearnerState, Rollout, Weights
from distpg.spaces import ActionSpec, ObsSpec


@dataclass(frozen=True)
class Labels(Rows):
    """What an expert would do, and where."""

    obs: dict[str, Tensor]
    """{leaf: [B, *O]} as the env gave it"""
    actions: Tensor
    """[B] or [B, A] as the student samples them"""

    def __len__(self) -> int:
        """Count them."""
        return len(self.actions)

    def joined(self, more: Self) -> Self:
        """Put more labels behind these."""
        obs = {name: torch.cat([leaf, more.obs[name]]) for name, leaf in self.obs.items()}
        return dataclasses.replace(self, obs=obs, actions=torch.cat([self.actions, more.actions]))


class Cloner(Trainable):
    """A learner that makes the actions in its rollouts likely, and forgets none of them."""

    restarts = 0
    """It is in the driver's process, which nothing replaces."""

    def __init__(
        self, config: Config, obs_spec: ObsSpec, action_spec: ActionSpec, num_rounds: int
    ) -> None:
        """Initialize the networks; schedules run over so many rounds."""
        super().__init__(config, obs_spec, action_spec)
        self.num_rounds = num_rounds
        # an expert says nothing of what a state is worth
        self.optimizer.held = {"critic"}
        self.labels: Labels | None = None

    @or_not_at_all
    def update(self, rollouts: Sequence[Rollout]) -> tuple[Weights, dict[str, float]]:
        """Take in the labels of one round, and learn from all there are.

        Observation statistics move first: what is learned under others would be forgotten when the
        student acts.

        Args:
            rollouts: With the expert's actions, where they are valid.

        Returns:
            The new weights, and statistics by their TensorBoard tag; of the new labels, how the
            student would have done before it learned from them. Where the update came to what is no
            number, they say so, and its labels are forgotten with it.

        Raises:
            RunError: an observation is not finite.
        """
        began = time.perf_counter()
        torch.set_num_threads(self.threads)
        batch = Batch.join(rollouts, self.device)
        on_policy.check_finite(batch, rollouts[0].rewards.shape[1])
        valid, seen = batch.valid, {name: leaf[:-1] for name, leaf in batch.obs.items()}
        fresh = Labels({name: leaf[valid] for name, leaf in seen.items()}, batch.actions[valid])
        stats = self.agreement(fresh)
        self.policy.normalizer.merge(seen, valid)
        labels = fresh if self.labels is None else self.labels.joined(fresh)
        prepared = time.perf_counter()
        stats |= self._fit(labels)
        on_policy.check_sound(stats, self.version, finite=self.optimizer.finite())
        self.labels = labels
        self.version += 1
        self.trained_steps += len(fresh)
        weights, ended = self.weights(), time.perf_counter()
        stats |= {"perf/learner_s": ended - began, "perf/prepare_s": prepared - began}
        return weights, stats

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
        seen = self.policy.normalizer(labels.obs)
        logprobs = self.policy(seen).log_prob(labels.actions)
        return log_prob_loss(logprobs, torch.ones_like(logprobs))

    @torch.no_grad()
    def agreement(self, labels: Labels) -> dict[str, float]:
        """Compare the student's most likely actions with the labels.

        Returns:
            imitation/agreement: the share that is the same, where actions are discrete.
            imitation/distance: the root of the mean squared distance, in the env's units, where
            they are continuous.
        """
        parts = chunks(self.policy.normalizer(labels.obs), CHUNK)
        modes = torch.cat([self.policy(part).mode() for part in parts])
        if self.policy.action_spec.kind != "continuous":
            same = (modes == labels.actions).view(len(labels), -1).all(1)
            return {"imitation/agreement": float(same.double().mean())}
        done, said = (self.policy.to_bounds(x.numpy(force=True)) for x in (modes, labels.actions))
        return {"imitation/distance": float(((done - said) ** 2).mean() ** 0.5)}

    def state(self) -> LearnerState:
        """Copy out what there is to go on from; of the labels, their number."""
        state = super().state()
        counters = {**state.counters, "labels": self.trained_steps}
        return dataclasses.replace(state, counters=counters)
