"""Datasets in Minari's format, by a module that offers what its documentation says."""

import dataclasses
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from distpg import Config, InputError, imitate, load_policy
from tests.environments import AnyKind
from tests.envs.test_masks import Strict
from tests.imitation.experts import on_cartpole
from tests.imitation.test_imitate import tiny

NAME = "cartpole/scripted-v0"


@dataclass(frozen=True)
class EpisodeData:
    """As `minari.EpisodeData`: one observation more than actions, each stacked as spaces nest."""

    id: int
    observations: Any
    actions: Any
    rewards: np.ndarray
    terminations: np.ndarray
    truncations: np.ndarray
    infos: dict[str, Any] = field(default_factory=dict[str, Any])


class MinariDataset:
    """As `minari.MinariDataset`, as far as it is documented for reading."""

    def __init__(self, env: gym.Env[Any, Any], episodes: Sequence[EpisodeData]) -> None:
        self.observation_space, self.action_space = env.observation_space, env.action_space
        self.episodes = episodes

    def iterate_episodes(self, episode_indices: Any = None) -> Iterator[EpisodeData]:
        yield from self.episodes


def recorded(env: gym.Env[Any, Any], expert: Any, num_episodes: int) -> MinariDataset:
    """Record whole episodes, as `minari.DataCollector` does; observations are arrays."""
    episodes: list[EpisodeData] = []
    for number in range(num_episodes):
        obs, _ = env.reset(seed=number)
        seen, actions, rewards, ends = [obs], [], [], []
        while not ends or not any(ends[-1]):
            action = expert(np.array(obs)[None])[0]
            obs, reward, terminated, truncated, _ = env.step(action)
            seen.append(obs)
            actions.append(action)
            rewards.append(reward)
            ends.append((terminated, truncated))
        terminations, truncations = np.array(ends).T
        stacked = np.array(seen), np.array(actions), np.array(rewards, np.float64)
        episodes.append(EpisodeData(number, *stacked, terminations, truncations))
    return MinariDataset(env, episodes)


class Minari(ModuleType):
    """As the package `minari`."""

    def __init__(self, datasets: dict[str, MinariDataset]) -> None:
        super().__init__("minari")
        self.datasets = datasets

    def load_dataset(self, dataset_id: str, download: bool = False) -> MinariDataset:
        if dataset_id not in self.datasets:
            raise FileNotFoundError(f"Dataset {dataset_id} not found locally")
        return self.datasets[dataset_id]

    def MinariDataset(self, data: Path) -> MinariDataset:  # noqa: N802
        return self.datasets[data.parent.name]


@pytest.fixture(scope="module")
def balanced() -> MinariDataset:
    return recorded(gym.make("CartPole-v1", max_episode_steps=150), on_cartpole, 6)


@pytest.fixture
def minari(balanced: MinariDataset, monkeypatch: pytest.MonkeyPatch) -> Minari:
    fake = Minari({NAME: balanced})
    monkeypatch.setitem(sys.modules, "minari", fake)
    return fake


def student(**changes: Any) -> Config:
    return tiny(num_epochs=20, learning_rate=3e-3, hidden_sizes=(32,), **changes)


@pytest.mark.parametrize("rounds", [None, 3])
def test_a_dataset_is_cloned_whole(rounds: int | None, minari: Minari, tmp_path: Path) -> None:
    outcome = imitate(student(), NAME, expert_rounds=rounds, run_dir=tmp_path / "run", quiet=True)
    result = outcome.result
    assert result["labels"] == result["env_steps"] == 6 * 150
    assert result["iterations"] == (rounds or 1)
    assert result["expert_return"] == 150
    assert result["episodes"] == 0
    (first, *_) = minari.datasets[NAME].episodes
    acts = load_policy(outcome.run_dir).act(first.observations[:-1])
    assert (acts == first.actions).mean() > 0.9


def test_no_ray_is_started_for_what_was_recorded(minari: Minari, tmp_path: Path) -> None:
    config = student(num_workers=2)
    outcome = imitate(config, NAME, run_dir=tmp_path / "run", quiet=True)
    alone = imitate(student(), NAME, run_dir=tmp_path / "alone", quiet=True)
    one, other = ((x.run_dir / "policy.safetensors").read_bytes() for x in (outcome, alone))
    assert one == other
    ray: Any = sys.modules.get("ray")
    assert ray is None or not ray.is_initialized()


