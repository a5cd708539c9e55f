"""How trajectories turn into a better policy.

T steps, N envs of all slots side by side, B valid samples of a batch, M of a minibatch.
"""

import dataclasses
import math
import time
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from distpg.config import Config
from distpg.gradient.advantages import estimate, normalize
from distpg.gradient.diagnostics import approx_kl, explained_variance
from distpg.gradient.importance import importance_weights
from distpg.gradient.losses import SURROGATES, Coefficients, Scored, value_loss
from distpg.gradient.paths import Paths, episode_starts
from distpg.learner import on_policy, trust_region
from distpg.learner.compiled import compiled
from distpg.learner.diagnosis import gradient_samples, measure_noise, measure_step
from distpg.learner.means import Means
from distpg.learner.minibatches import Credit, Samples, in_chunks, minibatches
from distpg.learner.sequences import rows_seen
from distpg.learner.trainable import Trainable
from distpg.policy.distributions import Distribution
from distpg.records import Batch, Rollout, Weights
from distpg.spaces import ActionSpec, ObsSpec


class Learner(Trainable):
    """Takes policy and critic from one version to the next; `trainable.py` has what it changes."""

    def __init__(self, config: Config, obs_spec: ObsSpec, action_spec: ActionSpec) -> None:
        """Initialize the networks, and have the gradient compiled if so configured."""
        super().__init__(config, obs_spec, action_spec)
        self.trained = list(self.model.parameters())
        gradient = self.minibatch_gradient
        self._gradient = compiled(gradient) if config.compile else gradient

    def update(self, rollouts: Sequence[Rollout]) -> tuple[Weights, dict[str, float]]:
        """Improve the policy by one batch.

        Args:
            rollouts: One of each slot, in slot order, all played with the current version; with
                overlap, with that or the one before it.

        Returns:
            The new weights, and statistics by their TensorBoard tag: means over all minibatches,
            weighted by size.

        Raises:
            RunError: a rollout is of another version or slot, or was not played by this policy.
        """
        began, config = time.perf_counter(), self.config
        torch.set_num_threads(self.threads)
        staleness = on_policy.check_versions(
            rollouts, config.slots, self.version, allowed=int(config.overlap)
        )
        batch = Batch.join(rollouts, self.device)
        on_policy.check_finite(batch, config.num_envs)
        samples, paths = self.observe(batch)
        stats = on_policy.check_on_policy(
            self.policy.rebuild(samples.parameters).log_prob(samples.actions) - samples.logprobs,
            samples.envs // config.num_envs,
            {} if staleness else on_policy.LIMITS[config.precision],
        )
        prepared = time.perf_counter()
        self.before = self.weights() if config.overlap else None
        measured = (every := config.gradient_stats_every) > 0 and self.version % every == 0
        gradients = gradient_samples(self, samples, paths) if measured else None
        stats |= self._improve(samples, paths)
        on_policy.check_sound(stats, self.version, finite=self.optimizer.finite())
        if gradients:
            stats |= measure_noise(self.noise_memory, *gradients)
            stats |= measure_step(self, samples, paths)
        self.policy.normalizer.merge(
            {name: leaf[:-1] for name, leaf in batch.obs.items()}, batch.valid
        )
        self.version += 1
        self.trained_steps += len(samples)
        weights, ended = self.weights(), time.perf_counter()
        stats |= {"perf/learner_s": ended - began, "perf/prepare_s": prepared - began}
        return weights, stats | {"train/staleness": staleness}

    @torch.no_grad()
    def observe(self, batch: Batch) -> tuple[Samples, Paths]:
        """Value every state, and take the valid steps out as samples."""
        valid, num_envs = batch.valid, batch.valid.shape[1]
        seen = rows_seen(self.policy, batch, self.config.sequence_length)
        outputs = in_chunks(self.model.outputs, seen).unflatten(0, (-1, num_envs))
        parameters, values = outputs[:-1, :, :-1], outputs[..., -1].clone()
        samples = Samples(
            obs={name: leaf[: valid.numel()][valid.flatten()] for name, leaf in seen.items()},
            actions=batch.actions[valid],
            logprobs=batch.logprobs[valid],
            values=values[:-1][valid],
            envs=torch.arange(num_envs, device=self.device).expand(valid.shape)[valid],
            parameters=parameters[valid],
        )
        # a NaN beyond an env's last episode would pass through factors of 0
        nowhere = torch.zeros_like(valid[:1])
        values[~(torch.cat([valid, nowhere]) | torch.cat([nowhere, valid]))] = 0
        paths = Paths(
            rewards=self.rewards(batch),
            values=values[:-1],
            next_values=values[1:],
            terminated=batch.terminated,
            truncated=batch.truncated,
            valid=valid,
        )
        return samples, paths

    @torch.no_grad()
    def credit(self, samples: Samples, paths: Paths) -> Credit:
        """Weigh the samples by Psi, and by their ratios where the estimator takes them."""
        config, valid = self.config, paths.valid
        importance = torch.ones_like(samples.logprobs)
        if config.surrogate == "importance" or config.advantage == "vtrace":
            log_ratio = torch.zeros_like(paths.rewards)
            log_ratio[valid] = self.log_ratio(samples)
            ratios = log_ratio.exp()
            if config.surrogate == "importance":
                weights = importance_weights(log_ratio, paths.done, valid, config.importance)
                importance = weights[valid].clamp(max=config.importance_clip or math.inf)
                if config.importance == "trajectory":
                    # the weight covers the steps ahead, too
                    ratios = torch.ones_like(ratios)
            if config.importance == "per_decision" or config.advantage == "vtrace":
                paths = dataclasses.replace(paths, ratios=ratios)
        advantages, returns = (table[valid] for table in estimate(paths, config))
        if config.normalize_advantages:
            advantages = normalize(advantages)
        if config.loss_average == "per_episode":
            advantages = advantages * len(samples) / episode_starts(paths.done, valid).sum()
        return Credit(advantages, returns, importance)

    def _improve(self, samples: Samples, paths: Paths) -> dict[str, float]:
        """Run the epochs of minibatches; a surrogate for one step adds their gradients up."""
        config, means, stopped = self.config, Means(), False
        coefficients, rate = self.schedules.now(self.trained_steps)
        self.optimizer.rate = rate
        stats = self.schedules.scalars(self.trained_steps)
        credit = self.credit(samples, paths)
        if self.model.critic:
            explained = explained_variance(samples.values, credit.returns)
            stats["train/explained_variance"] = explained.item()
        moved: list[Tensor] = []
        for rows in self._minibatches(samples, range(config.num_epochs)):
            if config.surrogate == "importance":
                credit = self.credit(samples, paths)
            gradient, terms, log_ratio = self._gradient(samples, credit, rows, coefficients)
            moved.append(log_ratio)
            if config.target_kl and float(approx_kl(log_ratio)) > 1.5 * config.target_kl:
                stopped = True
                break
            self.optimizer.add(gradient, len(rows) / len(samples) if config.one_step else 1.0)
            if not config.one_step:
                terms["gradient/norm"] = self._step()
            means.add(terms, len(rows))
        if config.surrogate == "trust_region":
            stats |= trust_region.step(self, samples, credit, coefficients)
        if config.one_step:
            stats["gradient/norm"] = float(self._step())
        self._fit_critic(samples, credit)
        if self.schedules.follows_kl:
            self.schedules.observe(float(approx_kl(self.log_ratio(samples))))
        stats |= {"train/n_updates": self.num_updates, "train/early_stop": float(stopped)}
        clip = coefficients.clip if config.surrogate == "clip" else None
        stats = on_policy.distance(torch.cat(moved), clip) | stats
        if self.policy.action_spec.kind == "continuous":
            stats["train/std"] = self.policy.mean_std(samples.parameters)
        return stats | means.read()

    def _fit_critic(self, samples: Samples, credit: Credit) -> None:
        """Run the epochs that move nothing but the critic."""
        config, own = self.config, list(self.model.critic.parameters())
        epochs = range(config.num_epochs, config.num_epochs + config.value_epochs if own else 0)
        with self.optimizer.holding("policy"):
            for rows in self._minibatches(samples, epochs):
                values, old = self.model.values(samples[rows].obs), samples.values[rows]
                loss = value_loss(values, credit.returns[rows], old, config.value_clip)
                loss.backward(inputs=own)
                self._step()

    def _minibatches(self, samples: Samples, epochs: range) -> Iterator[Tensor]:
        keys = {"seed": self.config.seed, "iteration": self.version}
        for rows in minibatches(samples, self.config.minibatch_size, epochs=epochs, **keys):
            yield rows.to(self.device)

    def minibatch_gradient(
        self, samples: Samples, credit: Credit, rows: Tensor, coefficients: Coefficients
    ) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        """Return the gradient of a minibatch's loss, [P], its terms, and the log ratios, [M].

        A function of tensors alone, but for the configuration: what `--compile` compiles.
        """
        minibatch, credit = samples[rows], credit[rows]
        config = self.config
        distribution, values = self.model(minibatch.obs)
        scored = self.score(distribution, minibatch, credit)
        policy_loss = SURROGATES[config.surrogate](scored, coefficients)
        entropy = distribution.entropy().mean()
        loss = policy_loss - coefficients.entropy * entropy if config.ent_coef else policy_loss
        terms = {"train/policy_gradient_loss": policy_loss, "train/entropy_loss": -entropy}
        if values is not None:
            old = minibatch.values
            terms["train/value_loss"] = value_loss(values, credit.returns, old, config.value_clip)
            loss = loss + config.vf_coef * terms["train/value_loss"]
        terms["train/loss"] = loss
        gradients = torch.autograd.grad(loss, self.trained)
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        constants = {name: term.detach() for name, term in terms.items()}
        return flat, constants, scored.log_ratio.detach()

    def score(self, distribution: Distribution, minibatch: Samples, credit: Credit) -> Scored:
        """Return what a surrogate sees of a minibatch."""
        logprobs = distribution.log_prob(minibatch.actions)
        kl = logprobs.new_zeros(0)
        if self.config.penalizes_kl:
            kl = self.policy.rebuild(minibatch.parameters).kl(distribution)
        log_ratio = logprobs - minibatch.logprobs
        return Scored(logprobs, log_ratio, credit.advantages, credit.importance, kl)

    def log_ratio(self, samples: Samples) -> Tensor:
        """Return log pi(a|s) minus that of the policy that acted, [B], as constants."""
        with torch.no_grad():
            now = self.policy.rebuild(in_chunks(self.policy.parameters_at, samples.obs))
            return now.log_prob(samples.actions) - samples.logprobs

    def _step(self) -> Tensor:
        self.num_updates += 1
        return self.optimizer.step(self.config.max_grad_norm)
