"""How trajectories turn into a better policy.

T steps, N envs of all slots side by side, B valid samples of a batch, M of a minibatch.
"""

import time
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from distpg.config import Config
from distpg.errors import RunError
from distpg.gradient.advantages import Paths, estimate, normalize
from distpg.gradient.losses import SURROGATES, approx_kl, explained_variance, value_loss
from distpg.learner.device import choose_device, default_threads
from distpg.learner.means import Means
from distpg.learner.minibatches import Samples, minibatches
from distpg.learner.on_policy import check_finite, check_on_policy
from distpg.learner.reward_scale import RewardScale
from distpg.learner.state import learner_arrays, load_critic, load_learner_arrays
from distpg.policy.actor_critic import ActorCritic, Policy
from distpg.policy.architecture import Architecture
from distpg.records import Batch, LearnerState, Rollout, Weights
from distpg.spaces import ActionSpec, ObsSpec, spaces_to_json
from distpg.streams import Stream, stream_seeds

CHUNK = 8192
"""Observations of one forward pass of the critic over a batch."""


class Learner:
    """Policy, critic and optimizer, and the update that takes them from one version to the next."""

    def __init__(self, config: Config, obs_spec: ObsSpec, action_spec: ActionSpec) -> None:
        """Initialize the networks from the seed, on the device that the configuration names."""
        self.config = config
        self.device = choose_device(config.device)
        self.threads = config.learner_threads or default_threads(obs_spec)
        # workers act in float32, so the learner must not round to TF32
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cuda.matmul.allow_tf32 = False
        # orthogonal initialization, too, depends in its last bits on the number of threads
        torch.set_num_threads(self.threads)
        (seed,) = stream_seeds(Stream.INIT, config.seed)
        parts = Architecture.of(config)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            policy = Policy(obs_spec, action_spec, parts)
            self.model = ActorCritic(policy, parts, with_critic=config.baseline == "value")
        self.model.to(self.device)
        self.policy = self.model.policy
        self.optimizer = torch.optim.Adam(
            self.model.parameters(), lr=config.learning_rate, eps=1e-5, fused=True
        )
        self.reward_scale = RewardScale(config.gamma, carry=config.episodes == 0)
        self.version = 0
        self.trained_steps = 0
        self.num_updates = 0

    def placement(self) -> tuple[str, int]:
        """Return the device and the number of threads that updates are computed with."""
        return self.device.type, self.threads

    def weights(self) -> Weights:
        """Return what a policy needs to act, as arrays under the current version."""
        return self.policy.weights(self.version)

    def update(self, rollouts: Sequence[Rollout]) -> tuple[Weights, dict[str, float]]:
        """Improve the policy by one batch.

        Args:
            rollouts: One of each slot, in slot order, all played with the current version.

        Returns:
            The new weights, and statistics by their TensorBoard tag: means over all minibatches,
            weighted by size.

        Raises:
            RunError: a rollout is of another version or slot, or was not played by this policy.
        """
        began = time.perf_counter()
        torch.set_num_threads(self.threads)
        self._admit(rollouts)
        batch = Batch.join(rollouts, self.device)
        check_finite(batch, self.config.num_envs)
        samples, stats = self._credit(batch)
        stats |= self._improve(samples)
        self.policy.normalizer.merge(
            {name: leaf[:-1] for name, leaf in batch.obs.items()}, batch.valid
        )
        self.version += 1
        self.trained_steps += len(samples)
        stats["perf/learner_s"] = time.perf_counter() - began
        return self.weights(), stats

    def _admit(self, rollouts: Sequence[Rollout]) -> None:
        slots = [rollout.slot for rollout in rollouts]
        if slots != list(range(self.config.slots)):
            raise RunError(f"a batch needs each of {self.config.slots} slots once, not {slots}")
        for rollout in rollouts:
            if rollout.policy_version != self.version:
                raise RunError(
                    f"slot {rollout.slot} acted with version {rollout.policy_version} of the "
                    f"policy; the learner is at version {self.version}"
                )

    @torch.no_grad()
    def _credit(self, batch: Batch) -> tuple[Samples, dict[str, float]]:
        """Value every state, credit every step, and take the valid ones out as samples."""
        obs = self.policy.normalizer(batch.obs)
        values = self._values(obs, batch)
        paths = Paths(
            rewards=self._rewards(batch),
            values=values[:-1],
            next_values=values[1:],
            terminated=batch.terminated,
            truncated=batch.truncated,
            valid=batch.valid,
        )
        advantages, returns = estimate(paths, self.config)
        valid = batch.valid
        slots = torch.arange(valid.shape[1], device=self.device) // self.config.num_envs
        samples = Samples(
            obs={name: leaf[:-1][valid] for name, leaf in obs.items()},
            actions=batch.actions[valid],
            logprobs=batch.logprobs[valid],
            advantages=advantages[valid],
            returns=returns[valid],
            slots=slots.expand(valid.shape)[valid],
        )
        stats: dict[str, float] = {}
        if self.model.critic:
            explained = explained_variance(paths.values[valid], samples.returns)
            stats["train/explained_variance"] = explained.item()
        if self.config.normalize_advantages:
            samples.advantages.copy_(normalize(samples.advantages))
        return samples, stats

    def _values(self, obs: Mapping[str, Tensor], batch: Batch) -> Tensor:
        """Return V of all observations, [T+1, N]; zeros without a critic."""
        rows, num_envs = batch.rewards.shape[0] + 1, batch.rewards.shape[1]
        if not self.model.critic:
            return torch.zeros(rows, num_envs, device=self.device)
        flat = {name: leaf.flatten(0, 1).split(CHUNK) for name, leaf in obs.items()}
        chunks = [
            self.model.values(dict(zip(flat, leaves, strict=True)))
            for leaves in zip(*flat.values(), strict=True)
        ]
        return torch.cat(chunks).view(rows, num_envs)

    def _rewards(self, batch: Batch) -> Tensor:
        if self.config.signed:
            return batch.rewards.sign()
        return self.reward_scale.scale(batch) if self.config.normalize_rewards else batch.rewards

    def _improve(self, samples: Samples) -> dict[str, float]:
        """Run the epochs of minibatches; with log_prob, add up their gradients to one step."""
        config = self.config
        rate = config.learning_rate * self._schedule()
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        one_step = config.surrogate == "log_prob"
        means, first, stopped = Means(), dict[str, float](), False
        self.optimizer.zero_grad(set_to_none=True)
        for epoch in range(config.num_epochs):
            keys = {"seed": config.seed, "iteration": self.version, "epoch": epoch}
            for minibatch in minibatches(samples, config.minibatch_size, **keys):
                loss, terms = self._loss(minibatch)
                if not means.weight:
                    first = check_on_policy(terms["log_ratio"], minibatch.slots)
                terms.pop("log_ratio", None)
                if config.target_kl and float(terms["train/approx_kl"]) > 1.5 * config.target_kl:
                    stopped = True
                    break
                weight = len(minibatch)
                (loss * (weight / len(samples)) if one_step else loss).backward()
                if not one_step:
                    terms["gradient/norm"] = self._step()
                means.add(terms, weight)
            if stopped:
                break
        stats = means.read()
        if one_step:
            stats["gradient/norm"] = float(self._step())
        stats["train/learning_rate"] = rate
        stats["train/n_updates"] = self.num_updates
        stats["train/early_stop"] = float(stopped)
        return stats | first

    def _loss(self, minibatch: Samples) -> tuple[Tensor, dict[str, Tensor]]:
        config = self.config
        distribution, values = self.model(minibatch.obs)
        logprobs = distribution.log_prob(minibatch.actions)
        surrogate = SURROGATES[config.surrogate]
        policy_loss = surrogate(logprobs, minibatch.logprobs, minibatch.advantages, config)
        entropy = distribution.entropy().mean()
        loss = policy_loss - config.ent_coef * entropy
        terms = {"train/policy_gradient_loss": policy_loss, "train/entropy_loss": -entropy}
        if values is not None:
            terms["train/value_loss"] = value_loss(values, minibatch.returns)
            loss = loss + config.vf_coef * terms["train/value_loss"]
        with torch.no_grad():
            log_ratio = logprobs - minibatch.logprobs
            terms["train/approx_kl"] = approx_kl(log_ratio)
            if config.surrogate == "clip":
                moved = (log_ratio.exp() - 1).abs() > config.clip_coef
                terms["train/clip_fraction"] = moved.float().mean()
            if self.policy.action_spec.kind == "continuous":
                terms["train/std"] = self.policy.log_std.exp().mean()
        terms |= {"train/loss": loss, "log_ratio": log_ratio}
        return loss, {name: term.detach() for name, term in terms.items()}

    def _step(self) -> Tensor:
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.config.max_grad_norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.num_updates += 1
        return norm.detach()

    def _schedule(self) -> float:
        if self.config.lr_schedule == "constant":
            return 1.0
        return max(0.0, 1 - self.trained_steps / self.config.total_steps)

    def state(self) -> LearnerState:
        """Copy out everything that the next update depends on."""
        return LearnerState(
            policy=self.weights(),
            arrays=learner_arrays(self.model, self.optimizer, self.reward_scale),
            counters={
                "policy_version": self.version,
                "trained_steps": self.trained_steps,
                "num_updates": self.num_updates,
            },
            spaces=spaces_to_json(self.policy.obs_spec, self.policy.action_spec),
        )

    def load(self, state: LearnerState) -> None:
        """Go on from a state that `state` returned."""
        self.policy.load(state.policy)
        load_learner_arrays(self.model, self.optimizer, self.reward_scale, state.arrays)
        self.version = state.counters["policy_version"]
        self.trained_steps = state.counters["trained_steps"]
        self.num_updates = state.counters["num_updates"]

    def start_from(self, state: LearnerState) -> None:
        """Take over another run's policy and, where both have one, its critic; no more."""
        self.policy.load(state.policy)
        if self.model.critic and any(name.startswith("critic/") for name in state.arrays):
            load_critic(self.model.critic, state.arrays)
