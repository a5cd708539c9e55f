"""A space of tiny trials, of which some are better, and one fails."""

TINY = """\
trials = 3
seeds = [0, 1]
rungs = [0.5]
pruner = { kind = "median", startup_trials = 1 }
sampler_seed = 2

[settings]
env_id = "tests.environments:Counting"
total_steps = 8_000
num_workers = 0
num_slots = 2
num_envs = 2
num_steps = 32
num_epochs = 1
hidden_sizes = [8]
compile = "off"
checkpoint_every = 1
gradient_stats_every = 0
histogram_every = 0

[space]
env_kwargs = [{ lengths = [2] }, { lengths = [] }, { lengths = [6] }]
learning_rate = { low = 1e-4, high = 1e-2, log = true }
minibatch_size = { low = 16, high = 64 }
activation = ["tanh", "relu"]
target_kl = [0.01, "none"]
"""
