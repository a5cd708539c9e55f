"""Query an expert, and relabel rollouts with its actions.

T steps, N envs of a slot, B observations, A action size, *O the shape of an observation's leaf.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from distpg.errors import InputError, RunError
from distpg.imitation.expert import Relabel
from distpg.learner.minibatches import CHUNK
from distpg.policy.acting import ActingPolicy
from distpg.policy.actor_critic import Policy
from distpg.records import Batch, Rollout
from distpg.spaces import Obs

Steps = TypeVar("Steps", Rollout, Batch)


class Queryable(Protocol):
    """An expert whose actions depend on the current observation only."""

    name: str

    def act(self, obs: Any) -> Any:
        """Choose actions for a batch of observations, both in the env's own format."""
        ...


def query(expert: Queryable, student: Policy, obs: Obs) -> np.ndarray:
    """Return an expert's actions at {leaf: [B, *O]} as the student samples them, [B] or [B, A].

    Raises:
        RunError: the expert raised, or did not return valid actions.
    """
    batch_size = len(next(iter(obs.values())))
    chunks: list[np.ndarray] = []
    for start in range(0, batch_size, CHUNK):
        chunk = {name: leaf[start : start + CHUNK] for name, leaf in obs.items()}
        # copies, since the expert may write into them
        copies = {name: leaf.copy() for name, leaf in chunk.items()}
        returned = expert.act(student.obs_spec.nest(copies))
        try:
            actions = student.from_env(returned)
        except InputError as error:
            raise RunError(f"the expert {expert.name}: {error}") from error
        if len(actions) != (expected := min(CHUNK, batch_size - start)):
            raise RunError(
                f"the expert {expert.name} returned {len(actions)} actions for {expected} "
                f"observations{dict_hint(student)}"
            )
        if not (allowed := student.action_spec.allows(chunk, actions)).all():
            forbidden = actions[int(allowed.argmin())]
            raise RunError(
                f"the expert {expert.name} took action {forbidden}, which the action mask forbids"
            )
        chunks.append(actions)
    return np.concatenate(chunks)


def dict_hint(student: Policy) -> str:
    """Return the end of a message: that observations are a dict, if they are."""
    names = [leaf.name for leaf in student.obs_spec.leaves if leaf.path]
    return f", which were passed as a dict of {', '.join(names)}" if names else ""


def unchanged(rollout: Rollout) -> Rollout:
    """Return a rollout whose actions are the expert's already."""
    return rollout


def query_relabeler(expert: Queryable, student: Policy) -> Relabel:
    """Return a function that queries an expert at the valid steps of a rollout."""

    def relabel(rollout: Rollout) -> Rollout:
        torch.set_num_threads(1)
        valid, actions = rollout.valid, rollout.actions.copy()
        if valid.any():
            obs = {name: leaf[:-1][valid] for name, leaf in rollout.obs.items()}
            actions[valid] = query(expert, student, obs)
        return dataclasses.replace(rollout, actions=actions)

    return relabel


class RecurrentRelabeler:
    """Relabels with a recurrent expert, whose state carries over between rollouts of a slot."""

    def __init__(self, expert: Policy, student: Policy) -> None:
        """Take the expert's network, and the student for how it stores actions."""
        self.expert = expert
        self.student = student
        self.last: dict[int, tuple[Rollout, Tensor]] = {}
        """By slot, its last rollout, and the expert's recurrent state after it."""

    @torch.no_grad()
    def __call__(self, rollout: Rollout) -> Rollout:
        """Replace the actions of valid steps by the modes of the expert's distributions."""
        torch.set_num_threads(1)
        policy, actions = self.expert, rollout.actions.copy()
        recurrent_state = torch.zeros(rollout.valid.shape[1], policy.recurrent_state_size)
        if rollout.slot in self.last:
            last_rollout, last_state = self.last[rollout.slot]
            same_episode = torch.from_numpy(continues(last_rollout, rollout))
            recurrent_state[same_episode] = last_state[same_episode]
        acting = ActingPolicy(policy, recurrent_state)
        for step, valid in enumerate(rollout.valid):
            obs = {name: leaf[step] for name, leaf in rollout.obs.items()}
            modes, _ = acting.act(obs, ~valid)
            labels = self.student.from_env(policy.action_spec.to_env(policy.to_bounds(modes)))
            actions[step, valid] = labels[valid]
        self.last[rollout.slot] = rollout, acting.recurrent_state
        return dataclasses.replace(rollout, actions=actions)


def continues(before: Steps, after: Steps) -> Any:
    """Return in which envs, [N] bool, the episode at the end of `before` continues in `after`."""
    same_episode = before.valid[-1] & ~(before.terminated | before.truncated)[-1]
    for name, leaf in after.obs.items():
        last = before.obs[name][-1]
        if last.shape != leaf[0].shape:
            return same_episode & False
        same_episode = same_episode & (last == leaf[0]).reshape(len(last), -1).all(-1)
    return same_episode


class ActingExpert:
    """A `BehaviourPolicy` that takes an expert's actions."""

    def __init__(self, expert: Queryable, student: Policy, recurrent_state: np.ndarray) -> None:
        """Take the expert, and the student for its spaces; the recurrent state stays as it is."""
        self.expert = expert
        self.student = student
        self.recurrent_state = recurrent_state

    def generator(self, seed: int) -> None:
        """Return None: nothing is drawn."""

    def act(
        self, obs: Mapping[str, np.ndarray], needs_reset: np.ndarray, generator: None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the expert's actions, [N] or [N, A], and zeros as outputs.

        The expert is not queried if the action mask allows nothing: that env needs a reset.
        """
        spec = self.student.action_spec
        queried = ~spec.fully_masked(dict(obs))
        actions = np.zeros((len(queried), *spec.stored_shape), spec.stored_dtype)
        if queried.any():
            rows = {name: leaf[queried] for name, leaf in obs.items()}
            actions[queried] = query(self.expert, self.student, rows)
        return actions, np.zeros((len(queried), self.student.num_outputs), np.float32)

    def log_prob(self, actions: np.ndarray, outputs: np.ndarray) -> np.ndarray:
        """Return log 1 for [T, N] or [T, N, A] actions: the expert is deterministic."""
        return np.zeros(actions.shape[:2], np.float32)