def test_a_dataset_may_be_named_by_its_folder(minari: Minari, tmp_path: Path) -> None:
    folder = tmp_path / "mine-v0"
    (folder / "data").mkdir(parents=True)
    minari.datasets["mine-v0"] = minari.datasets[NAME]
    outcome = imitate(student(), folder, run_dir=tmp_path / "run", quiet=True)
    assert outcome.result["expert"] == str(folder)


def test_observations_of_a_dataset_are_nested_as_the_spaces_are(
    minari: Minari, tmp_path: Path
) -> None:
    env = AnyKind("nested obs")
    env.observation_space.seed(0)
    samples: list[Any] = [env.observation_space.sample() for _ in range(5)]
    observations = {
        "image": np.stack([sample["image"] for sample in samples]),
        "place": tuple(np.stack([sample["place"][k] for sample in samples]) for k in (0, 1)),
    }
    ends = np.array([False, False, False, True])
    episode = EpisodeData(0, observations, np.array([0, 1, 1, 0]), np.ones(4), ends, ~ends & ends)
    minari.datasets["any/kind-v1"] = MinariDataset(env, [episode])
    config = tiny(env_id="tests.environments:AnyKind-v0", env_kwargs={"kind": "nested obs"})
    outcome = imitate(config, "any/kind-v1", run_dir=tmp_path / "run", quiet=True)
    assert outcome.result["labels"] == 4


def demonstrated(actions: list[int]) -> "MinariDataset":
    """An episode with masks, of which the second forbids action 3."""
    masks = np.ones((4, 5), np.int8)
    masks[1, 3] = 0
    seen = {"place": np.zeros((4, 2), np.float32), "action_mask": masks}
    ends = np.array([False, False, True])
    episode = EpisodeData(0, seen, np.array(actions), np.ones(3), ends, ~ends & ends)
    return MinariDataset(Strict(tells="leaf"), [episode])


def test_demonstrations_may_have_masks_and_one_of_what_is_forbidden_is_named(
    minari: Minari, tmp_path: Path
) -> None:
    make_env = partial(Strict, tells="leaf")
    minari.datasets[NAME] = demonstrated([3, 3, 0])
    message = refused(NAME, tmp_path, make_env=make_env)
    assert f"episode 0 of {NAME}: the action mask forbids the action at step 1" in message
    minari.datasets[NAME] = demonstrated([3, 2, 0])
    outcome = imitate(tiny(), NAME, make_env=make_env, run_dir=tmp_path / "run", quiet=True)
    assert outcome.result["labels"] == 3


def refused(expert: str, tmp_path: Path, **settings: Any) -> str:
    with pytest.raises(InputError) as error:
        imitate(tiny(), expert, run_dir=tmp_path / "run", quiet=True, **settings)
    assert not list(tmp_path.iterdir())
    return str(error.value)


def test_without_the_package_the_message_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "minari", None)
    assert "pip install 'distpg[minari]'" in refused(NAME, tmp_path)


def test_a_dataset_that_is_not_there(minari: Minari, tmp_path: Path) -> None:
    assert "minari download cartpole/other-v0" in refused("cartpole/other-v0", tmp_path)


def test_a_dataset_cannot_say_what_to_do_elsewhere(minari: Minari, tmp_path: Path) -> None:
    assert f"--dagger-rounds: 2, but the dataset {NAME}" in refused(NAME, tmp_path, dagger_rounds=2)


def test_a_dataset_of_fewer_episodes_than_rounds(minari: Minari, tmp_path: Path) -> None:
    assert "--expert-rounds: 7 for the 6 episodes" in refused(NAME, tmp_path, expert_rounds=7)


def test_a_dataset_of_another_environment(minari: Minari, tmp_path: Path) -> None:
    minari.datasets[NAME] = MinariDataset(gym.make("Acrobot-v1"), [])
    message = refused(NAME, tmp_path)
    assert NAME in message
    assert "CartPole-v1" in message


def test_an_episode_that_is_none_is_named(minari: Minari, tmp_path: Path) -> None:
    good = minari.datasets[NAME].episodes[0]
    env = gym.make("CartPole-v1")
    changes: list[dict[str, Any]] = [
        {"observations": good.observations[:-1]},
        {"observations": good.observations[:, :3]},
        {"actions": good.actions + 5},
        {"rewards": good.rewards[:-1]},
        {"terminations": None},
    ]
    for change in changes:
        bad = dataclasses.replace(good, **change)
        minari.datasets[NAME] = MinariDataset(env, [good, bad])
        assert f"episode 1 of {NAME}" in refused(NAME, tmp_path)
