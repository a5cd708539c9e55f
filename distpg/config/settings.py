"""Every setting of a run, declared once: its name, type, range, default and help text.

The command line's flags, the keys of a configuration file and the keywords of `Config(...)` are
these fields. `derived.py` has what follows from them, `combinations.py` which exclude each other.
"""

import math
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from distpg.config.names import Importable
from distpg.config.values import Pattern, Range

Count = Annotated[int, Range(1, 10**6)]
BigCount = Annotated[int, Range(1, 10**15)]
CountOrZero = Annotated[int, Range(0, 10**6)]
Seed = Annotated[int, Range(0, 2**63 - 1)]
Fraction = Annotated[float, Range(0, 1)]
Decay = Annotated[float, Range(0, 1, open_high=True)]
Positive = Annotated[float, Range(0, open_low=True)]
NonNegative = Annotated[float, Range(0)]
Finite = Annotated[float, Range(-math.inf)]
Label = Annotated[str, Pattern(r"[^=\s]+=\S+", "of the form key=value")]
EnvKwargs = dict[str, Any]
EnvBackend = Literal["gymnasium", "envpool"]
Schedule = Literal["constant", "linear", "kl_adaptive"]
AUTO, NONE = ("auto",), ("none",)
"""Values of `image_keys` that are not names."""


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """What to run, and when to stop."""

    algo: str = "ppo"
    """Algorithm preset; explicit flags override it: ppo, appo, ppo_kl, trpo, npg, a2c or
    reinforce."""
    seed: Seed = 0
    """Random seed; fixes every RNG of the run."""
    total_steps: BigCount = 1_000_000
    """Total env steps over all envs; the run stops after the iteration that reaches it."""
    stop_at_return: Finite | None = None
    """Stop as solved once the mean return of the last 100 finished episodes reaches this."""
    max_seconds: Positive | None = None
    """Stop once training has taken this many seconds, without start-up; those before a resume
    count."""
    stop_at_eval_return: Finite | None = None
    """Stop once the mean return of an evaluation reaches this. Needs --eval-every."""
    checkpoint_every: CountOrZero = 10
    """Iterations between checkpoints; 0 saves only a final checkpoint."""
    keep_checkpoints: Count = 3
    """Number of most recent checkpoints to keep."""
    eval_every: CountOrZero = 0
    """Iterations between evaluations; 0 disables evaluation."""
    eval_episodes: Count = 10
    """Episodes per evaluation, with deterministic (mode) actions."""
    eval_delay: Count | None = None
    """The result of an evaluation takes effect (best policy, --rollback-on-collapse,
    --stop-at-eval-return) in the iteration that is so many later, before which training waits for
    it; with 1, at once. At most, and by default, --eval-every."""
    eval_max_steps: BigCount | None = None
    """Steps after which an episode of an evaluation is cut off, counted with its return so far.
    Default: the environment's own limit (max_episode_steps), else 100,000."""
    video_every: CountOrZero = 0
    """Iterations between clips in TensorBoard (Images): an episode of at most 200 frames; 0 for
    none. The environment must render rgb_array."""
    on_anomaly: Literal["stop", "skip"] = "stop"
    """After an update that produces NaN or inf: it is rolled back and its batch saved in the run
    directory; then stop, or skip to the next batch."""
    rollback_on_collapse: Positive | None = None
    """Roll back to the best checkpoint when the evaluation return drops by this fraction of the
    best; 0.5 means by half. Needs --eval-every."""
    log: Literal["none", "wandb", "mlflow"] = "none"
    """Where scalars are logged besides TensorBoard: Weights & Biases or MLflow. An error there does
    not end the run."""
    watcher: tuple[Importable, ...] = ()
    """Watcher of the iterations (docs/watchers.md), as module:Class or module:Class{"key": 1}. The
    flag can be repeated, and adds to the watchers of --config."""
    init_from: str | None = None
    """Initialize policy (and critic) from a run directory, from one of its checkpoints (RUN@best,
    RUN@ENV_STEPS), or from a policy.safetensors."""


