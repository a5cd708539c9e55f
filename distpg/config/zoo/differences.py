"""What distpg does otherwise than Stable-Baselines3 with the same hyperparameters."""

from collections.abc import Iterator, Mapping
from typing import Any

from distpg.config.zoo.environments import ATARI, wrappers_of
from distpg.config.zoo.hyperparameters import Hyperparameters
from distpg.config.zoo.networks import hidden_sizes, of_images


def differences(h: Hyperparameters, settings: Mapping[str, Any]) -> tuple[str, ...]:
    """Return a sentence for each difference that these settings have."""
    of_algorithm = of_trust_region if h.algorithm == "trpo" else of_minibatches
    return (
        *of_copies(h, settings),
        *of_algorithm(h, settings),
        *of_networks(h, settings),
    )


def of_copies(h: Hyperparameters, settings: Mapping[str, Any]) -> Iterator[str]:
    """Yield what differs in collecting and in normalization."""
    yield "The step after an episode's end resets, and is not trained on; there, every step is."
    if settings["normalize_obs"]:
        yield "Statistics of observations are updated after each update; there, in each step."
        if of_images(h):
            yield "Images are not normalized by their statistics."
    if settings["normalize_rewards"]:
        yield (
            "Statistics of rewards include a whole batch before they scale it; there, each step "
            "is scaled by those up to that step."
        )
    if settings.get("frame_stack", 1) > 1:
        yield "The first frame of an episode fills the stack; there, zeros do."
        if settings["normalize_obs"]:
            yield (
                "Each frame of a stack has statistics of its own; there, frames are normalized "
                "before they are stacked."
            )
    schedules = ("lr_schedule", "clip_schedule", "value_clip_schedule")
    if any(settings.get(name) == "linear" for name in schedules):
        yield "Linear schedules begin at their full value; there, they are one update ahead."
    wrappers = dict(wrappers_of(h["env_wrapper"]))
    if ATARI in wrappers and wrappers[ATARI].get("terminal_on_life_loss", True):
        yield (
            "After a lost life the game goes on at once; there, by a step without action, and by "
            "FIRE where the game needs it."
        )


def of_minibatches(h: Hyperparameters, settings: Mapping[str, Any]) -> Iterator[str]:
    """Yield what differs in the updates of PPO and A2C."""
    if settings.get("value_clip") is not None:
        yield (
            "The value loss is the larger of that with and without clipping; there, that with "
            "clipping."
        )
    if settings.get("normalize_over") == "minibatch":
        yield (
            "Advantages are divided by the population's standard deviation; there, by the "
            "sample's, which is larger in a small minibatch."
        )
    if h.algorithm == "ppo_lstm":
        yield (
            "Minibatches are made of sequences in a random order; there, of consecutive steps "
            "from a random one on."
        )


def of_trust_region(h: Hyperparameters, settings: Mapping[str, Any]) -> Iterator[str]:
    """Yield what differs in the updates of TRPO."""
    factor = h["line_search_shrinking_factor"]
    if factor != 0.5:
        yield f"The line search halves the step; there, it multiplies it by {factor}."
    yield (
        "Conjugate gradients start from 0, and stop at a relative residual; there, they start "
        "from noise, and stop at an absolute one."
    )
    yield "The limit is that of KL(old || new policy); there, of KL(new || old policy)."
    yield "The critic takes one more step in each update, along the gradient of the whole batch."
    yield "The gradient of the critic is not clipped, so --max-grad-norm is out of reach."
    if settings["fisher_subsampling"] != 1:
        yield "The subsampling is of the Fisher matrix; there, of gradient and line search, too."


def of_networks(h: Hyperparameters, settings: Mapping[str, Any]) -> Iterator[str]:
    """Yield what differs in the networks."""
    policy_sizes, value_sizes = hidden_sizes(h)
    if of_images(h) and policy_sizes:
        units = ", ".join(map(str, policy_sizes))
        yield f"The policy has no hidden layers after those of images; there, of {units} units."
    if h.algorithm != "ppo_lstm":
        return
    if policy_sizes or value_sizes:
        yield "Hidden layers come before the LSTM; there, after it."
    if settings["orthogonal_init"]:
        yield "The LSTM is initialized orthogonally; there, as torch does by default."
    if settings["action_distribution"] == "gsde" and policy_sizes:
        yield (
            "The noise of gSDE is linear in the LSTM's outputs; there, in those of the hidden "
            "layers after it."
        )
    if settings["recurrent_critic"] == "none":
        yield (
            "The critic sees the encoder's features; there, after a linear layer of as many units "
            "as the LSTM has."
        )
    if settings["recurrent_critic"] == "shared":
        yield "The value loss trains the shared LSTM, too; there, the policy's loss alone does."
