"""Predicted and measured improvement: the surrogate's gain, and the return of the next batch."""

from distpg.iteration import Iteration, Scalars


class Improvement:
    """Reports each prediction one iteration later, when its outcome is measured.

    The gain per step is multiplied by the mean length of the last episodes to get the gain per
    episode. If episodes span several batches, those that finish in the next batch were started by
    older policies, and the measurement lags.
    """

    def __init__(self) -> None:
        """Initialize without a prediction."""
        self.last_return: float | None = None
        """Mean return of the previous batch."""
        self.prediction: Scalars = {}
        """Prediction of the last update."""

    def on_iteration(self, iteration: Iteration) -> Scalars:
        """Return the last prediction and its outcome, and store the new prediction."""
        prediction, self.prediction = self.prediction, {}
        progress, update = iteration.progress, iteration.update
        length = progress.mean_length
        if update.surrogate_gain is not None and update.kl_term is not None and length is not None:
            self.prediction = {
                "gradient/predicted_improvement": update.surrogate_gain * length,
                "gradient/improvement_limit": update.kl_term * length**2,
            }
        before, after = self.last_return, progress.batch_return
        self.last_return = after
        if not prediction or before is None or after is None:
            return {}
        return prediction | {"gradient/measured_improvement": after - before}
