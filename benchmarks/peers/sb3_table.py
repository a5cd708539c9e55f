"""Stable-Baselines3's PPO, or SB3-Contrib's recurrent one, on a task of a table.

Reads WORK.json, writes what it reached.

.venv-peers/rllib/bin/python -m benchmarks.peers.sb3_table WORK.json OUTPUT.json
"""

import json
import platform
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from importlib import metadata
from pathlib import Path

import gymnasium
import numpy as np
import torch
from gymnasium.wrappers import TransformObservation
from sb3_contrib import RecurrentPPO
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecEnv, VecNormalize
from torch import nn

PACKAGES = (
    *("stable-baselines3", "sb3-contrib", "torch", "numpy", "gymnasium", "mujoco", "box2d"),
)
ACTIVATIONS = {
    "tanh": nn.Tanh,
    "relu": nn.ReLU,
    "elu": nn.ELU,
    "silu": nn.SiLU,
    "gelu": nn.GELU,
    "leaky_relu": nn.LeakyReLU,
}

WITHOUT_VELOCITIES = {
    "distpg/CartPoleNoVel-v1": ("CartPole-v1", (1, 3)),
    "distpg/PendulumNoVel-v1": ("Pendulum-v1", (2,)),
}
"""distpg's tasks by what they are in Gymnasium, and the entries of the observation that are 0."""


class Episodes(BaseCallback):
    """Notes the return of each episode that Monitor reports, and the env steps at its end."""

    def __init__(self) -> None:
        super().__init__()
        self.env_steps: list[int] = []
        self.returns: list[float] = []

    def _on_step(self) -> bool:
        for info in self.locals["infos"]:
            if "episode" in info:
                self.env_steps.append(self.num_timesteps)
                self.returns.append(float(info["episode"]["r"]))
        return True


def hide(env: gymnasium.Env, entries: Sequence[int]) -> gymnasium.Env:
    """Set entries of the observation to 0."""
    shown = np.ones(env.observation_space.shape, np.float32)
    shown[list(entries)] = 0
    return TransformObservation(env, lambda seen: seen * shown, env.observation_space)


def make_envs(work: dict, num_envs: int, seed: int, *, train: bool) -> VecEnv:
    """Make the vector env; one that is not for training reports rewards as they are."""
    name = work["env_id"]
    env_id, entries = WITHOUT_VELOCITIES.get(name, (name, ()))
    envs = make_vec_env(
        env_id,
        num_envs,
        seed,
        env_kwargs=work["env_kwargs"],
        wrapper_class=hide if entries else None,
        wrapper_kwargs={"entries": entries},
    )
    settings = dict(work["normalize"])
    if not (settings["norm_obs"] or settings["norm_reward"]):
        return envs
    if not train:
        settings["norm_reward"] = False
    return VecNormalize(envs, training=train, **settings)


def scheduled(work: dict, name: str) -> float | Callable[[float], float]:
    """Return a number, or a function from the remaining share of the run to it."""
    value = work[name]
    linear = work[f"{name}_schedule"] == "linear"
    return (lambda remaining: value * remaining) if linear else value


def main() -> None:
    """Train once, then play the final policy without noise."""
    source, output = map(Path, sys.argv[1:])
    work = json.loads(source.read_text())
    torch.set_num_threads(1)
    envs = make_envs(work, work["n_envs"], work["seed"], train=True)
    remembers = "lstm_hidden_size" in work["policy"]
    algorithm, policy = (RecurrentPPO, "MlpLstmPolicy") if remembers else (PPO, "MlpPolicy")
    model = algorithm(
        policy,
        envs,
        learning_rate=scheduled(work, "learning_rate"),
        clip_range=scheduled(work, "clip_range"),
        policy_kwargs={**work["policy"], "activation_fn": ACTIVATIONS[work["activation"]]},
        seed=work["seed"],
        device="cpu",
        **work["ppo"],
    )
    episodes = Episodes()
    began = time.monotonic()
    model.learn(work["steps"], callback=episodes)
    train_s = time.monotonic() - began
    judge = make_envs(work, 1, work["seed"] + 10_000, train=False)
    if isinstance(judge, VecNormalize) and judge.norm_obs:
        judge.obs_rms = envs.obs_rms
    greedy, _ = evaluate_policy(
        model, judge, work["greedy_episodes"], deterministic=True, return_episode_rewards=True
    )
    found = {
        "env_steps": model.num_timesteps,
        "episodes": {"env_steps": episodes.env_steps, "returns": episodes.returns},
        "greedy_returns": [float(value) for value in greedy],
        "train_s": round(train_s, 1),
        "versions": {"python": platform.python_version(), **dict(installed())},
    }
    output.write_text(json.dumps(found))


def installed() -> Iterator[tuple[str, str]]:
    """List the versions of the packages that are installed."""
    for package in PACKAGES:
        try:
            yield package, metadata.version(package)
        except metadata.PackageNotFoundError:
            continue


if __name__ == "__main__":
    main()
