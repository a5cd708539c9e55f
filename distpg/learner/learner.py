"""One update: check the batch, value it, run the epochs of minibatches, fit the critic.

T steps, N envs of all slots side by side, B valid samples of a batch, M of a minibatch.
"""

import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from distpg.config.config import Config
from distpg.gradient.diagnostics import approx_kl, explained_variance
from distpg.gradient.trajectories import Trajectories, without_undefined
from distpg.iteration import Packages, Update
from distpg.learner import histograms, objective, on_policy, trust_region
from distpg.learner.compiled import decide, find_steps
from distpg.learner.diagnosis import diagnose_step, gradients_of_groups
from distpg.learner.epochs import Epochs
from distpg.learner.means import Means
from distpg.learner.minibatch import NORM, Steps, TorchSteps, term_names
from distpg.learner.minibatches import Samples
from distpg.learner.objective import log_ratio
from distpg.learner.train_state import TrainState
from distpg.records import Batch, Rollout
from distpg.spaces import ActionSpec, ObsSpec


class Learner(TrainState):
    """Updates policy and critic by batches of rollouts; `train_state.py` has what that changes.

    It uses torch's operations until `compile` is called.
    """

    def __init__(self, config: Config, obs_spec: ObsSpec, action_spec: ActionSpec) -> None:
        """Initialize the networks."""
        super().__init__(config, obs_spec, action_spec)
        self.steps: Steps = TorchSteps(config, self.model, self.optimizer)
        self.compiles = decide(config, self.device, obs_spec)

    def compile(
        self, packages: Packages, say: Callable[[str], None] = lambda line: None
    ) -> Packages:
        """Compile what an update does with a minibatch, if that was decided.

        Args:
            packages: Of a learner with the same settings; those that fit this machine are used.
            say: Called with what the user should know.

        Raises:
            InputError: there is no compiler.
        """
        self.steps, packages = find_steps(self, packages, say)
        return packages

    def improve(self, rollouts: Sequence[Rollout]) -> Update:
        """Update policy and critic by one batch.

        Args:
            rollouts: One of each slot, in slot order, all collected with the current version; with
                overlap, with that or the one before it.

        Raises:
            RunError: a rollout is of another version or slot, or of another behaviour policy.
            AnomalyError: losses, gradients or weights are not finite.
        """
        began, config = time.perf_counter(), self.config
        staleness = on_policy.check_versions(
            rollouts, config.slots, self.version, allowed=int(config.overlap)
        )
        batch = Batch.join(rollouts, self.device)
        on_policy.check_batch_finite(batch, config.num_envs)
        samples, trajectories = self.observe(batch)
        scalars = on_policy.check_on_policy(
            objective.initial_log_ratio(self.policy, samples),
            samples.envs // config.num_envs,
            {} if staleness else on_policy.LIMITS[config.precision],
        )
        prepare_s = time.perf_counter() - began
        self.before = self.published.policy if config.overlap else None
        diagnosed = self.is_due(config.gradient_stats_every)
        groups = gradients_of_groups(self, samples, trajectories) if diagnosed else None
        counts = histograms.of_batch(self, samples, trajectories)
        scalars |= self._run_epochs(batch, samples, trajectories)
        scalars["train/staleness"] = staleness
        on_policy.check_update_finite(scalars, self.version, finite=self.optimizer.finite())
        gain = bound = None
        if groups:
            step = diagnose_step(self, samples, trajectories)
            gain, bound = step.surrogate_gain, step.kl_term
            scalars |= self.noise.measure(*groups) | step.scalars()
        self.policy.normalizer.merge(
            {name: leaf[:-1] for name, leaf in batch.obs.items()}, batch.valid
        )
        self.version += 1
        self.trained_steps += len(samples)
        return Update(
            scalars, prepare_s=prepare_s, surrogate_gain=gain, kl_term=bound, histograms=counts
        )

    @torch.no_grad()
    def observe(self, batch: Batch) -> tuple[Samples, Trajectories]:
        """Value every state, and take the valid steps out as samples."""
        config, valid, num_envs = self.config, batch.valid, batch.valid.shape[1]
        seen = self.network_inputs(batch)
        outputs = objective.outputs(config, self.model, seen).unflatten(0, (-1, num_envs))
        parameters, values = outputs[:-1, :, :-1], outputs[..., -1]
        samples = Samples(
            obs={name: leaf[: valid.numel()][valid.flatten()] for name, leaf in seen.items()},
            actions=batch.actions[valid],
            logprobs=batch.logprobs[valid],
            values=values[:-1][valid],
            envs=torch.arange(num_envs, device=self.device).expand(valid.shape)[valid],
            parameters=parameters[valid],
        )
        values = without_undefined(values, valid)
        trajectories = Trajectories(
            rewards=self.rewards(batch),
            values=values[:-1],
            next_values=values[1:],
            terminated=batch.terminated,
            truncated=batch.truncated,
            valid=valid,
        )
        return samples, trajectories

    def _run_epochs(
        self, batch: Batch, samples: Samples, trajectories: Trajectories
    ) -> dict[str, float]:
        """Run the epochs of minibatches; a surrogate for one step adds their gradients up."""
        config, stopped = self.config, False
        names = term_names(self.model)
        means = Means(names if config.one_step else (*names, NORM))
        coefficients, self.optimizer.rate = self.schedules.now(self.trained_steps)
        stats = self.schedules.scalars(self.trained_steps)
        epochs = Epochs(self, self.steps, batch, samples, trajectories, coefficients)
        if self.model.critic:
            explained = explained_variance(samples.values, epochs.targets.returns)
            stats["train/explained_variance"] = explained.item()
        moved, found = list[Tensor](), None
        for rows in epochs.minibatches():
            if config.one_step:
                found = self.steps.gradient(rows)
                self.optimizer.add(found.flat, len(rows) / len(samples))
            else:
                found = self.steps.step(rows)
            moved.append(found.log_ratio)
            if stopped := found.stopped:
                break
            self.num_updates += not config.one_step
            means.add(found.terms, len(rows))
        if config.surrogate == "trust_region":
            stats |= trust_region.step(self, samples, epochs.targets, coefficients)
        if config.one_step:
            stats["gradient/norm"] = float(self.optimizer.step(config.max_grad_norm))
            self.num_updates += 1
        for rows in epochs.of_critic():
            self.steps.critic_step(rows)
            self.num_updates += 1
        if self.schedules.follows_kl:
            self.schedules.observe(float(approx_kl(log_ratio(self.policy, samples))))
        stats |= {"train/optimizer_steps": self.num_updates, "train/early_stop": float(stopped)}
        clip = coefficients.clip if config.surrogate == "clip" else None
        stats |= on_policy.distance(torch.cat(moved), len(samples), clip)
        assert found, "an update has at least one minibatch"
        stats["train/loss"] = float(found.terms[names.index("train/loss")])
        if self.policy.action_spec.kind == "continuous":
            stats["train/std"] = self.policy.mean_std(samples.parameters)
        return means.read() | stats
