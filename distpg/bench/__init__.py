"""How fast environment, policy and learner are on this machine, and what limits a run of them.

Knows nothing of Ray, and writes nothing.
"""
