"""Vector envs of gymnasium, for the peers that bring none of their own."""

import argparse

import gymnasium
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers import NormalizeReward


def make_env(options: argparse.Namespace) -> gymnasium.Env:
    """Make one env; gymnasium normalizes its rewards if it is asked to."""
    env = gymnasium.make(options.env)
    return NormalizeReward(env, options.gamma) if options.normalize else env


def make_vector_env(options: argparse.Namespace) -> SyncVectorEnv:
    """Make a vector env, whose last step of an episode returns the next one's observation."""
    makers = [lambda: make_env(options)] * options.n_envs
    return SyncVectorEnv(makers, autoreset_mode=AutoresetMode.SAME_STEP)
