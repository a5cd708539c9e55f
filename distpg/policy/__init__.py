"""How a policy maps observations to actions: normalizer, encoders, heads, distributions.

Knows nothing of environments, rollouts, losses or run directories.
"""
