"""How any environment becomes one vector env, its faults guarded; and environments of its own.

Knows nothing of policies, rollouts or Ray.
"""

import gymnasium as gym

from distpg.envs import velocities

DIAMOND_HILL = "distpg.envs.diamond_hill:DiamondHill"
gym.register("distpg/DiamondHill-v0", DIAMOND_HILL)
gym.register("distpg/DiamondHillTruncated-v0", DIAMOND_HILL, max_episode_steps=2)
velocities.register()
