"""How a policy and an environment become rollouts, slot by slot.

Knows nothing of losses, optimizers, run directories or Ray.
"""
