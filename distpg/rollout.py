"""How a policy turns into trajectories: one slot of the batch, its envs and its random streams.

A slot acts with exactly the weights that it is given and keeps nothing of the policy's between
rollouts. T steps, N envs.
"""

import time
from typing import NamedTuple

import numpy as np
import torch

from distpg.config import Config
from distpg.envs.make import EnvSource, make_vector_env
from distpg.errors import RunError
from distpg.policy.acting import Actor
from distpg.policy.actor_critic import Policy
from distpg.policy.architecture import Architecture
from distpg.recording import Recording
from distpg.records import Rollout, RolloutStats, Weights
from distpg.scores import Scores, tear
from distpg.snapshot import SlotState
from distpg.spaces import Obs
from distpg.streams import Stream, stream_seeds


class Collected(NamedTuple):
    """What one call of `collect` gives."""

    rollout: Rollout
    stats: RolloutStats
    state: SlotState | None
    """The slot afterwards, where there is something to go on from and the environment tells it."""


class RolloutWorker:
    """One slot: a vector env, its place in the batch, a policy to load weights into."""

    def __init__(
        self,
        config: Config,
        source: EnvSource,
        slot: int,
        *,
        incarnation: int = 0,
        state: SlotState | None = None,
    ) -> None:
        """Make the envs, fresh or as a snapshot left them.

        Args:
            config: Settings of the run.
            source: How to make the environment.
            slot: Place in the batch, from 0.
            incarnation: How often this slot was started with fresh envs before; a snapshot knows.
            state: A snapshot of the slot to go on from.
        """
        self.config = config
        self.incarnation = state.incarnation if state else incarnation
        self.key = (config.seed, slot, self.incarnation)
        self.slot = slot
        self.source = source
        self.envs = make_vector_env(source, config.num_envs)
        specs = self.envs.obs_spec, self.envs.action_spec
        self.policy = Policy(*specs, Architecture.of(config)).for_acting()
        self.scores = Scores(config.num_envs)
        self.obs: Obs | None = None
        if state is not None:
            self.envs.set_state(state.envs)
            self.obs = {name: leaf.copy() for name, leaf in state.obs.items()}
            self.over, self.memory, self.scores.score, self.scores.length = (
                array.copy() for array in (state.over, state.memory, state.score, state.length)
            )

    @torch.inference_mode()
    def collect(self, weights: Weights, iteration: int) -> Collected:
        """Play with the policy that the weights hold.

        Segments go on where the last rollout ended. Whole episodes start from a reset, and end when
        each env has finished its number of them; envs that finish early are stepped on, but what
        they do is not valid.
        """
        began, step_s = time.perf_counter(), 0.0
        self.policy.load(weights)
        (act_seed,) = stream_seeds(Stream.ACT, *self.key, iteration)
        generator = torch.Generator().manual_seed(act_seed)
        whole_episodes = self.config.episodes > 0
        told = self.reset(iteration) if self.obs is None or whole_episodes else {}
        assert self.obs is not None, "reset gives observations"
        episodes_left = np.full(self.config.num_envs, self.config.episodes)
        recording = Recording.of(self.policy, self.config, self.slot)
        recording.put_obs(0, self.obs)
        actor = Actor(self.policy, torch.from_numpy(self.memory))
        before, t, faults = self.over, 0, dict[tuple[int, int], str]()
        while episodes_left.any() if whole_episodes else t < self.config.num_steps:
            recording.make_room(t)
            outputs = actor.outputs(*recording.observed(t, self.over))
            actions = self.policy.distribution_of(outputs).sample(generator).numpy()
            step_began = time.perf_counter()
            step = self.envs.step(self.policy.to_bounds(actions))
            step_s += time.perf_counter() - step_began
            valid = ~self.over
            for env, fault in step.faults.items():
                valid[env], faults[t, env] = False, fault
                if whole_episodes and len(faults) > self.config.max_env_faults:
                    raise RunError(f"slot {self.slot}: envs raised {len(faults)} times: {fault}")
            if whole_episodes:
                valid &= episodes_left > 0
                episodes_left -= step.over & valid
            recording.put_step(t, step, actions=actions, outputs=outputs.numpy(), valid=valid)
            self.obs, self.over, t = step.obs, step.over, t + 1
            recording.put_obs(t, self.obs)
        obs, steps = recording.close(t)
        over, valid = steps.pop("over"), steps["valid"]
        torn = tear(valid, before, over, faults)
        # what an env does once its episodes are finished may be no number
        steps["rewards"] = np.where(valid, steps["rewards"], np.float32(0))
        for name in ("terminated", "truncated"):
            steps[name] = steps[name] & valid
        played = self.policy.distribution_of(torch.from_numpy(steps.pop("outputs")))
        steps["logprobs"] = played.log_prob(torch.from_numpy(steps["actions"])).numpy()
        rollout = Rollout(
            obs=obs,
            state=self.memory,
            policy_version=weights.version,
            slot=self.slot,
            **steps,
        )
        self.memory = actor.memory.numpy().copy()  # a view would hold those of all rollouts before
        returns, lengths = self.scores.take_in(steps["rewards"], valid, over)
        env_steps = int(np.count_nonzero(valid))
        simulated = int(np.count_nonzero(~np.concatenate([before[None], over[:-1]])))
        stats = RolloutStats(
            slot=self.slot,
            env_steps=env_steps,
            dropped_steps=simulated - env_steps,
            episode_returns=returns,
            episode_lengths=lengths,
            collect_s=time.perf_counter() - began,
            step_s=step_s,
            torn_steps=torn,
            faults=tuple(
                f"slot {self.slot}, env {env}, step {step} of iteration {iteration}: {fault}"
                for (step, env), fault in (told | faults).items()
            ),
        )
        return Collected(rollout, stats, self.state())

    def reset(self, iteration: int) -> dict[tuple[int, int], str]:
        """Start all envs afresh, seeded for this iteration; return what any raised, by (0, env)."""
        seeds = stream_seeds(Stream.ENV, *self.key, iteration, count=self.config.num_envs)
        self.obs = self.envs.reset(seeds)
        self.over = np.zeros(self.config.num_envs, dtype=bool)
        self.memory = np.zeros((self.config.num_envs, self.policy.num_memory), np.float32)
        self.scores = Scores(self.config.num_envs)
        return {(0, env): fault for env, fault in self.envs.faults_at_reset.items()}

    def state(self) -> SlotState | None:
        """Return the slot as a value.

        None where the environment does not offer its state, or each rollout starts from a reset.
        """
        envs = None if self.config.episodes else self.envs.get_state()
        if envs is None or self.obs is None:
            return None
        obs, scores = {name: leaf.copy() for name, leaf in self.obs.items()}, self.scores
        arrays = (self.over.copy(), scores.score.copy(), scores.length.copy(), self.memory.copy())
        return SlotState(self.incarnation, obs, *arrays, envs)
