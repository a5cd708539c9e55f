"""Predicted and measured improvement: the surrogate's gain, and the return of the next batch."""

from distpg.iteration import Iteration, Scalars


class Improvement:
    """Holds each prediction for one iteration, until its outcome is measured.

    A step's gain becomes an episode's by the mean length of the last episodes. If episodes continue
    over several batches, those that finish in the next one were begun by older policies, and the
    measurement lags.
    """

    def __init__(self) -> None:
        """Start before the first update."""
        self.before: float | None = None
        self.predicted: Scalars = {}

    def on_iteration(self, iteration: Iteration) -> Scalars:
        """Return the last prediction beside its outcome, and keep the new one."""
        predicted, self.predicted = self.predicted, {}
        progress, update = iteration.progress, iteration.update
        length = progress.mean_length
        if update.surrogate_gain is not None and update.kl_term is not None and length is not None:
            self.predicted = {
                "gradient/predicted_improvement": update.surrogate_gain * length,
                "gradient/improvement_limit": update.kl_term * length**2,
            }
        before, self.before = self.before, progress.batch_return
        if not predicted or before is None or progress.batch_return is None:
            return {}
        return predicted | {"gradient/measured_improvement": progress.batch_return - before}
