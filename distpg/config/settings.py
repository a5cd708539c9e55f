"""Every setting of a run, declared once: its name, type, range, default and help text.

The command line's flags, the keys of a configuration file and the keywords of `Config(...)` are
these fields. `derived.py` has what follows from them, `combinations.py` which exclude each other.
"""

import math
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from distpg.config.values import Range

Count = Annotated[int, Range(1, 10**6)]
BigCount = Annotated[int, Range(1, 10**15)]
CountOrZero = Annotated[int, Range(0, 10**6)]
Seed = Annotated[int, Range(0, 2**63 - 1)]
Fraction = Annotated[float, Range(0, 1)]
Positive = Annotated[float, Range(0, open_low=True)]
NonNegative = Annotated[float, Range(0)]
Finite = Annotated[float, Range(-math.inf)]
EnvKwargs = dict[str, Any]
EnvBackend = Literal["gymnasium", "envpool"]
Schedule = Literal["constant", "linear", "kl_adaptive"]


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """What is run, and when it ends."""

    algo: str = "ppo"
    """The preset that the other settings start from: ppo, appo, ppo_kl, trpo, npg, a2c or
    reinforce."""
    seed: Seed = 0
    """Fixes every random stream of the run."""
    total_steps: BigCount = 1_000_000
    """Env steps (over all envs); the run stops at the first iteration at or beyond them."""
    stop_at_return: Finite | None = None
    """Stop as solved once the mean return of the last 100 finished episodes reaches this."""
    checkpoint_every: CountOrZero = 10
    """Iterations between checkpoints; 0 keeps the one at the end alone."""
    keep_checkpoints: Count = 3
    """How many of the newest checkpoints stay on disk."""
    eval_every: CountOrZero = 0
    """Iterations between evaluations; 0 is never."""
    eval_episodes: Count = 10
    """Whole episodes of each evaluation, played with the most likely actions."""
    on_anomaly: Literal["stop", "skip"] = "stop"
    """An update that comes to what is no number is taken back, and its batch kept in the run's
    directory: then stop, or go on with the next batch."""
    rollback_on_collapse: Positive | None = None
    """Go back to the best checkpoint when an evaluation falls below the best by this share of it:
    0.5 is by half. Needs --eval-every."""
    init_from: str | None = None
    """A run directory whose policy (and critic) this one starts from."""


@dataclass(frozen=True, kw_only=True)
class EnvSettings:
    """The environment, and how many copies a slot steps at once."""

    env_id: str = "CartPole-v1"
    """A Gymnasium id, or module:Env-v0 to import a module that registers it."""
    env_kwargs: EnvKwargs = field(default_factory=dict)
    """Keyword arguments of the environment, as JSON."""
    env_backend: EnvBackend = "gymnasium"
    """What steps the envs: gymnasium (and ALE), or EnvPool's C++ for the ids that it has, with
    keyword arguments of its own."""
    on_bad_value: Literal["raise", "drop"] = "raise"
    """NaN and infinity in observations and rewards: end the run with the place where they were, or
    drop the episode as one whose environment raised."""
    num_envs: Count = 4
    """Envs in each slot, stepped together as one vector env."""
    sign_rewards: Literal["auto", "on", "off"] = "auto"
    """Learn from the sign of each reward (scores stay true); auto is on for ALE ids alone."""


@dataclass(frozen=True, kw_only=True)
class CollectSettings:
    """How trajectories are collected, and by how many processes."""

    num_workers: Annotated[int, Range(0, 10_000)] = 2
    """Rollout worker processes; 0 runs everything in this process, without Ray."""
    num_slots: Annotated[int, Range(1, 10_000)] | None = None
    """Parts of a batch, each with envs of its own; they, not the workers, decide the result.
    Default: one a worker."""
    num_steps: Annotated[int, Range(2, 10**6)] = 256
    """Steps of each env in a rollout, when rollouts are segments of fixed length; one of them may
    be a reset, so at least 2."""
    episodes_per_env: CountOrZero | None = None
    """Whole episodes of each env in a rollout, from a fresh reset; 0 collects segments of
    num_steps. Default: 1 for total_return, and for other returns without a critic; else 0."""
    overlap: bool = False
    """Play the next rollouts while the learner improves on these: faster, with weights one update
    old, for which the ratio of clip and importance corrects (and --advantage vtrace V, too)."""
    phase_timeout: Positive = 600.0
    """Seconds that a process may take to start, a rollout or an update, before it is replaced."""
    max_restarts: CountOrZero = 100
    """Workers and learners that may be replaced before the run gives up, those apart that were lost
    with their machine; three in a row over the same work end it at once."""
    max_env_faults: CountOrZero = 100
    """Exceptions that environments may raise before the run gives up. Each costs an episode; of a
    vector env of its own (CartPole-v1, ALE, EnvPool) those of all its copies."""
    address: str | None = None
    """Ray cluster to join: auto or host:port. Default: RAY_ADDRESS, else a Ray of our own."""