@dataclass(frozen=True, kw_only=True)
class EnvSettings:
    """Environment settings, and the number of envs per slot."""

    env_id: Importable = "CartPole-v1"
    """A Gymnasium id, module:Env-v0 (imports module), or module:Class."""
    env_kwargs: EnvKwargs = field(default_factory=dict)
    """Keyword arguments of the environment, as JSON; in strings {copy} is the number of the copy,
    and {copy+8000} is 8000 more."""
    env_wrapper: tuple[Importable, ...] = ()
    """Wrapper around each copy, as module:Wrapper or module:Wrapper{"key": 1}; the first is the
    innermost. The flag can be repeated, and adds to the wrappers of --config. Copies are then
    stepped one by one."""
    frame_stack: Annotated[int, Range(1, 10**3)] = 1
    """Observations to stack, outside of --env-wrapper, on a new first axis; 1 is no stack."""
    image_keys: tuple[str, ...] = AUTO
    """Observations that are read as pictures: auto (those whose space is a picture's,
    docs/observations.md), none, or their names."""
    num_envs: Count = 4
    """Envs in each slot, stepped together as one vector env."""
    env_backend: EnvBackend = "gymnasium"
    """Env implementation: gymnasium (including ALE), or EnvPool (C++), which has its own keyword
    arguments."""
    on_bad_value: Literal["raise", "drop"] = "raise"
    """What to do on NaN or inf in observations or rewards: stop and report where, or drop the
    episode as if the env had raised."""
    close_timeout: Positive = 10.0
    """Timeout in seconds for closing each env, after which it is named and left."""
    sign_rewards: Literal["auto", "on", "off"] = "auto"
    """Train on sign(reward); reported returns are unaffected. auto: on for ALE envs only."""


@dataclass(frozen=True, kw_only=True)
class CollectSettings:
    """How trajectories are collected, and by how many processes."""

    num_workers: Annotated[int, Range(0, 10_000)] = 2
    """Rollout worker processes; 0 runs everything in this process, without Ray."""
    num_slots: Annotated[int, Range(1, 10_000)] | None = None
    """Number of slots: independent parts of the batch, each with its own envs. Results depend on
    slots, never on workers. Default: one per worker."""
    num_steps: Annotated[int, Range(2, 10**6)] = 256
    """Steps of each env in a rollout, when rollouts are segments of fixed length (autoreset can
    consume one step, so at least 2)."""
    episodes_per_env: CountOrZero | None = None
    """Whole episodes of each env in a rollout, from a fresh reset; 0 collects segments of
    --num-steps. Default: 1 for total_return, and for other returns without a critic; else 0."""
    overlap: bool = False
    """Collect the next batch while the learner updates: faster, but the behaviour policy is one
    update old; clip and importance correct by the ratio, vtrace also corrects V."""
    acting: Literal["auto", "numpy", "torch"] = "auto"
    """What workers compute the policy with. auto takes NumPy, which is faster and starts sooner,
    except for images, --recurrent, --encoder, --action-distribution beta and very many actions."""
    phase_timeout: Positive = 600.0
    """Timeout in seconds for a rollout, an update, or the start of a process (then at least 60),
    after which the process is replaced."""
    max_restarts: CountOrZero = 100
    """Maximum worker and learner restarts, not counting those lost with a node; three in a row on
    the same work also stop the run."""
    max_env_faults: CountOrZero = 100
    """Maximum env exceptions. Each drops that env's episode; with a natively vectorized env
    (CartPole-v1, ALE, EnvPool), those of all its copies."""
    address: str | None = None
    """Ray cluster to join: auto or host:port. Default: RAY_ADDRESS, else start a local Ray
    instance."""
    min_workers: Count | None = None
    """Workers with which training starts; the others join when they find a CPU. Default: all. Where
    the environment does not expose its state, slots that move to another worker restart."""
    placement: Literal["pack", "spread"] = "pack"
    """Processes that start together (the learner and --min-workers) are placed on as few nodes as
    possible, or on as many."""
    learner_label: Label | None = None
    """Place the learner on nodes with this Ray label, as key=value. If it is lost, it gets a
    worker's place only where --worker-label is the same."""
    worker_label: Label | None = None
    """Place workers, and what plays evaluations and clips, on nodes with this Ray label, as
    key=value."""
    wait_for_resources: NonNegative = 600.0
    """Seconds to wait for CPUs and a GPU that are not free; 0 refuses at once."""
    recovery_every: Annotated[int, Range(1, 40)] = 10
    """Iterations between copies of all states to the node of this command. After the loss of a
    node, what it computed since the last copy is repeated."""


