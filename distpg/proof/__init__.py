"""Whether each estimator, as workers and learner compute it, has its exact expectation.

Runs on DiamondHill with a tabular softmax policy; its theory shares no code with the learner.
"""
