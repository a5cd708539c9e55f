"""How a batch of rollouts becomes a better policy.

Knows nothing of environments, of who collected the rollouts, of run directories or Ray.
"""
