"""PPO as a single file does it in JAX; prints its figures as a line of JSON.

    .venv-peers/jax/bin/python -m benchmarks.peers.jax_file --env HalfCheetah-v5 --normalize

One process, in the manner of PureJaxRL: an update (advantages, epochs, minibatches, optimizer) is
one compiled function. The envs are gymnasium's. With --cache, compiled functions are kept for the
next process.
"""

import argparse
import math
import os
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.iterations import Iterations
from benchmarks.peers import work
from benchmarks.peers.rollout import Collector, Rollout

CLIP = 0.2
MAX_NORM = 0.5
HIDDEN_GAIN, POLICY_GAIN = math.sqrt(2), 0.01

Layers = list[tuple[jax.Array, jax.Array]]
Parameters = dict[str, Any]


def network(key: jax.Array, inputs: int, outputs: int, gain: float) -> Layers:
    """Make a network with two hidden layers and orthogonal weights."""
    sizes = ((inputs, 64, HIDDEN_GAIN), (64, 64, HIDDEN_GAIN), (64, outputs, gain))
    return [
        (jax.nn.initializers.orthogonal(scale)(each, (before, after)), jnp.zeros(after))
        for each, (before, after, scale) in zip(jax.random.split(key, 3), sizes, strict=True)
    ]


def apply(layers: Layers, inputs: jax.Array) -> jax.Array:
    """Return what a network says."""
    *hidden, (weight, bias) = layers
    for w, b in hidden:
        inputs = jnp.tanh(inputs @ w + b)
    return inputs @ weight + bias


def value(parameters: Parameters, obs: jax.Array) -> jax.Array:
    """Return V."""
    return apply(parameters["critic"], obs)[..., 0]


