"""What is wrong with a machine, a cluster or an environment before a long run, as checks.

Knows nothing of training: no learner, no run directories, no Ray.
"""