@dataclass(frozen=True, kw_only=True)
class GradientSettings:
    """The estimator: how a step is credited (Psi) and what the update makes of it."""

    advantage: Literal["total_return", "reward_to_go", "n_step", "gae", "vtrace"] = "gae"
    """Psi, the credit of a step."""
    bootstrap_steps: Count | Literal["inf"] = 5
    """Rewards that n_step counts before V stands for the rest; inf counts them all."""
    rho_bar: Positive = 1.0
    """V-trace's limit on the ratio of a step: below 1, V moves towards that of the policy that
    acted. Ratios differ from 1 under --surrogate importance and --overlap; else V-trace is
    GAE(1)."""
    c_bar: Positive = 1.0
    """V-trace's limit on the ratios that carry credit back: lower is less noise, slower."""
    baseline: Literal["none", "mean", "time", "value"] = "value"
    """What is subtracted from the credit: the mean of the other episodes, their mean at the same
    time step, or a learned critic."""
    gamma: Fraction = 0.99
    """Discount per env step."""
    gae_lambda: Fraction = 0.95
    """GAE's lambda: 0 is one-step TD, 1 is Monte Carlo."""
    normalize_advantages: bool = True
    """Scale the batch's advantages to mean 0 and standard deviation 1."""
    loss_average: Literal["per_step", "per_episode"] = "per_step"
    """Whether the policy's loss is the mean over steps, or their sum over the number of
    episodes."""
    surrogate: Literal[
        "log_prob",
        "detached_ratio",
        "importance",
        "clip",
        "kl_adaptive",
        "kl_fixed",
        "trust_region",
    ] = "clip"
    """The loss: log_prob is log pi times credit, detached_ratio the same gradient by pi / pi (both
    one step a batch); importance weighs log pi anew before every step; clip and kl_* are PPO's;
    trust_region is TRPO's, one natural-gradient step of the policy a batch, within --max-kl."""
    importance: Literal["trajectory", "per_decision", "per_step"] = "per_decision"
    """Weight of a step under --surrogate importance: the product of ratios to the episode's end,
    to the rewarded step, or its own ratio alone."""
    importance_clip: Positive | None = None
    """Limit on the weight of a step; per_decision corrects later rewards without one."""
    clip_coef: Positive = 0.2
    """How far the clipped ratio may move from 1."""
    clip_schedule: Schedule = "constant"
    """How clip_coef changes, as lr_schedule does."""
    kl_coef: Positive = 1.0
    """Weight of the KL penalty, where it starts under kl_adaptive."""
    kl_target: Positive = 0.01
    """KL from the acting policy, per update, that kl_adaptive (surrogate or schedule) steers to."""
    ent_coef: NonNegative = 0.0
    """Weight of the entropy bonus."""
    ent_schedule: Schedule = "constant"
    """How ent_coef changes, as lr_schedule does."""
    vf_coef: NonNegative = 0.5
    """Weight of the value loss."""
    value_clip: Positive | None = None
    """How far V may move from its value before the update and still lower the value loss."""
    value_epochs: CountOrZero = 0
    """Further passes over each batch, after the policy's, that fit the critic alone."""


