"""Charts of TensorBoard's Custom Scalars, by the question that they answer."""

from collections.abc import Collection

from distpg.report.metrics import METRICS

LEARNING, UPDATE = "Is it learning?", "Is the update healthy?"
ESTIMATE, TIME = "Is the estimate good?", "Where does the time go?"
FAILED = "What failed?"

CHARTS = {
    LEARNING: ("return", "episode length", "success rate", "imitation", "range of the returns"),
    UPDATE: (
        *("KL", "clipped ratios", "entropy", "std", "policy loss", "value loss"),
        *("gradient norm", "learning rate", "on-policy check", "trust-region step"),
    ),
    ESTIMATE: (
        *("explained variance", "signal-to-noise ratio", "batch size that pays"),
        *("effective sample size", "improvement of the return"),
    ),
    TIME: (
        *("stacked shares of the time", "env steps per second", "waiting for the slowest worker"),
        *("stragglers", "dropped env steps"),
    ),
    FAILED: ("environments", "processes", "updates", "files", "watchers"),
}
"""By the question that they answer, the charts of TensorBoard's Custom Scalars."""
BANDS = {
    "range of the returns": ("rollout/ep_rew_mean", "rollout/ep_rew_min", "rollout/ep_rew_max")
}
"""Charts of one line within a band: its tag, and those of the lower and the upper end."""
FINAL = (
    *("rollout/ep_rew_mean", "eval/mean_reward", "time/total_timesteps", "time/time_elapsed"),
    *("time/fps", "train/approx_kl", "train/explained_variance"),
)
"""Tags whose last values TensorBoard's HParams shows beside the settings of a run."""


def charts_of(tags: Collection[str]) -> dict[str, tuple[str, ...]]:
    """Return by question the charts that have at least one of these tags."""
    found = {metric.chart for metric in METRICS if any(map(metric.covers, tags))}
    charts = {
        question: tuple(chart for chart in titles if chart in found)
        for question, titles in CHARTS.items()
    }
    return {question: titles for question, titles in charts.items() if titles}


def patterns_of(chart: str) -> list[str]:
    """Return regular expressions of the tags that a chart draws, whether they have values or not.

    TensorBoard merges equal charts of several runs alone.
    """
    return [metric.pattern for metric in METRICS if metric.chart == chart]