@dataclass(frozen=True, kw_only=True)
class GradientSettings:
    """The estimator of the policy gradient: advantages (Psi), baseline and surrogate loss."""

    advantage: Literal["total_return", "reward_to_go", "n_step", "gae", "vtrace"] = "gae"
    """Advantage estimator (Psi)."""
    bootstrap_steps: Count | Literal["inf"] = 5
    """n in n-step returns: rewards summed before bootstrapping from V; inf bootstraps only
    where an episode is cut off."""
    rho_bar: Positive = 1.0
    """V-trace rho-bar: clips the importance ratio of the TD error; below 1 the value targets are
    those of a policy between behaviour and target policy. Ratios differ from 1 under --surrogate
    importance and --overlap; otherwise, with limits of at least 1, V-trace is GAE(1)."""
    c_bar: Positive = 1.0
    """V-trace c-bar: clips the trace-cutting ratios; lower means less variance and slower
    propagation."""
    baseline: Literal["none", "mean", "time", "value"] = "value"
    """Baseline subtracted from the return: leave-one-out mean over the other episodes, the same per
    time step, or a learned critic."""
    gamma: Fraction = 0.99
    """Discount per env step."""
    gae_lambda: Fraction = 0.95
    """GAE's lambda: 0 is one-step TD, 1 is Monte Carlo."""
    normalize_advantages: bool = True
    """Scale advantages to mean 0 and standard deviation 1."""
    normalize_over: Literal["batch", "minibatch"] = "batch"
    """Normalize advantages over the batch, or over each minibatch, as Stable-Baselines3 and CleanRL
    do, but by the population's standard deviation."""
    recompute_advantages: bool = False
    """Before each epoch but the first, estimate advantages and value targets again, with the critic
    of that moment."""
    loss_average: Literal["per_step", "per_episode"] = "per_step"
    """Average the policy loss over steps, or sum over steps and divide by the number of
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
    """Policy loss: log_prob = log pi * A; detached_ratio = the same gradient via pi/stop_grad(pi)
    (both one optimizer step per batch); importance = reweighted log pi * A before every step; clip
    and kl_* = PPO; trust_region = TRPO, one natural-gradient step per batch, within --max-kl."""
    importance: Literal["trajectory", "per_decision", "per_step"] = "per_decision"
    """Importance weight with --surrogate importance: whole-trajectory ratio, per-decision ratio, or
    the step's own ratio."""
    importance_clip: Positive | None = None
    """Clip importance weights at this value; the correction of later rewards in per_decision is not
    clipped."""
    clip_coef: Positive = 0.2
    """PPO clip range epsilon: the ratio is clipped to [1 - eps, 1 + eps]."""
    clip_schedule: Schedule = "constant"
    """Schedule of --clip-coef; values as for --lr-schedule."""
    kl_coef: Positive = 1.0
    """KL penalty coefficient; the initial value for kl_adaptive."""
    kl_target: Positive = 0.01
    """Target KL per update for kl_adaptive (surrogate or schedule)."""
    ent_coef: NonNegative = 0.0
    """Weight of the entropy bonus."""
    ent_schedule: Schedule = "constant"
    """Schedule of --ent-coef; values as for --lr-schedule."""
    vf_coef: NonNegative = 0.5
    """Weight of the value loss."""
    value_clip: Positive | None = None
    """Value clipping range, as in PPO; none disables it."""
    value_clip_schedule: Schedule = "constant"
    """Schedule of --value-clip; values as for --lr-schedule."""
    value_epochs: CountOrZero = 0
    """Extra critic-only epochs per batch, of the value loss without --vf-coef."""


