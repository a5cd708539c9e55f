"""Demonstrations in Minari's format: an expert that has acted already, and cannot be asked.

`minari` is imported here alone, and only where a dataset is asked for.
"""

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from distpg.envs.describe import describe_action, describe_obs
from distpg.envs.make import EnvSource
from distpg.envs.masks import mark_mask
from distpg.errors import InputError, describe
from distpg.imitation.expert import Demonstrator, ImitationContext, check_spaces
from distpg.imitation.labels import as_it_is
from distpg.iteration import Collection, ProcessFaults
from distpg.policy.actor_critic import Policy
from distpg.records import Rollout, RolloutStats
from distpg.rollout.in_process import CompletedRollouts

MALFORMED = (AssertionError, AttributeError, IndexError, KeyError, TypeError, ValueError)
"""What reading an episode may raise that is not of its spaces."""


def load_dataset(name: str) -> "Dataset":
    """Open a dataset by its id, or by its folder.

    Raises:
        InputError: Minari is not installed, or the dataset not there.
    """
    try:
        minari: Any = importlib.import_module("minari")
    except ImportError as error:
        raise InputError(
            f"--expert: {name} is a dataset in Minari's format, whose package is missing; run: "
            "pip install 'distpg[minari]'"
        ) from error
    folder = Path(name) / "data"
    try:
        data = minari.MinariDataset(folder) if folder.is_dir() else minari.load_dataset(name)
    except FileNotFoundError as error:
        raise InputError(
            f"--expert: {name} is not on this machine; run: minari download {name}"
        ) from error
    except Exception as error:
        raise InputError(f"--expert: {name} cannot be read: {describe(error)}") from error
    return Dataset(name, data)


class Dataset:
    """Whole episodes, dealt out over the rounds."""

    by_workers = False

    def __init__(self, name: str, data: Any) -> None:
        """Take a `minari.MinariDataset`."""
        self.name = name
        self.data = data

    def check(self, source: EnvSource, student: Policy) -> None:
        """Refuse other spaces than the dataset's."""
        acts = describe_action(self.data.action_space, self.name)
        sees = mark_mask(describe_obs(self.data.observation_space, self.name), acts, self.name)
        check_spaces(self.name, (sees, acts), source, student)

    def demonstrator(self, context: ImitationContext) -> Demonstrator:
        """Read all episodes, each as a slot of its own.

        Raises:
            InputError: one is not what it should be, or they are fewer than the rounds.
        """
        rollouts: list[Rollout] = []
        for number, episode in enumerate(self.data.iterate_episodes()):
            try:
                rollouts.append(as_rollout(episode, number, context.student))
            except MALFORMED as error:
                problem = str(error) if isinstance(error, InputError) else describe(error)
                raise InputError(f"--expert: episode {number} of {self.name}: {problem}") from error
        if len(rollouts) < context.expert_rounds:
            raise InputError(
                f"--expert-rounds: {context.expert_rounds} for the {len(rollouts)} episodes of "
                f"{self.name}; give at most as many rounds"
            )
        rounds = np.array_split(np.arange(len(rollouts)), context.expert_rounds)
        return Demonstrator(
            DatasetWorkers([[rollouts[k] for k in numbers] for numbers in rounds]), as_it_is
        )


def as_rollout(episode: Any, number: int, student: Policy) -> Rollout:
    """Read a `minari.EpisodeData` of T steps as the rollout of a slot with one env.

    Raises:
        InputError, or one of STRANGE: it is not of the student's spaces.
    """
    actions = student.from_env(episode.actions)
    steps = (len(actions), 1)

    def column(values: Any, kind: type[Any]) -> np.ndarray:
        return np.array(values, kind).reshape(steps)

    seen = student.obs_spec.read(episode.observations)
    before = {name: leaf[:-1] for name, leaf in seen.items()}
    if not (allowed := student.action_spec.allows(before, actions)).all():
        raise InputError(f"its action at step {allowed.argmin()} is one that the mask forbids")
    return Rollout(
        obs={name: leaf[:, None] for name, leaf in seen.items()},
        state=np.zeros((1, 0), np.float32),
        actions=actions[:, None],
        logprobs=np.zeros(steps, np.float32),
        rewards=column(episode.rewards, np.float32),
        terminated=column(episode.terminations, bool),
        truncated=column(episode.truncations, bool),
        valid=np.ones(steps, bool),
        policy_version=0,
        slot=number,
    )


class DatasetWorkers:
    """In the place of rollout workers, hands out what was recorded."""

    def __init__(self, rounds: Sequence[Sequence[Rollout]]) -> None:
        """Take the rollouts of each round."""
        self.rounds = rounds

    def collect(self, weights: object, iteration: int) -> CompletedRollouts:
        """Return those of a round, whoever the student is by now."""
        rollouts = self.rounds[iteration]
        return CompletedRollouts(Collection(rollouts, [[scored(rollout) for rollout in rollouts]]))

    def faults(self) -> ProcessFaults:
        """Count no restarts: there is no process."""
        return ProcessFaults()

    def close(self) -> None:
        """Do nothing: nothing is open."""


def scored(rollout: Rollout) -> RolloutStats:
    """Tell of a whole episode what a rollout worker would."""
    return RolloutStats(
        slot=rollout.slot,
        env_steps=len(rollout.rewards),
        dropped_steps=0,
        episode_returns=rollout.rewards.sum(0, dtype=np.float64),
        episode_lengths=np.array([len(rollout.rewards)]),
        collect_s=0.0,
        step_s=0.0,
    )
