"""Every tag that a run writes for TensorBoard: its unit, what it means, and where it is charted.

A name in braces is a part of the tag that differs from run to run, or within one.
"""

import re
from functools import cache
from typing import NamedTuple


class Metric(NamedTuple):
    """What is written under a tag, or under all tags of a pattern."""

    tag: str
    unit: str
    """Empty for a number without a unit."""
    meaning: str
    chart: str = ""
    """Title of its chart in `report/charts.py`; empty if it is in none."""

    @property
    def pattern(self) -> str:
        """A regular expression of its tags."""
        return pattern_of(self.tag)

    def covers(self, tag: str) -> bool:
        """Return whether a tag is one of its tags."""
        return re.match(self.pattern, tag) is not None


@cache
def pattern_of(tag: str) -> str:
    """Return a regular expression of the tags that a tag with names in braces stands for."""
    parts = re.split(r"(\{\w+\})", tag)
    return "".join(".+" if part[:1] == "{" else re.escape(part) for part in parts) + "$"


METRICS = (
    Metric("rollout/ep_rew_mean", "return", "mean of the last 100 episodes", "return"),
    Metric("rollout/ep_rew_std", "return", "standard deviation of the last 100 episodes"),
    Metric(
        "rollout/ep_rew_min", "return", "least of the last 100 episodes", "range of the returns"
    ),
    Metric(
        "rollout/ep_rew_max", "return", "largest of the last 100 episodes", "range of the returns"
    ),
    Metric(
        "rollout/ep_len_mean", "env steps", "mean length of the last 100 episodes", "episode length"
    ),
    Metric(
        "rollout/success_rate",
        "fraction",
        "of the last 100 episodes that reported it, those in which `is_success` was true",
        "success rate",
    ),
    Metric(
        "rollout/{metric}",
        "the environment's",
        "mean of a number in `episode_metrics`, over the last 100 episodes that reported it",
    ),
    Metric(
        "eval/mean_reward",
        "return",
        "mean of an evaluation's episodes; x is of the evaluated policy",
        "return",
    ),
    Metric("eval/std_reward", "return", "standard deviation of an evaluation's episodes"),
    Metric(
        "eval/mean_ep_length",
        "env steps",
        "mean length of an evaluation's episodes",
        "episode length",
    ),
    Metric("eval/cut_off", "episodes", "of an evaluation, cut off after `--eval-max-steps`"),
    Metric(
        "eval/success_rate",
        "fraction",
        "of an evaluation's episodes, those in which `is_success` was true",
        "success rate",
    ),
    Metric(
        "eval/{metric}",
        "the environment's",
        "mean of a number in `episode_metrics`, over an evaluation's episodes",
    ),
    Metric(
        "train/approx_kl",
        "nats",
        "mean of ratio - 1 - log ratio over the minibatches of the last epoch, each before its "
        "step: 0 if there is but one",
        "KL",
    ),
    Metric(
        "train/kl_divergence_loss",
        "nats",
        "under `trust_region`: KL of the step in closed form, 0 if none was taken",
        "KL",
    ),
    Metric(
        "train/clip_fraction",
        "fraction",
        "of the ratios of all minibatches, those beyond the clip range",
        "clipped ratios",
    ),
    Metric(
        "train/clip_range", "", "range to which the ratio is clipped, as scheduled for this update"
    ),
    Metric("train/entropy_loss", "nats", "minus the mean entropy of the policy", "entropy"),
    Metric("train/std", "action", "mean standard deviation of continuous actions", "std"),
    Metric(
        "train/policy_gradient_loss",
        "",
        "mean of the surrogate loss over all minibatches",
        "policy loss",
    ),
    Metric(
        "train/value_loss",
        "return squared",
        "mean squared error of V over all minibatches, not halved; with `--value-clip` the larger "
        "of the two errors (Stable-Baselines3 takes the clipped one)",
        "value loss",
    ),
    Metric(
        "train/value_clip_range",
        "return",
        "range to which the change of V is clipped, as scheduled",
    ),
    Metric("train/loss", "", "of the last minibatch, with the entropy bonus and the value loss"),
    Metric(
        "train/explained_variance",
        "fraction",
        "of the variance of the critic's targets, what V before the update explains",
        "explained variance",
    ),
    Metric(
        "train/learning_rate", "", "of the optimizer, as scheduled for this update", "learning rate"
    ),
    Metric("train/ent_coef", "", "weight of the entropy bonus, as scheduled"),
    Metric("train/kl_coef", "", "weight of the KL penalty, as adapted"),
    Metric(
        "train/optimizer_steps",
        "steps",
        "of the optimizer so far (`n_updates` of Stable-Baselines3 counts epochs)",
    ),
    Metric("train/early_stop", "0 or 1", "whether `--target-kl` ended the update"),
    Metric(
        "train/on_policy_median",
        "nats",
        "median |log ratio| before the first step of the update; rounding, unless rollouts are "
        "one update old",
        "on-policy check",
    ),
    Metric(
        "train/on_policy_max",
        "nats",
        "largest |log ratio| before the first step of the update",
        "on-policy check",
    ),
    Metric(
        "train/staleness",
        "updates",
        "by which the behaviour policy is older than the one that is updated",
    ),
    Metric(
        "gradient/norm",
        "",
        "of the whole gradient, value loss and entropy included, before clipping; at every update",
        "gradient norm",
    ),
    Metric(
        "gradient/noise_scale",
        "samples",
        "batch size at which noise and signal of the policy gradient are equal, measured between "
        "envs; absent with one env, or if the estimate of either is not positive",
        "batch size that pays",
    ),
    Metric(
        "gradient/recommended_batch_size",
        "samples",
        "the noise scale, averaged over the last batches; far larger batches are redundant, far "
        "smaller ones are noise",
        "batch size that pays",
    ),
    Metric(
        "gradient/snr",
        "",
        "norm of this batch's policy gradient over its standard deviation",
        "signal-to-noise ratio",
    ),
    Metric("gradient/kl", "nats", "after the update: KL from the behaviour policy", "KL"),
    Metric(
        "gradient/effective_sample_size",
        "fraction",
        "after the update: of the samples, under the importance weights (those in use, else the "
        "ratios)",
        "effective sample size",
    ),
    Metric(
        "gradient/predicted_improvement",
        "return",
        "of an episode, by the surrogate; written with its outcome in the next batch. Absent when "
        "learning from the sign of rewards, and with `--overlap`",
        "improvement of the return",
    ),
    Metric(
        "gradient/measured_improvement",
        "return",
        "of the prediction: what the mean return of a batch gained over the batch before. If "
        "rollouts are segments, most episodes of a batch were begun by older policies, so look at "
        "many of them",
        "improvement of the return",
    ),
    Metric(
        "gradient/improvement_limit",
        "return",
        "an estimate of how far the predicted improvement may be off: the KL term of the "
        "performance-difference bound, loose by orders of magnitude",
    ),
    Metric(
        "gradient/step_accepted",
        "0 or 1",
        "under `trust_region`, at every update: whether the policy took a step",
    ),
    Metric("gradient/line_search_steps", "", "under `trust_region`: step lengths that were tried"),
    Metric(
        "gradient/expected_gain",
        "",
        "under `trust_region`: gain of the surrogate that its gradient predicts for the step",
        "trust-region step",
    ),
    Metric(
        "gradient/actual_gain",
        "",
        "under `trust_region`: gain of the surrogate by the step",
        "trust-region step",
    ),
    Metric("imitation/loss", "nats", "mean of -log pi(a|s) over the labels", "imitation"),
    Metric(
        "imitation/agreement",
        "fraction",
        "of a round's discrete actions, those that the student would have taken, too, before "
        "it learned from them",
        "imitation",
    ),
    Metric(
        "imitation/distance",
        "action of the env",
        "root mean squared distance of the student's continuous actions from the expert's",
        "imitation",
    ),
    Metric(
        "time/fps",
        "env steps/s",
        "of the run, all its parts, without start-up",
        "env steps per second",
    ),
    Metric("time/iterations", "iterations", "so far"),
    Metric("time/time_elapsed", "s", "of training, all parts of the run, without start-up"),
    Metric("time/total_timesteps", "env steps", "trained on so far; the x of all charts"),
    Metric(
        "time_share/{phase}",
        "fraction",
        "of the time since the end of the update before, that of a phase and of those numbered "
        "before it: the distance between two lines is the share of the upper one. Phases as in "
        "the table at the end of a run",
        "stacked shares of the time",
    ),
    Metric("perf/collect_s", "s", "the loop waited for rollouts"),
    Metric("perf/step_s", "s", "the worker that took longest stepped its envs"),
    Metric("perf/act_s", "s", "policy and buffer of the worker that took longest"),
    Metric(
        "perf/broadcast_s", "s", "of `collect_s`, what the worker that took longest did not need"
    ),
    Metric("perf/idle_s", "s", "the other workers waited for the slowest, on average"),
    Metric("perf/update_s", "s", "the loop waited for the learner"),
    Metric("perf/learner_s", "s", "of `update_s`, the update itself"),
    Metric("perf/prepare_s", "s", "of `learner_s`, preparing the batch"),
    Metric(
        "perf/simulation_share",
        "fraction",
        "of the simulation-bound maximum, at which all time is spent stepping envs",
    ),
    Metric("workers/slowest", "worker", "number of the one that took longest"),
    Metric(
        "faults/barrier_wait_s/{worker}",
        "s",
        "that a worker waited for the slowest, so far",
        "waiting for the slowest worker",
    ),
    Metric(
        "faults/stragglers",
        "workers",
        "that took over twice the median, summed over the iterations so far",
        "stragglers",
    ),
    Metric(
        "faults/dropped_steps",
        "env steps",
        "simulated so far, and not trained on",
        "dropped env steps",
    ),
    Metric(
        "faults/dropped/{reason}",
        "env steps",
        "dropped for a reason: `env_fault`, `after_episodes` (surplus when whole episodes are "
        "collected), `anomaly` (the update was rolled back)",
        "dropped env steps",
    ),
    Metric("faults/env_faults", "exceptions", "of environments so far", "environments"),
    Metric("faults/eval_cut_off", "episodes", "of evaluations, cut off so far", "environments"),
    Metric("faults/worker_restarts", "processes", "of workers, replaced so far", "processes"),
    Metric("faults/learner_restarts", "processes", "of the learner, replaced so far", "processes"),
    Metric(
        "faults/lost_with_node",
        "times",
        "that processes or their results were lost with a node of the cluster",
        "processes",
    ),
    Metric("faults/reissued_slots", "rollouts", "collected again so far", "processes"),
    Metric("faults/rolled_back_updates", "updates", "that produced NaN or inf", "updates"),
    Metric(
        "faults/rollbacks", "times", "that the policy was rolled back to the best one", "updates"
    ),
    Metric("faults/checkpoint_failures", "checkpoints", "that could not be written", "files"),
    Metric("faults/watcher_errors", "exceptions", "of watchers so far", "watchers"),
)
"""Scalars."""

OTHERS = (
    Metric(
        "batch/actions",
        "histogram",
        "actions of the batch as they reach the environment; of `imitate`, the expert's",
    ),
    Metric(
        "batch/actions/{dimension}",
        "histogram",
        "one dimension of them, if they have 2 to 8; those of more are counted together",
    ),
    Metric("batch/advantages", "histogram", "Psi, scaled as the loss takes it"),
    Metric("batch/values", "histogram", "V of the batch's states, before the update"),
    Metric("batch/returns", "histogram", "targets of the critic, or returns without a critic"),
    Metric("clip", "image", "the first 200 frames of an episode, every `--video-every` iterations"),
    Metric("config", "text", "the settings that differ from their defaults, then all"),
    Metric("faults", "text", "the last 50 faults in words, newest first; `faults.csv` has all"),
)
"""Histograms, every `--histogram-every` iterations, clips, and texts."""


def describe(tag: str) -> str:
    """Return the meaning of a tag; empty if no table has it."""
    for metric in (*METRICS, *OTHERS):
        if metric.covers(tag):
            return metric.meaning
    return ""
