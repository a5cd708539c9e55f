"""An encoder of one's own: a set of things, in whatever order they come (Deep Sets).

    python -m examples.own_encoder

A bee sees eight flowers, each as three numbers. Which of them comes first means nothing, but layers
that read 24 numbers have to learn that for every order. The encoder here sends each flower through
the same layers, and takes the maximum over the flowers (Zaheer et al. 2017). After 30,000 steps a
bee reaches 5.3 flowers with it, and 3.3 with the layers that are built in.
"""

from typing import Any

import gymnasium as gym
import numpy as np
from torch import Tensor, nn

from distpg import Config, train
from distpg.policy.architecture import Architecture
from distpg.spaces import ObsSpec

Info = dict[str, Any]
NUM_FLOWERS, STRIDE, MAX_STEPS = 8, 0.1, 40
MOVES = STRIDE * np.array([[1, 0], [0, 1], [-1, 0], [0, -1]])


class Meadow(gym.Env[Any, Any]):
    """A bee on a square of side 1. Each flower that it reaches pays 1, once."""

    def __init__(self) -> None:
        """Describe what is seen of a flower: its position from the bee, and whether it is new."""
        self.observation_space = gym.spaces.Box(-1, 1, (NUM_FLOWERS, 3), np.float32)
        self.action_space = gym.spaces.Discrete(len(MOVES))

    def reset(
        self, *, seed: int | None = None, options: Info | None = None
    ) -> tuple[np.ndarray, Info]:
        """Place bee and flowers."""
        super().reset(seed=seed)
        self.bee = self.np_random.uniform(size=2)
        self.flowers = self.np_random.uniform(size=(NUM_FLOWERS, 2))
        self.new = np.ones(NUM_FLOWERS, bool)
        self.steps = 0
        return self._observe(), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, Info]:
        """Fly a stride to a side."""
        self.bee = (self.bee + MOVES[action]).clip(0, 1)
        reached = self.new & (np.abs(self.flowers - self.bee).max(1) < STRIDE)
        self.new &= ~reached
        self.steps += 1
        over = not self.new.any()
        late = self.steps == MAX_STEPS and not over
        return self._observe(), float(reached.sum()), over, late, {}

    def _observe(self) -> np.ndarray:
        away = self.flowers - self.bee
        return np.concatenate([away, self.new[:, None]], 1).astype(np.float32)


class SetEncoder(nn.Module):
    """Encodes a set of things [B, K, F] as [B, 64], the same in any order."""

    num_features = 64

    def __init__(self, obs_spec: ObsSpec, parts: Architecture) -> None:
        """Make the layers for a thing, and those for the maximum over all."""
        super().__init__()
        (leaf,) = obs_spec.leaves
        self.each = nn.Sequential(nn.Linear(leaf.shape[-1], 64), nn.Tanh(), nn.Linear(64, 64))
        self.every = nn.Sequential(nn.Tanh(), nn.Linear(64, 64), nn.Tanh())

    def forward(self, obs: dict[str, Tensor]) -> Tensor:
        """Encode a batch; an observation that is no Dict or Tuple is the leaf `obs`."""
        return self.every(self.each(obs["obs"]).amax(1))


def flowers(total_steps: int, encoder: type[nn.Module] | None) -> float:
    """Train PPO; return the flowers that the last 100 episodes reached on average."""
    config = Config(
        env_id=Meadow,
        encoder=encoder,
        # scaled one by one, the same place would be another one for each flower
        normalize_obs=False,
        num_workers=0,
        num_slots=2,
        total_steps=total_steps,
        learning_rate=1e-3,
    )
    return train(config, quiet=True).result["episode_return_mean"]


def main(total_steps: int = 30_000) -> None:
    """Compare it with the layers that are built in."""
    print(f"24 numbers: {flowers(total_steps, None):.2f} of {NUM_FLOWERS} flowers")
    print(f"a set:      {flowers(total_steps, SetEncoder):.2f} of {NUM_FLOWERS} flowers")


if __name__ == "__main__":
    main()
