"""The world: one door to gymnasium's, ALE's and the user's environments, and a game of our own."""

import gymnasium as gym

DIAMOND_HILL = "distpg.envs.diamond_hill:DiamondHill"
gym.register("distpg/DiamondHill-v0", DIAMOND_HILL)
gym.register("distpg/DiamondHillTruncated-v0", DIAMOND_HILL, max_episode_steps=2)