@dataclass(frozen=True, kw_only=True)
class PolicySettings:
    """Policy networks and action distribution."""

    hidden_sizes: tuple[Annotated[int, Range(1, 2**14)], ...] = (64, 64)
    """Units of each hidden layer, for actor and critic; empty: linear, or tabular if all
    observations are discrete."""
    value_hidden_sizes: tuple[Annotated[int, Range(1, 2**14)], ...] | None = None
    """Units of the critic's hidden layers; where it shares the policy's encoder (images,
    --recurrent-critic shared), of layers of its own after what it shares. Default: as
    --hidden-sizes; none after what it shares."""
    activation: Literal["tanh", "relu", "elu", "silu", "gelu", "leaky_relu"] = "tanh"
    """Nonlinearity of the hidden layers."""
    orthogonal_init: bool = True
    """Initialize weights orthogonally and biases with 0; otherwise both as torch does by default.
    An --encoder initializes itself."""
    encoder: Importable | None = None
    """Custom encoder class as module:Class, replacing the built-in encoder (docs/encoders.md)."""
    image_encoder: Literal["nature", "impala"] = "nature"
    """Image encoder: nature is DQN's three convolutions, or two small ones if a side is below 36
    pixels; impala is a residual network of 15, slower, for images of any size."""
    precision: Literal["float32", "bf16"] = "float32"
    """Compute precision of image encoders in workers and learner; bf16 is faster on hardware that
    supports it. Parameters and their updates stay in float32."""
    normalize_obs: bool = True
    """Scale vector observations by their running mean and standard deviation."""
    clip_obs: Positive = 10.0
    """Clip scaled observations to this distance from 0."""
    action_distribution: Literal["gaussian", "squashed_gaussian", "beta", "gsde"] = "gaussian"
    """Distribution of continuous actions: Gaussian clipped to the bounds; tanh-squashed Gaussian or
    Beta, which need finite bounds; or gsde, generalized state-dependent exploration: a Gaussian,
    clipped, whose noise is a function of the state."""
    sde_sample_freq: CountOrZero = 0
    """Steps after which gsde draws a new exploration matrix for each env, the function from state
    to noise; 0 draws one for each rollout."""
    action_scale: Literal["bounds", "unit"] = "bounds"
    """Unit of the Gaussian and of gsde: half the range of the bounds, around their middle; or 1,
    around 0, as for actions without finite bounds. Densities and entropy are those in this unit."""
    log_std: Literal["free", "state"] = "free"
    """Log standard deviation of the Gaussians: free: a state-independent parameter; state: a
    network output in [-5, 2]."""
    log_std_init: Annotated[float, Range(-5, 2)] = 0.0
    """Log standard deviation of the Gaussians that a new policy starts with."""
    recurrent: Literal["none", "gru", "lstm"] = "none"
    """Recurrent layer after the encoder. If the critic shares it, use --normalize-rewards with it,
    otherwise the value loss dominates the shared layers."""
    recurrent_size: Annotated[int, Range(1, 2**14)] = 128
    """Units of the recurrent layer."""
    recurrent_layers: Annotated[int, Range(1, 16)] = 1
    """Number of recurrent layers, one after the other."""
    recurrent_critic: Literal["shared", "own", "none"] = "shared"
    """The critic's recurrent layer: shared with the policy, as its encoder is; one of its own,
    after an encoder of its own; or none, the encoder alone. Images are encoded once for both."""


