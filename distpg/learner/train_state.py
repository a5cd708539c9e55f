"""Everything an update changes: networks, optimizer, schedules, statistics, counters.

It is published as a value after each update, a `LearnerState` of arrays by name: a rollback, a
replaced process and a checkpoint all restore that.
"""

import dataclasses
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from distpg.config.config import Config
from distpg.errors import AnomalyError, InputError
from distpg.iteration import Placement, ProcessFaults, Update
from distpg.learner.critic_memory import CriticMemory
from distpg.learner.device import choose_device, default_threads
from distpg.learner.noise import NoiseAverage
from distpg.learner.optimizer import Optimizer
from distpg.learner.reward_scale import RewardScale
from distpg.learner.schedules import Schedules
from distpg.learner.sequences import network_inputs
from distpg.policy.actor_critic import Policy, load_arrays, shape_of, to_arrays
from distpg.policy.architecture import Architecture
from distpg.policy.critic import ActorCritic
from distpg.policy.trace import UntraceableError, acting_programs
from distpg.records import ActingPrograms, Batch, LearnerState, Rollout, Weights
from distpg.seeding import RNG, rng_seeds
from distpg.spaces import ActionSpec, ObsSpec, spaces_to_json

VARYING = ("before/", "critic_memory/", "reward_scale/running")
"""Prefixes of arrays that a state may lack."""


def programs_of(
    config: Config, obs_spec: ObsSpec, action_spec: ActionSpec
) -> ActingPrograms | None:
    """Return how workers act by NumPy, or None if they act by torch.

    Raises:
        InputError: `--acting numpy` asks for what NumPy cannot compute.
    """
    if config.acting == "torch":
        return None
    try:
        dtype = torch.get_default_dtype()
        return acting_programs(obs_spec, action_spec, Architecture.of(config), dtype)
    except UntraceableError as error:
        if config.acting == "numpy":
            raise InputError(
                f"--acting: numpy does not support {error}; use --acting torch"
            ) from error
        return None