@dataclass(frozen=True, kw_only=True)
class PolicySettings:
    """What acts."""

    hidden_sizes: tuple[Annotated[int, Range(1, 2**14)], ...] = (64, 64)
    """Units of each hidden layer, for actor and critic; without any, both are linear, and tables
    where all observations are categories."""
    activation: Literal["tanh", "relu", "elu", "silu"] = "tanh"
    """Nonlinearity of the hidden layers."""
    encoder: str | None = None
    """A class of your own, as module:Class, that makes features of observations, instead of
    convolutions and hidden layers (docs/encoders.md)."""
    image_encoder: Literal["nature", "impala"] = "nature"
    """Convolutions over images: nature is DQN's three layers, or two small ones below 36 pixels a
    side; impala is a residual network of 15, slower, for images of any size."""
    precision: Literal["float32", "bf16"] = "float32"
    """Precision that image encoders compute in, acting and learning; bf16 is faster where the
    processor or the GPU has it. Parameters and their updates stay in float32."""
    normalize_obs: bool = True
    """Scale vector observations by their running mean and standard deviation."""
    action_distribution: Literal["gaussian", "squashed_gaussian", "beta"] = "gaussian"
    """Of continuous actions: a Gaussian, clipped to the bounds; a Gaussian that tanh squashes into
    them; or a Beta distribution between them. The last two need finite bounds."""
    log_std: Literal["free", "state"] = "free"
    """Log standard deviation of the Gaussians: free is a parameter, the same in all states; state
    is an output of the network, between -5 and 2."""
    recurrent: Literal["none", "gru", "lstm"] = "none"
    """A recurrent layer behind the encoder, which policy and critic share: it remembers the
    episode so far. Take --normalize-rewards with it, lest the critic's loss drown the policy's."""
    recurrent_size: Annotated[int, Range(1, 2**14)] = 128
    """Units of the recurrent layer."""


@dataclass(frozen=True, kw_only=True)
class LearnerSettings:
    """How a batch becomes a better policy."""

    num_epochs: Count = 10
    """Passes over each batch."""
    minibatch_size: BigCount | None = 64
    """Samples of one gradient; none takes the whole batch. With log_prob, detached_ratio and
    trust_region, whose gradients add up to one step a batch, it bounds memory alone."""
    sequence_length: Count = 16
    """Steps that a recurrent layer is unrolled over, which credit flows back through; a minibatch
    holds whole sequences, about minibatch_size steps of them."""
    optimizer: Literal["adam", "sgd"] = "adam"
    """Adam (epsilon 1e-5), or stochastic gradient descent with momentum."""
    momentum: Fraction = 0.9
    """Momentum of sgd."""
    learning_rate: Positive = 3e-4
    """The optimizer's step size."""
    lr_schedule: Schedule = "constant"
    """linear falls to 0 at total_steps; kl_adaptive divides by 1.5 after an update whose KL passed
    2 kl_target, and multiplies where it stayed below kl_target / 2."""
    max_grad_norm: Positive = 0.5
    """The gradient's norm is cut to this."""
    target_kl: Positive | None = None
    """End an update early once the KL from the acting policy passes 1.5 times this; log_prob,
    detached_ratio and trust_region take one step a batch, which nothing can end."""
    max_kl: Positive = 0.01
    """How far a step under trust_region may go: mean KL from the acting policy, in nats."""
    cg_iterations: Count = 10
    """Iterations of conjugate gradients, which find the natural gradient; more are more exact."""
    cg_damping: NonNegative = 0.1
    """What is added to the Fisher matrix's diagonal: more is a shorter step, nearer the plain
    gradient."""
    line_search_steps: CountOrZero = 10
    """Lengths of a natural-gradient step that are tried, each half the one before, until one gains
    and keeps to --max-kl; else the policy stays. 0 takes the first as it is."""
    normalize_rewards: bool = False
    """Learn from rewards divided by the running standard deviation of the discounted return."""
    gradient_stats_every: CountOrZero = 10
    """Iterations between measurements of the gradient's noise and of what an update came to, under
    gradient/ in TensorBoard; 0 is never."""
    compile: bool = False
    """Compile the gradient of a minibatch with torch.compile: the first updates take up to a minute
    longer, and with small networks those after them half as long. Needs a C++ compiler, and a
    policy without --recurrent."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the learner computes; auto takes a GPU where there is one."""
    learner_threads: Count | None = None
    """Torch threads of the learner; they change the last bits of the result. Default: 1 for
    vector observations, all cores for images."""
