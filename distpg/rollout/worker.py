"""Collect trajectories for one slot: its vector env, policy and RNG streams.

A slot acts with exactly the weights that it is given, and keeps nothing of the policy's between
rollouts but its recurrent state. T steps, N envs.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from distpg.config.config import Config
from distpg.envs.make import EnvSource, make_vector_env
from distpg.errors import EnvError, RunError
from distpg.policy.agent import Agent
from distpg.policy.architecture import Architecture
from distpg.policy.behaviour import BehaviourPolicy, first_stuck
from distpg.records import Rollout, RolloutStats, Weights
from distpg.rollout.buffer import RecordedPolicy, RolloutBuffer
from distpg.rollout.closing import closing_if_raised
from distpg.rollout.episodes import EpisodeReturns, invalidate_faulted
from distpg.rollout.slot_state import Collected, SlotState
from distpg.seeding import RNG, rng_seeds
from distpg.spaces import Obs


class RolloutWorker:
    """One slot: a vector env, its place in the batch, and an agent that acts in it."""

    def __init__(
        self,
        config: Config,
        source: EnvSource,
        slot: int,
        *,
        incarnation: int = 0,
        state: SlotState | None = None,
        make_behaviour: Callable[[Agent, np.ndarray], BehaviourPolicy] | None = None,
    ) -> None:
        """Make the envs, fresh or restored.

        Args:
            config: Settings of the run.
            source: How to make the environment.
            slot: Place in the batch, from 0.
            incarnation: How often this slot was started with fresh envs before; a state knows.
            state: What to restore.
            make_behaviour: Makes what acts in a rollout in place of the policy, from the agent and
                a recurrent state [N, S].
        """
        self.config = config
        self.make_behaviour = make_behaviour
        self.incarnation = state.incarnation if state else incarnation
        self.key = (config.seed, slot, self.incarnation)
        self.slot = slot
        self.source = source
        self.envs = make_vector_env(source, config.num_envs, slot=slot)
        with closing_if_raised(self.envs):
            self.envs.watch_ranges()
            specs = self.envs.obs_spec, self.envs.action_spec
            self.agent = Agent(*specs, Architecture.of(config), acting=config.acting)
            self.episodes = EpisodeReturns(config.num_envs)
            self.obs: Obs | None = None
            if state is not None:
                self.envs.set_state(state.envs)
                self.obs = {name: leaf.copy() for name, leaf in state.obs.items()}
                self.needs_reset = state.needs_reset.copy()
                self.recurrent_state = state.recurrent_state.copy()
                self.episodes.returns = state.returns.copy()
                self.episodes.lengths = state.lengths.copy()

    def collect(
        self, weights: Weights, iteration: int, attributes: Mapping[str, Any] | None = None
    ) -> Collected:
        """Collect one rollout with the given weights, after attributes are set in the envs.

        Segments continue where the last rollout ended. Whole episodes start from a reset, and end
        when each env has finished its number of them; envs that finish early are stepped further,
        but those steps are not valid.
        """
        began, step_s = time.perf_counter(), 0.0
        self.envs.set_attributes(attributes or {})
        whole_episodes = self.config.episodes > 0
        faults = self.reset(iteration) if self.obs is None or whole_episodes else {}
        assert self.obs is not None, "reset returns observations"
        episodes_left = np.full(self.config.num_envs, self.config.episodes)
        buffer = RolloutBuffer.of(self.agent, self.config)
        buffer.put_obs(0, self.obs)
        if self.make_behaviour:
            behaviour = self.make_behaviour(self.agent, self.recurrent_state)
        else:
            behaviour = self.agent.behaviour(weights, self.recurrent_state)
        (act_seed,) = rng_seeds(RNG.ACT, *self.key, iteration)
        generator = behaviour.generator(act_seed)
        recorded = RecordedPolicy(behaviour)
        first_resets, t, step_faults = self.needs_reset, 0, dict[tuple[int, int], str]()
        reported: dict[tuple[int, int], Mapping[str, float]] = {}
        while episodes_left.any() if whole_episodes else t < self.config.num_steps:
            buffer.make_room(t)
            obs = buffer.row(t)
            if (env := first_stuck(self.agent, obs, self.needs_reset)) is not None:
                raise RunError(
                    f"slot {self.slot}, env {env}: at step {t} of the rollout its action mask "
                    "allows no action"
                )
            actions = recorded.act(obs, self.needs_reset, generator)
            step_began = time.perf_counter()
            try:
                step = self.envs.step(self.agent.units.to_bounds(actions))
            except EnvError as error:
                place = f"slot {self.slot}, env {error.env}, step {t} of iteration {iteration}"
                raise RunError(f"{place}: {error}") from error
            step_s += time.perf_counter() - step_began
            reported |= {(t, env): metrics for env, metrics in step.reported.items()}
            valid = ~self.needs_reset
            for env, fault in step.faults.items():
                valid[env], step_faults[t, env] = False, fault
                if whole_episodes and len(step_faults) > self.config.max_env_faults:
                    raise RunError(
                        f"slot {self.slot}: envs raised {len(step_faults)} times: {fault}"
                    )
            if whole_episodes:
                valid &= episodes_left > 0
                episodes_left -= step.needs_reset & valid
            buffer.put_step(t, step, actions=actions, valid=valid)
            self.obs, self.needs_reset, t = step.obs, step.needs_reset, t + 1
            buffer.put_obs(t, self.obs)
        obs, steps = buffer.close(t)
        needs_reset, valid = steps.pop("needs_reset"), steps["valid"]
        faulted_steps = invalidate_faulted(valid, first_resets, needs_reset, step_faults)
        # after an env has finished its episodes its rewards may be NaN
        steps["rewards"] = np.where(valid, steps["rewards"], np.float32(0))
        steps |= {name: steps[name] & valid for name in ("terminated", "truncated")}
        steps["logprobs"] = recorded.logprobs()
        rollout = Rollout(
            obs=obs,
            state=self.recurrent_state,
            policy_version=weights.version,
            slot=self.slot,
            **steps,
        )
        # a view would keep the buffers of all previous rollouts alive
        self.recurrent_state = np.array(behaviour.recurrent_state)
        returns, lengths, ends = self.episodes.finish(steps["rewards"], valid, needs_reset)
        env_steps = int(np.count_nonzero(valid))
        resets = np.concatenate([first_resets[None], needs_reset[:-1]])
        stats = RolloutStats(
            slot=self.slot,
            env_steps=env_steps,
            dropped_steps=int(np.count_nonzero(~resets)) - env_steps,
            episode_returns=returns,
            episode_lengths=lengths,
            collect_s=time.perf_counter() - began,
            step_s=step_s,
            faulted_steps=faulted_steps,
            faults=tuple(
                f"slot {self.slot}, env {env}, step {step} of iteration {iteration}: {fault}"
                for (step, env), fault in (faults | step_faults).items()
            ),
            range_warnings=self.envs.range_warnings(),
            reported=[reported.get(end, {}) for end in ends] if reported else (),
        )
        return Collected(rollout, stats, self.state())

    def reset(self, iteration: int) -> dict[tuple[int, int], str]:
        """Reset all envs, seeded for this iteration; return what any raised, by (0, env)."""
        seeds = rng_seeds(RNG.ENV, *self.key, iteration, count=self.config.num_envs)
        try:
            self.obs = self.envs.reset(seeds)
        except EnvError as error:
            place = f"slot {self.slot}, env {error.env}, reset of iteration {iteration}"
            raise RunError(f"{place}: {error}") from error
        self.needs_reset = np.zeros(self.config.num_envs, dtype=bool)
        self.recurrent_state = self.agent.first_state(self.config.num_envs)
        self.episodes = EpisodeReturns(self.config.num_envs)
        return {(0, env): fault for env, fault in self.envs.faults_at_reset.items()}

    def state(self) -> SlotState | None:
        """Return what a worker needs to continue this slot.

        None if the environment does not expose its state, or each rollout starts from a reset.
        """
        envs = None if self.config.episodes else self.envs.get_state()
        if envs is None or self.obs is None:
            return None
        return SlotState(
            incarnation=self.incarnation,
            obs={name: leaf.copy() for name, leaf in self.obs.items()},
            needs_reset=self.needs_reset.copy(),
            returns=self.episodes.returns.copy(),
            lengths=self.episodes.lengths.copy(),
            recurrent_state=self.recurrent_state.copy(),
            envs=envs,
        )
