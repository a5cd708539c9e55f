"""A table of two tiny tasks."""

TINY = """\
title = "Two tiny tasks"
seeds = [0, 1]

[settings]
num_slots = 2
num_envs = 2
num_steps = 32
num_epochs = 1
hidden_sizes = [8]
compile = "off"
checkpoint_every = 2
gradient_stats_every = 0
histogram_every = 0

[tasks.CartPole]
env_id = "CartPole-v1"
steps = 2000
scale = [24.0, 500.0]
settings = { eval_every = 8, eval_episodes = 2 }

[[tasks.CartPole.references]]
name = "a paper"
value = 400.0
interval = [390.0, 410.0]
n = 3
measure = "last_100_training_episodes"
source = "A. Author 1999, table 1"
judged = true

[[tasks.CartPole.references]]
name = "a page"
value = 10.0
measure = "best_evaluation"
source = "its README"

[tasks.Acrobot]
env_id = "Acrobot-v1"
steps = 2500
scale = [-500.0, -70.0]
"""
