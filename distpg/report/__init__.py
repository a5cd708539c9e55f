"""What a run reports while it trains: progress, seconds, faults, evaluations, TensorBoard.

Changes nothing that it observes, and knows nothing of checkpoints or Ray.
"""
