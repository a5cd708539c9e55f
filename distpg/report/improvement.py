"""What the surrogate predicted of an update, beside what the next batch then scored."""

from distpg.progress import Progress

GAIN, KL_TERM = "gradient/surrogate_gain", "gradient/kl_term"
"""What the learner measures of a step."""
PREDICTED = "gradient/predicted_improvement"
MEASURED = "gradient/measured_improvement"
LIMIT = "gradient/improvement_limit"


class Improvement:
    """Holds a prediction back for an iteration, until what came of it is known.

    A step's gain becomes an episode's by the mean length of the last episodes. Where episodes go on
    over several batches, those that finish in the next one were begun by older policies, and the
    measurement lags.
    """

    def __init__(self) -> None:
        """Know of no update yet."""
        self.before: float | None = None
        self.held: dict[str, float] = {}

    def on_iteration(self, progress: Progress, scalars: dict[str, float], weights: object) -> None:
        """Bring out the last prediction and hold the new one."""
        held, self.held = self.held, {}
        gain, term = scalars.pop(GAIN, None), scalars.pop(KL_TERM, None)
        length = progress.mean_length
        if gain is not None and term is not None and length is not None:
            self.held = {PREDICTED: gain * length, LIMIT: term * length**2}
        if held and self.before is not None and progress.batch_return is not None:
            scalars |= {**held, MEASURED: progress.batch_return - self.before}
        self.before = progress.batch_return
