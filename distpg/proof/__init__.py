"""The proof: each estimator, as workers and learner compute it, against its exact expectation.

Played on DiamondHill by a tabular softmax policy.
"""
