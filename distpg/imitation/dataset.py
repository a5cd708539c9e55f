"""Minari datasets as experts that cannot be queried.

`minari` is imported only here, and only when a dataset is loaded.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from distpg.envs.describe import describe_action, describe_obs
from distpg.envs.make import EnvSource
from distpg.envs.masks import mark_mask
from distpg.errors import InputError, format_error
from distpg.extras import import_extra
from distpg.imitation.expert import Demonstrator, ImitationContext, check_spaces
from distpg.imitation.labels import unchanged
from distpg.iteration import Collection, ProcessFaults
from distpg.policy.actor_critic import Policy
from distpg.records import Rollout, RolloutStats
from distpg.rollout.in_process import CompletedRollouts

MALFORMED = (AssertionError, AttributeError, IndexError, KeyError, TypeError, ValueError)
"""What reading an episode may raise if it does not fit its spaces."""


def load_dataset(name: str) -> "Dataset":
    """Open a dataset by its id or folder.

    Raises:
        InputError: Minari is not installed, or the dataset is missing or cannot be read.
    """
    needed_by = f"--expert {name}, which is a Minari dataset,"
    minari = import_extra("minari", "minari", needed_by=needed_by)
    folder = Path(name) / "data"
    try:
        data = minari.MinariDataset(folder) if folder.is_dir() else minari.load_dataset(name)
    except FileNotFoundError as error:
        raise InputError(
            f"--expert: {name} is not on this machine; run: minari download {name}"
        ) from error
    except Exception as error:
        raise InputError(f"--expert: {name} cannot be read: {format_error(error)}") from error
    return Dataset(name, data)


class Dataset:
    """Whole episodes, split evenly over the rounds."""

    by_workers = False

    def __init__(self, name: str, data: Any) -> None:
        """Take a `minari.MinariDataset`."""
        self.name = name
        self.data = data

    def check(self, source: EnvSource, student: Policy) -> None:
        """Check that the dataset has the spaces of the environment."""
        action_spec = describe_action(self.data.action_space, self.name)
        obs_spec = describe_obs(self.data.observation_space, self.name, source.image_keys)
        obs_spec = mark_mask(obs_spec, action_spec, self.name)
        check_spaces(self.name, (obs_spec, action_spec), source, student)

    def demonstrator(self, context: ImitationContext) -> Demonstrator:
        """Read all episodes, each as a slot of its own.

        Raises:
            InputError: an episode does not fit the spaces, or there are fewer than rounds.
        """
        rollouts: list[Rollout] = []
        for number, episode in enumerate(self.data.iterate_episodes()):
            try:
                rollouts.append(as_rollout(episode, number, context.student))
            except MALFORMED as error:
                problem = str(error) if isinstance(error, InputError) else format_error(error)
                raise InputError(f"--expert: episode {number} of {self.name}: {problem}") from error
        if len(rollouts) < context.expert_rounds:
            raise InputError(
                f"--expert-rounds: {context.expert_rounds} for the {len(rollouts)} episodes of "
                f"{self.name}; use at most one round per episode"
            )
        rounds = np.array_split(np.arange(len(rollouts)), context.expert_rounds)
        workers = DatasetWorkers([[rollouts[k] for k in numbers] for numbers in rounds])
        return Demonstrator(workers, unchanged)


def as_rollout(episode: Any, number: int, student: Policy) -> Rollout:
    """Convert a `minari.EpisodeData` of T steps to the rollout of a slot with one env.

    Raises:
        InputError, or one of MALFORMED: it does not fit the student's spaces.
    """
    actions = student.from_env(episode.actions)
    steps = (len(actions), 1)

    def column(values: Any, dtype: type[Any]) -> np.ndarray:
        return np.array(values, dtype).reshape(steps)

    obs = student.obs_spec.read(episode.observations)
    before = {name: leaf[:-1] for name, leaf in obs.items()}
    if not (allowed := student.action_spec.allows(before, actions)).all():
        raise InputError(f"the action mask forbids the action at step {allowed.argmin()}")
    return Rollout(
        obs={name: leaf[:, None] for name, leaf in obs.items()},
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
    """Returns recorded rollouts in place of rollout workers."""

    def __init__(self, rounds: Sequence[Sequence[Rollout]]) -> None:
        """Take the rollouts of each round."""
        self.rounds = rounds

    def collect(self, weights: object, iteration: int) -> CompletedRollouts:
        """Return the rollouts of a round; the weights are not used."""
        rollouts = self.rounds[iteration]
        stats = [episode_stats(rollout) for rollout in rollouts]
        return CompletedRollouts(Collection(rollouts, [stats]))

    def faults(self) -> ProcessFaults:
        """Count no restarts: there are no processes."""
        return ProcessFaults()

    def close(self, *, hurry: bool = False) -> list[str]:
        """Return an empty list: there are no envs to close."""
        return []


def episode_stats(rollout: Rollout) -> RolloutStats:
    """Return the statistics of a whole episode, as from a rollout worker."""
    return RolloutStats(
        slot=rollout.slot,
        env_steps=len(rollout.rewards),
        dropped_steps=0,
        episode_returns=rollout.rewards.sum(0, dtype=np.float64),
        episode_lengths=np.array([len(rollout.rewards)]),
        collect_s=0.0,
        step_s=0.0,
    )
