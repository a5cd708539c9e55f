"""Whether updates are compiled, and the compiled functions of a learner."""

from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from itertools import count, islice
from typing import Any, Literal

import numpy as np
import torch

from distpg.config.config import Config
from distpg.gradient.losses import Coefficients
from distpg.iteration import Package, Packages
from distpg.learner import compile_cache, objective
from distpg.learner.ahead_of_time import compile_function, load
from distpg.learner.compiled_steps import CompiledSteps, state_of
from distpg.learner.fused import Fused, numbers_of
from distpg.learner.loss_form import LossForm
from distpg.learner.minibatch import Steps, TorchSteps
from distpg.learner.minibatches import Samples, Targets
from distpg.learner.optimizer import Optimizer
from distpg.learner.optimizer_step import OptimizerState
from distpg.learner.train_state import TrainState
from distpg.policy.architecture import Architecture
from distpg.spaces import ObsSpec

MIN_MINIBATCHES = 15_000
"""Minibatches of a run from which on compiling, for 10 to 40 s, saves more than it takes."""


def decide(config: Config, device: torch.device, obs_spec: ObsSpec) -> Literal["on", "off"]:
    """Return whether updates are compiled, as follows from the settings and the machine."""
    if config.compile != "auto":
        return config.compile
    known = is_ahead_of_time(config, device, obs_spec)
    pays = num_minibatches(config) >= MIN_MINIBATCHES
    return "on" if known and pays and compile_cache.compiler() else "off"


def is_ahead_of_time(config: Config, device: torch.device, obs_spec: ObsSpec) -> bool:
    """Return whether updates are known to compile ahead of time: small networks of distpg's own."""
    kinds = {leaf.kind for leaf in obs_spec.inputs}
    own_network = config.encoder is None and config.recurrent == "none" and "image" not in kinds
    return device.type == "cpu" and own_network


def num_minibatches(config: Config) -> float:
    """Return the number of minibatches of a whole run; 0 if its batches have no fixed size."""
    size = config.minibatch_size
    if size is None:
        size = config.slots * config.num_envs * config.num_steps if not config.episodes else None
    epochs = config.num_epochs + (config.value_epochs if config.baseline == "value" else 0)
    return config.total_steps * epochs / size if size else 0


def find_steps(
    state: TrainState, given: Packages, say: Callable[[str], None]
) -> tuple[Steps, Packages]:
    """Return what takes the steps of a learner, and the packages that it uses.

    Args:
        state: The learner.
        given: Packages to use if they were compiled for the same.
        say: Called with what the user should know.

    Raises:
        InputError: something has to be compiled, and there is no compiler.
    """
    config, model, optimizer = state.config, state.model, state.optimizer
    if state.compiles == "off":
        return TorchSteps(config, model, optimizer), {}
    if not is_ahead_of_time(config, state.device, state.policy.obs_spec):
        return TorchSteps(config, model, optimizer, compiled=True), {}
    fused = Fused(LossForm.of(config), model, optimizer.rule)
    packages = find_packages(fused, optimizer, config, given, say)
    functions = {name: load(package.content) for name, package in packages.items()}
    _, samples, targets, *_ = examples(fused, config, optimizer.whole)
    steps = CompiledSteps(config, optimizer, functions, (samples, targets))
    return steps, packages


def find_packages(
    fused: Fused,
    optimizer: Optimizer,
    config: Config,
    given: Packages,
    say: Callable[[str], None],
) -> Packages:
    """Return the compiled functions that the updates of a run need.

    Args:
        fused: The functions.
        optimizer: Of the model.
        config: The settings.
        given: Packages to use if they were compiled for the same.
        say: Called with what the user should know.

    Raises:
        InputError: one has to be compiled, and there is no compiler.
    """
    found: dict[str, Package] = {}
    told = set[str]()

    def tell(line: str) -> None:
        if line not in told:
            told.add(line)
            say(line)

    for name in names_of(config):
        key = compile_cache.key(structure(fused, config, name))
        if name in given and given[name].key == key:
            found[name] = given[name]
            continue
        build = partial(_compile, fused, config, name, state_of(optimizer, name))
        found[name] = Package(key, compile_cache.fetch(key, build, tell))
    return found


def names_of(config: Config) -> list[str]:
    """Return the methods of `Fused` that updates call."""
    critic = ["critic_step"] if config.value_epochs and config.baseline == "value" else []
    return ["gradient" if config.one_step else "step", *critic]


def _compile(fused: Fused, config: Config, name: str, state: OptimizerState) -> bytes:
    axes = {1: "samples", 2: "samples", 3: "rows"}
    return compile_function(getattr(fused, name), examples(fused, config, state), axes)


def structure(fused: Fused, config: Config, name: str) -> dict[str, Any]:
    """Return what a compiled function depends on, besides sources and machine."""
    policy = fused.model.policy
    return {
        "function": name,
        "form": asdict(fused.form),
        "optimizer": asdict(fused.rule),
        "architecture": asdict(Architecture.of(config)),
        "parameters": [(list(x.shape), str(x.dtype)) for x in fused.model.parameters()],
        "detached": fused.model.detached,
        "obs": [asdict(leaf) for leaf in policy.obs_spec.leaves],
        "action": asdict(policy.action_spec),
        "threads": torch.get_num_threads(),
    }


def examples(fused: Fused, config: Config, state: OptimizerState) -> tuple[Any, ...]:
    """Return arguments of the methods of `Fused`; their first axes have sizes that occur once."""
    policy = fused.model.policy
    shapes = [leaf.shape for leaf in policy.obs_spec.leaves]
    shapes += [parameter.shape for parameter in fused.model.parameters()]
    taken = {size for shape in shapes for size in shape} | {len(state.values), policy.num_outputs}
    batch, minibatch = islice((size for size in count(500) if size not in taken), 2)
    obs = policy.normalizer(
        {
            leaf.name: torch.zeros(batch, *leaf.shape, dtype=getattr(torch, leaf.dtype))
            for leaf in policy.obs_spec.leaves
        }
    )
    spec, zeros = policy.action_spec, torch.zeros(batch, dtype=torch.float32)
    actions = torch.from_numpy(np.zeros((batch, *spec.stored_shape), spec.stored_dtype))
    with torch.no_grad():
        parameters = objective.outputs(config, fused.model, obs)[:, :-1]
    samples = Samples(obs, actions, zeros, zeros.clone(), zeros.long(), parameters.clone())
    targets = Targets(zeros.clone(), zeros.clone(), zeros.clone())
    numbers = numbers_of(Coefficients(0.2, 0.2, 0.2, 0.2), 0.2, 0.2, 0.2)
    return state, samples, targets, torch.zeros(minibatch, dtype=torch.int64), numbers