class Learner:
    """Parameters, and the compiled functions: to act, V, and an update."""

    def __init__(self, options: argparse.Namespace, collector: Collector) -> None:
        self.options = options
        self.discrete = collector.discrete
        adam = optax.adam(options.lr, eps=1e-5)
        self.optimizer = optax.chain(optax.clip_by_global_norm(MAX_NORM), adam)
        keys = jax.random.split(jax.random.key(options.seed), 4)
        self.parameters = {
            "actor": network(keys[0], collector.n_obs, collector.n_actions, POLICY_GAIN),
            "critic": network(keys[1], collector.n_obs, 1, 1.0),
            "log_std": jnp.zeros(collector.n_actions),
        }
        self.state = self.optimizer.init(self.parameters)
        self.act_key, self.update_key = keys[2:]
        self.acted = self.updated = 0
        self.compiled_act = jax.jit(self._act)
        self.compiled_value = jax.jit(value)
        self.compiled_update = jax.jit(self._update, donate_argnums=(0, 1))

    def act(self, obs: np.ndarray) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Return actions, their log pi, and V."""
        self.acted += 1
        return self.compiled_act(self.parameters, obs, self.act_key, self.acted)

    def value_of(self, obs: np.ndarray) -> np.ndarray:
        """Return V."""
        return np.asarray(self.compiled_value(self.parameters, obs))

    def update(self, rollout: Rollout) -> None:
        """Learn from a rollout, to the end."""
        self.updated += 1
        self.parameters, self.state = self.compiled_update(
            self.parameters, self.state, self.update_key, self.updated, vars(rollout)
        )
        jax.block_until_ready(self.parameters)

    def log_prob(self, parameters: Parameters, scores: jax.Array, actions: jax.Array) -> jax.Array:
        """Return log pi of actions, from what the actor says."""
        if self.discrete:
            log_probs = jax.nn.log_softmax(scores)
            return jnp.take_along_axis(log_probs, actions[..., None], -1)[..., 0]
        log_std = parameters["log_std"]
        unit = (actions - scores) * jnp.exp(-log_std)
        return (-0.5 * unit**2 - log_std - 0.5 * math.log(2 * math.pi)).sum(-1)

    def _act(
        self, parameters: Parameters, obs: jax.Array, key: jax.Array, count: jax.Array
    ) -> tuple[Any, ...]:
        key = jax.random.fold_in(key, count)
        scores = apply(parameters["actor"], obs)
        if self.discrete:
            actions = jax.random.categorical(key, scores)
        else:
            noise = jax.random.normal(key, scores.shape)
            actions = scores + jnp.exp(parameters["log_std"]) * noise
        log_probs = self.log_prob(parameters, scores, actions)
        return actions, log_probs, value(parameters, obs)

    def _loss(self, parameters: Parameters, minibatch: tuple[jax.Array, ...]) -> jax.Array:
        obs, actions, old, credit, targets = minibatch
        credit = (credit - credit.mean()) / (credit.std() + 1e-8)
        log_probs = self.log_prob(parameters, apply(parameters["actor"], obs), actions)
        ratio = jnp.exp(log_probs - old)
        clipped = jnp.clip(ratio, 1 - CLIP, 1 + CLIP)
        policy_loss = -jnp.minimum(credit * ratio, credit * clipped).mean()
        return policy_loss + 0.5 * jnp.square(value(parameters, obs) - targets).mean()

    def _advantages(
        self, rewards: jax.Array, dones: jax.Array, values: jax.Array, last: jax.Array
    ) -> jax.Array:
        gamma, lam = self.options.gamma, self.options.lam

        def back(carry: tuple[jax.Array, ...], step: tuple[jax.Array, ...]) -> tuple[Any, Any]:
            following, next_value = carry
            reward, done, now = step
            delta = reward + gamma * (1 - done) * next_value - now
            credit = delta + gamma * lam * (1 - done) * following
            return (credit, now), credit

        start = (jnp.zeros_like(last), last)
        return jax.lax.scan(back, start, (rewards, dones, values), reverse=True)[1]

    def _update(
        self,
        parameters: Parameters,
        state: Any,
        key: jax.Array,
        count: jax.Array,
        rollout: dict[str, jax.Array],
    ) -> tuple[Parameters, Any]:
        values = rollout["values"]
        last = value(parameters, rollout["next_obs"])
        credit = self._advantages(rollout["rewards"], rollout["dones"], values, last)
        columns = (
            rollout["obs"],
            rollout["actions"],
            rollout["log_probs"],
            credit,
            credit + values,
        )
        data = [each.reshape(values.size, *each.shape[2:]) for each in columns]

        def minibatch(carry: tuple[Any, Any], rows: jax.Array) -> tuple[Any, None]:
            parameters, state = carry
            gradient = jax.grad(self._loss)(parameters, tuple(each[rows] for each in data))
            step, state = self.optimizer.update(gradient, state, parameters)
            return (optax.apply_updates(parameters, step), state), None

        def epoch(carry: tuple[Any, Any], key: jax.Array) -> tuple[Any, None]:
            order = jax.random.permutation(key, values.size)
            return jax.lax.scan(minibatch, carry, order.reshape(-1, self.options.minibatch))

        keys = jax.random.split(jax.random.fold_in(key, count), self.options.epochs)
        return jax.lax.scan(epoch, (parameters, state), keys)[0]


def configure(options: argparse.Namespace) -> None:
    """Set what JAX must know before its first computation."""
    if options.threads == 1:
        flags = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
        os.environ.setdefault("XLA_FLAGS", flags)
    if options.cache:
        jax.config.update("jax_compilation_cache_dir", options.cache)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def main() -> None:
    """Train once."""
    parser = work.parser(__doc__)
    parser.add_argument("--cache", help="folder of compiled functions")
    options = parser.parse_args()
    configure(options)
    collector = Collector(options)
    learner = Learner(options, collector)
    batch = options.n_steps * options.n_envs
    minibatches = options.epochs * (batch // options.minibatch)
    iterations = Iterations.begin()
    env_steps, solved = 0, False
    while env_steps < options.steps and not solved:
        learner.update(collector.collect(learner.act, learner.value_of))
        env_steps += batch
        iterations.end(env_steps, learner.updated * minibatches)
        solved = collector.episodes.solved()
    name = "JAX file, cached" if options.cache else "JAX file"
    iterations.report(name, solved=solved, final_return=collector.episodes.mean())


if __name__ == "__main__":
    main()
