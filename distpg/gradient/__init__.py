"""How a step is credited, and what is maximized: pure functions of tensors.

Knows nothing of policies, environments, files or Ray.
"""