class TrainState(ABC):
    """Policy, critic and optimizer, from one version to the next; subclasses say how."""

    def __init__(self, config: Config, obs_spec: ObsSpec, action_spec: ActionSpec) -> None:
        """Initialize the networks from the seed, on the device that the configuration names."""
        self.config = config
        self.device = choose_device(config.device)
        self.threads = config.learner_threads or default_threads(obs_spec, config.minibatch_size)
        self.compiles = "off"
        """Whether updates are compiled, on or off."""
        # workers act in float32, so the learner must not round to TF32
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cuda.matmul.allow_tf32 = False
        # the last bits of orthogonal initialization depend on the number of threads, too
        torch.set_num_threads(self.threads)
        (seed,) = rng_seeds(RNG.INIT, config.seed)
        parts = Architecture.of(config)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            policy = Policy(obs_spec, action_spec, parts)
            critic, apart = config.baseline == "value", config.surrogate == "trust_region"
            self.model = ActorCritic(policy, parts, with_critic=critic, detached=apart)
        self.model.to(self.device)
        self.policy = self.model.policy
        self.optimizer = Optimizer(self.model, config)
        # the trust region moves the policy itself
        self.optimizer.frozen = {"policy"} if apart else set()
        self.schedules = Schedules(config)
        self.reward_scale = RewardScale(
            config.gamma, carry=config.episodes == 0, clip=config.clip_rewards
        )
        self.critic_memory = CriticMemory(self.model)
        self.noise = NoiseAverage()
        self.before: Weights | None = None
        """With overlap, the policy before the last update."""
        self.version = 0
        self.trained_steps = 0
        self.num_updates = 0
        self.published = self.snapshot()
        """Everything as it stood after the last update; it is replaced, never changed."""
        self.programs = programs_of(config, obs_spec, action_spec)
        """How workers act without torch, if they do."""

    @abstractmethod
    def improve(self, rollouts: Sequence[Rollout]) -> Update:
        """Change the policy by one batch, and count it.

        Raises:
            AnomalyError: losses, gradients or weights are not finite.
        """

    def update(self, rollouts: Sequence[Rollout]) -> tuple[Weights, Update]:
        """Improve the policy by one batch; roll back if that produces NaN or inf.

        A batch without a valid step changes nothing: all envs failed, or did nothing but reset.

        Returns:
            The new weights, or those from before if nothing changed, and what was measured.

        Raises:
            RunError: the batch is not one to learn from.
        """
        began = time.perf_counter()
        torch.set_num_threads(self.threads)
        if rollouts and not any(rollout.valid.any() for rollout in rollouts):
            # with overlap, the next batch is collected with the same weights
            self.before = None
            self.published = self.snapshot()
            return self.weights(), Update({}, learner_s=time.perf_counter() - began)
        try:
            # an environment in this process may have switched gradients off
            with torch.enable_grad():
                update = self.improve(rollouts)
            self.critic_memory.advance()
            self.published = self.snapshot()
        except AnomalyError as anomaly:
            self.load(self.published)
            update = Update(dict(anomaly.stats), rolled_back=True)
        return self.weights(), dataclasses.replace(update, learner_s=time.perf_counter() - began)

    def is_due(self, every: int) -> bool:
        """Return whether what is done every so many updates, or never if 0, is due at this one."""
        return every > 0 and self.version % every == 0

    def placement(self) -> Placement:
        """Return how updates are computed."""
        acting = "torch" if self.programs is None else "numpy"
        return Placement(self.device.type, self.threads, self.compiles, acting)

    def weights(self) -> Weights:
        """Return what a policy needs to act, as arrays under the current version."""
        return dataclasses.replace(self.published.policy, acting=self.programs)

    def acting_weights(self) -> Weights:
        """Return what the next batch is collected with: with overlap, one update older."""
        before = self.before and dataclasses.replace(self.before, acting=self.programs)
        return before or self.weights()

    def fetch(self, weights: Weights) -> Weights:
        """Return weights, which are in this process."""
        return weights

    def state(self) -> LearnerState:
        """Return everything that the next update depends on, as it stands after the last one."""
        return self.published

    def faults(self) -> ProcessFaults:
        """Count no restarts: this process is the run's own."""
        return ProcessFaults()

    def rewards(self, batch: Batch) -> Tensor:
        """Return what is trained on, [T, N]: the rewards as they are, scaled, or their sign."""
        if self.config.signed:
            return batch.rewards.sign()
        return self.reward_scale.scale(batch) if self.config.normalize_rewards else batch.rewards

    def network_inputs(self, batch: Batch) -> dict[str, Tensor]:
        """Return what policy and critic see at each row, {leaf: [(T+1) * N, *O]}, time first."""
        seen = network_inputs(self.policy, batch, self.config.sequence_length)
        return seen | self.critic_memory.inputs(seen, batch)

    def snapshot(self) -> LearnerState:
        """Copy out everything that the next update depends on."""
        parts = {
            "critic": to_arrays(self.model.critic),
            "optimizer": self.optimizer.arrays(),
            "reward_scale": self.reward_scale.state(),
            "schedules": self.schedules.state(),
            "noise": self.noise.state(),
            "critic_memory": self.critic_memory.arrays(),
            "before": self.before.arrays if self.before else {},
        }
        return LearnerState(
            policy=self.policy.weights(self.version),
            arrays={
                f"{name}/{key}": x for name, arrays in parts.items() for key, x in arrays.items()
            },
            counters={
                "policy_version": self.version,
                "trained_steps": self.trained_steps,
                "num_updates": self.num_updates,
            },
            spaces=spaces_to_json(self.policy.obs_spec, self.policy.action_spec),
        )

    def load(self, state: LearnerState) -> None:
        """Continue from a state that `state` returned.

        Raises:
            InputError: names what is missing, or of another shape.
        """
        own = self.published
        for name in sorted(own.arrays):
            have, need = shape_of(state.arrays.get(name)), shape_of(own.arrays[name])
            if have != need and not name.startswith(VARYING):
                raise InputError(f"the saved learner differs: {name} is {have}, not {need}")
        for name in own.counters:
            if not isinstance(state.counters.get(name), int):
                raise InputError(f"the saved learner has no count of {name}")
        self.policy.load(state.policy)
        load_arrays(self.model.critic, part(state.arrays, "critic/"))
        self.optimizer.load(part(state.arrays, "optimizer/"))
        self.reward_scale.load(part(state.arrays, "reward_scale/"))
        self.schedules.load(part(state.arrays, "schedules/"))
        self.noise.load(part(state.arrays, "noise/"))
        self.critic_memory.load(part(state.arrays, "critic_memory/"))
        self.version = state.counters["policy_version"]
        before = part(state.arrays, "before/")
        self.before = Weights(self.version - 1, before) if before else None
        self.trained_steps = state.counters["trained_steps"]
        self.num_updates = state.counters["num_updates"]
        self.published = self.snapshot()

    def start_from(self, state: LearnerState) -> None:
        """Take over another run's policy and, if both have one, its critic; nothing else.

        Raises:
            InputError: its networks differ.
        """
        critic = part(state.arrays, "critic/")
        try:
            self.policy.load(state.policy)
            if self.model.critic and critic:
                load_arrays(self.model.critic, critic)
        except InputError as error:
            raise InputError(
                f"{error}; use the settings of its networks, as --config with its config.toml does"
            ) from error
        self.published = self.snapshot()


def part(arrays: Mapping[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    """Return the arrays under a prefix, without it."""
    return {
        name.removeprefix(prefix): array
        for name, array in arrays.items()
        if name.startswith(prefix)
    }