@dataclass(frozen=True, kw_only=True)
class LearnerSettings:
    """Learner settings: epochs, minibatches, optimizer."""

    num_epochs: Count = 10
    """Passes over each batch."""
    minibatch_size: BigCount | None = 64
    """Minibatch size; none uses the whole batch. With one-step surrogates (log_prob,
    detached_ratio, trust_region) gradients are accumulated over minibatches, so it only bounds
    memory."""
    sequence_length: Count = 16
    """Truncated-BPTT length with --recurrent; minibatches are made of whole sequences."""
    optimizer: Literal["adam", "sgd", "rmsprop", "rmsprop_tf"] = "adam"
    """Adam; stochastic gradient descent with momentum; RMSprop; or RMSprop as in TensorFlow, with
    epsilon inside the root, and squares that begin at 1."""
    optimizer_epsilon: Positive | None = None
    """Epsilon of adam, rmsprop and rmsprop_tf. Default: 1e-5."""
    adam_betas: tuple[Decay, Decay] = (0.9, 0.999)
    """Decay of Adam's averages of the gradient and of its square."""
    rmsprop_decay: Decay = 0.99
    """Decay of RMSprop's average of the squared gradient (alpha)."""
    momentum: Fraction = 0.9
    """Momentum of sgd."""
    weight_decay: NonNegative = 0.0
    """L2 penalty: the parameters, times this, are added to the clipped gradient."""
    learning_rate: Positive = 3e-4
    """Learning rate of the optimizer."""
    lr_schedule: Schedule = "constant"
    """Schedule of --learning-rate: linear decays to 0 at --total-steps; kl_adaptive divides by 1.5
    after an update whose KL exceeds 2 x --kl-target, and multiplies if it is below
    --kl-target / 2."""
    max_grad_norm: Positive = 0.5
    """Clip the gradient norm to this value."""
    target_kl: Positive | None = None
    """Stop the update early when approx. KL exceeds 1.5x this value; no effect on one-step
    surrogates."""
    max_kl: Positive = 0.01
    """Trust-region radius: maximum mean KL to the behaviour policy, in nats."""
    cg_iterations: Count = 10
    """Conjugate-gradient iterations."""
    cg_damping: NonNegative = 0.1
    """Damping added to the Fisher matrix; larger gives shorter steps, closer to the plain
    gradient."""
    fisher_subsampling: Count = 1
    """Compute the Fisher matrix from every so many samples of each env: 1 takes all. Of a recurrent
    policy, from every so many sequences."""
    line_search_steps: CountOrZero = 10
    """Maximum backtracking steps (each halves the step) until the surrogate improves within
    --max-kl; 0 takes the full step (NPG)."""
    normalize_rewards: bool = False
    """Divide rewards by the running standard deviation of the discounted return."""
    clip_rewards: Positive = 10.0
    """Clip rewards that are scaled so to this distance from 0."""
    gradient_stats_every: CountOrZero = 10
    """Iterations between gradient diagnostics (gradient/* in TensorBoard); 0 disables them."""
    histogram_every: CountOrZero = 10
    """Iterations between histograms of actions, advantages, values and returns in TensorBoard;
    0 disables them."""
    compile: Literal["auto", "on", "off"] = "auto"
    """Compile what an update does with a minibatch, once for this machine (10 to 40 s): updates of
    small networks take a fraction of the time. auto does for runs of at least 15,000 minibatches if
    there is a C++ compiler, but not for images, --recurrent, --encoder or a GPU."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device of the learner; auto uses a GPU if there is one."""
    learner_threads: Count | None = None
    """Number of torch threads in the learner (affects floating-point rounding). Default: 1 for
    vector observations, 2 with a --minibatch-size of 2,048 or more; all cores for images."""
