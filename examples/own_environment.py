"""An environment of one's own: a class, trained and tried from Python.

    python -m examples.own_environment
    distpg doctor --env-id examples.own_environment:Lander

The first command trains until nearly all landings are soft, and prints one, step by step: falling
is _, the engine ^. The second checks what an environment can get wrong. `get_state` and
`set_state` are not needed to train. With them a run that is resumed, or whose worker is lost, goes
on in the middle of an episode.
"""

from typing import Any

import gymnasium as gym
import numpy as np

from distpg import Config, evaluate, load_policy, train

Info = dict[str, Any]
GRAVITY, ENGINE = 1.6, 2.4
"""Accelerations in m/s^2; the first is the Moon's."""
STEP_S, MAX_STEPS = 0.2, 100


class Lander(gym.Env[Any, Any]):
    """Falls from 5 to 15 m; an engine slows it down. Pays minus the speed at which it lands."""

    def __init__(self, gravity: float = GRAVITY) -> None:
        """Set the gravity, which `--env-kwargs '{"gravity": 9.8}'` may change."""
        self.gravity = gravity
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, (2,), np.float32)
        self.action_space = gym.spaces.Discrete(2)

    def reset(
        self, *, seed: int | None = None, options: Info | None = None
    ) -> tuple[np.ndarray, Info]:
        """Begin above the ground, at rest."""
        super().reset(seed=seed)
        # what is random is drawn from np_random, which the seed determines
        self.height, self.speed, self.steps = float(self.np_random.uniform(5, 15)), 0.0, 0
        return self._observe(), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, Info]:
        """Fall, or fire the engine."""
        self.speed += STEP_S * (ENGINE * action - self.gravity)
        self.height += STEP_S * self.speed
        self.steps += 1
        landed = self.height <= 0
        # a time limit truncates; only what is over for the task terminates
        out_of_time = self.steps == MAX_STEPS and not landed
        reward = -0.1 - abs(self.speed) * landed
        info: Info = {}
        if landed or out_of_time:
            soft = landed and abs(self.speed) < 2
            info = {"is_success": soft, "episode_metrics": {"seconds": STEP_S * self.steps}}
        return self._observe(), reward, landed, out_of_time, info

    def get_state(self) -> Info:
        """Return what the next step depends on, besides np_random."""
        return {"height": self.height, "speed": self.speed, "steps": self.steps}

    def set_state(self, state: Info) -> None:
        """Go on from there."""
        self.height, self.speed, self.steps = state["height"], state["speed"], state["steps"]

    def _observe(self) -> np.ndarray:
        return np.array([self.height, self.speed], np.float32)


def main(total_steps: int = 40_000) -> None:
    """Train, evaluate, and land once with what was learned."""
    config = Config(
        env_id=Lander, num_workers=0, num_slots=2, total_steps=total_steps, learning_rate=1e-3
    )
    run = train(config, quiet=True).run_dir
    metrics = evaluate(run, episodes=50, make_env=Lander).metrics
    print(f"{metrics['success']:.0%} of 50 landings below 2 m/s")
    policy, env = load_policy(run), Lander()
    obs, _ = env.reset(seed=0)
    landed = out_of_time = False
    engine = ""
    while not landed and not out_of_time:
        action = policy.act(obs)
        engine += "_^"[action]
        obs, _, landed, out_of_time, _ = env.step(action)
    print(f"{engine} landed at {-env.speed:.2f} m/s")


if __name__ == "__main__":
    main()
