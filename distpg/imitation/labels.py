"""How an expert is asked, and how what it says takes the place of what was done.

T steps, N envs of a slot, B observations, A action size, *O the shape of an observation's leaf.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from torch import Generator, Tensor

from distpg.errors import InputError, RunError
from distpg.learner.minibatches import CHUNK
from distpg.policy.acting import ActingPolicy
from distpg.policy.actor_critic import Policy
from distpg.policy.architecture import Architecture
from distpg.policy.normalizer import Constants
from distpg.records import Batch, Rollout, Weights
from distpg.spaces import Obs

Played = TypeVar("Played", Rollout, Batch)


class Queryable(Protocol):
    """Somebody who says what to do in a state, whatever was before it."""

    name: str

    def act(self, obs: Any) -> Any:
        """Choose actions for a batch of observations, both as the env has them."""
        ...


def ask(expert: Queryable, student: Policy, obs: Obs) -> np.ndarray:
    """Ask an expert what it would do at {leaf: [B, *O]}; return it as the student samples it.

    Raises:
        RunError: it raised, or what it returned are no actions.
    """
    count = len(next(iter(obs.values())))
    answers: list[np.ndarray] = []
    for start in range(0, count, CHUNK):
        # copies, since an expert may do with them what it likes
        seen = {name: leaf[start : start + CHUNK].copy() for name, leaf in obs.items()}
        given = expert.act(student.obs_spec.nest(seen))
        try:
            answer = student.from_env(given)
        except InputError as error:
            raise RunError(f"the expert {expert.name}: {error}") from error
        if len(answer) != (asked := min(CHUNK, count - start)):
            raise RunError(
                f"the expert {expert.name} gave {len(answer)} actions for {asked} observations"
                f"{dict_of(student)}"
            )
        masks = {name: leaf[start : start + CHUNK] for name, leaf in obs.items()}
        if not (allowed := student.action_spec.allows(masks, answer)).all():
            forbidden = answer[int(allowed.argmin())]
            raise RunError(
                f"the expert {expert.name} took action {forbidden}, which the action mask forbids"
            )
        answers.append(answer)
    return np.concatenate(answers)


def dict_of(student: Policy) -> str:
    """Say that observations come as a dict, where they do."""
    names = [leaf.name for leaf in student.obs_spec.leaves if leaf.path]
    return f", which came as a dict of {', '.join(names)}" if names else ""


def query_relabeler(expert: Queryable, student: Policy) -> Callable[[Rollout], Rollout]:
    """Return what puts an expert's actions into a rollout, at the steps that are valid."""

    def relabel(rollout: Rollout) -> Rollout:
        torch.set_num_threads(1)
        valid, actions = rollout.valid, rollout.actions.copy()
        if valid.any():
            seen = {name: leaf[:-1][valid] for name, leaf in rollout.obs.items()}
            actions[valid] = ask(expert, student, seen)
        return dataclasses.replace(rollout, actions=actions)

    return relabel


class RecurrentRelabeler:
    """Labels as an expert with a memory, which follows each slot from rollout to rollout."""

    def __init__(self, expert: Policy, student: Policy) -> None:
        """Take the expert's network, and how the student stores actions."""
        self.expert = expert
        self.student = student
        self.last: dict[int, tuple[Rollout, Tensor]] = {}
        """By slot, its last rollout, and what the expert then remembered."""

    @torch.no_grad()
    def __call__(self, rollout: Rollout) -> Rollout:
        """Put its most likely actions into a rollout, at the steps that are valid."""
        torch.set_num_threads(1)
        policy, actions = self.expert, rollout.actions.copy()
        recurrent_state = torch.zeros(rollout.valid.shape[1], policy.recurrent_state_size)
        if rollout.slot in self.last:
            before, remembered = self.last[rollout.slot]
            going = torch.from_numpy(goes_on(before, rollout))
            recurrent_state[going] = remembered[going]
        acting = ActingPolicy(policy, recurrent_state)
        for step, kept in enumerate(rollout.valid):
            seen = {name: leaf[step] for name, leaf in rollout.obs.items()}
            modes, _ = acting.act(seen, ~kept)
            answer = self.student.from_env(policy.action_spec.to_env(policy.to_bounds(modes)))
            actions[step, kept] = answer[kept]
        self.last[rollout.slot] = rollout, acting.recurrent_state
        return dataclasses.replace(rollout, actions=actions)


def goes_on(before: Played, after: Played) -> Any:
    """Tell which envs [N] go on with the episode that was open where the rollout before ended."""
    still_open = before.valid[-1] & ~(before.terminated | before.truncated)[-1]
    for name, leaf in after.obs.items():
        last = before.obs[name][-1]
        if last.shape != leaf[0].shape:
            return still_open & False
        still_open = still_open & (last == leaf[0]).reshape(len(last), -1).all(-1)
    return still_open


def as_it_is(rollout: Rollout) -> Rollout:
    """Return a rollout in which the expert did what it says."""
    return rollout


class ExpertPolicy(Policy):
    """Stands in a rollout worker where a policy does, and does what an expert says."""

    def __init__(self, expert: Queryable, student: Policy, parts: Architecture) -> None:
        """Take the expert, and how the student stores actions."""
        super().__init__(student.obs_spec, student.action_spec, parts)
        self.expert = expert
        self.num_outputs = math.prod(self.action_spec.stored_shape)

    def load(self, weights: Weights) -> None:
        """Do nothing: an expert is as it is."""

    def step(
        self, obs: Mapping[str, Tensor], recurrent_state: Tensor, constants: Mapping[str, Constants]
    ) -> tuple[Tensor, Tensor]:
        """Return what the expert does, [N, A], where a network would have its outputs.

        It is not asked where nothing is allowed: an episode is over there.
        """
        seen = {name: leaf.numpy() for name, leaf in obs.items()}
        asked = ~self.action_spec.fully_masked(seen)
        actions = np.zeros((len(asked), self.num_outputs), np.float32)
        if asked.any():
            said = ask(self.expert, self, {name: leaf[asked] for name, leaf in seen.items()})
            actions[asked] = said.reshape(len(said), -1)
        return torch.from_numpy(actions), recurrent_state

    def distribution_of(self, outputs: Tensor) -> Any:
        """Return what draws just that."""
        spec = self.action_spec
        kind = torch.float32 if spec.kind == "continuous" else torch.int64
        return Deterministic(outputs.reshape(*outputs.shape[:-1], *spec.stored_shape).to(kind))


@dataclass(frozen=True)
class Deterministic:
    """The distribution of actions that are known."""

    actions: Tensor
    """[N] or [N, A]"""

    def sample(self, generator: Generator) -> Tensor:
        """Return them."""
        return self.actions

    def log_prob(self, actions: Tensor) -> Tensor:
        """Return log 1, [T, N], for [T, N] or [T, N, A] of them."""
        return torch.zeros(actions.shape[:2])
