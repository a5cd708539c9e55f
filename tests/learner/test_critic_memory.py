"""A critic beside a recurrent policy: what it remembers, and what its loss trains."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from distpg.policy.recurrent import Recurrent
from distpg.records import Batch
from tests.learner.runs import Run, assert_same_state, seen

HIDDEN: dict[str, Any] = {
    "env_id": "distpg/CartPoleNoVel-v1",
    "recurrent": "lstm",
    "recurrent_size": 8,
    "recurrent_critic": "own",
    "sequence_length": 5,
    "num_steps": 20,
}
TWO_LAYERS: dict[str, Any] = {**HIDDEN, "recurrent_layers": 2}
IMAGES: dict[str, Any] = {
    **HIDDEN,
    "env_id": "tests.environments:AnyKind-v0",
    "env_kwargs": {"kind": "image obs"},
    "num_slots": 1,
    "num_steps": 8,
    "learner_threads": 1,
}


def step_by_step(run: Run, batch: Batch, state: Tensor) -> tuple[Tensor, Tensor]:
    """Return V of each row, [T + 1, N], and the critic's state after the last step."""
    critic, values = run.learner.model.critic, list[Tensor]()
    layer = critic["recurrent"]
    assert isinstance(layer, Recurrent)
    for t in range(len(batch.valid) + 1):
        obs = run.learner.policy.normalizer({name: leaf[t] for name, leaf in batch.obs.items()})
        features, after = layer.step(critic["encoder"](obs), state)
        values.append(critic["head"](features).squeeze(-1))
        if t < len(batch.valid):
            state = torch.where(batch.valid[t].unsqueeze(-1), after, 0.0)
    return torch.stack(values), state


@pytest.mark.parametrize("recurrent", ["gru", "lstm"])
def test_its_memory_runs_through_episodes_and_batches_and_ends_with_episodes(
    recurrent: str,
) -> None:
    run = Run(**{**TWO_LAYERS, "recurrent": recurrent})
    size = 2 * 8 * (2 if recurrent == "lstm" else 1)
    state, ends = torch.zeros(4, size), 0
    for _ in range(4):
        rollouts = run.collect()
        batch = Batch.join(rollouts, run.learner.device)
        with torch.no_grad():
            values, state = step_by_step(run, batch, state)
        _, trajectories = seen(run.learner, rollouts)
        valid = batch.valid
        assert_close(trajectories.values[valid], values[:-1][valid])
        assert_close(trajectories.next_values[valid], values[1:][valid])
        ends += int((~valid).sum())
        run.learner.update(rollouts)
    assert ends > 4
    assert state.any()


def test_where_a_batch_between_was_dropped_it_starts_from_nothing() -> None:
    run = Run(**HIDDEN)
    run.iterate()
    memory = run.learner.critic_memory
    batch = Batch.join(run.collect(), run.learner.device)
    continuing = batch.valid[0]
    assert memory.first_state(batch, 16)[continuing].any(-1).all()
    later = Batch.join(run.collect(), run.learner.device)
    assert later.state.any()
    assert not memory.first_state(later, 16).any()
    # the same place, in an episode that has just begun
    batch.state[0] = 0
    assert not memory.first_state(batch, 16)[0].any()


def test_an_update_that_is_rolled_back_leaves_its_memory_as_it_was() -> None:
    run = Run(**HIDDEN)
    run.iterate()
    before = run.learner.state()
    rollouts = run.collect()
    for rollout in rollouts:
        rollout.rewards.fill(1e38)
    _, update = run.learner.update(rollouts)
    assert update.rolled_back
    assert_same_state(run.learner.state(), before)
    assert run.learner.critic_memory.kept


def test_only_a_critic_that_remembers_keeps_something() -> None:
    for kind, keeps in (("shared", False), ("none", False), ("own", True)):
        run = Run(**{**HIDDEN, "recurrent_critic": kind})
        run.iterate()
        names = {name for name in run.learner.state().arrays if name.startswith("critic_memory")}
        assert names == ({"critic_memory/state", "critic_memory/obs/obs"} if keeps else set())


def trained_by_values(run: Run) -> set[str]:
    """Return the parts of the model to which the gradient of the value loss goes."""
    samples, _ = seen(run.learner, run.collect())
    model = run.learner.model
    _, values = model(samples.obs)
    assert values is not None
    assert_close(model.values(samples.obs), values)
    values.square().sum().backward()

    def moved(module: nn.Module) -> bool:
        gradients = [one.grad for one in module.parameters() if one.grad is not None]
        return any(bool(gradient.any()) for gradient in gradients)

    parts = {**dict(model.policy.named_children()), "policy.head": model.policy.head}
    own = {f"critic.{name}" for name, one in model.critic.named_children() if moved(one)}
    return own | {f"policy.{name}" for name, one in parts.items() if moved(one)}


@pytest.mark.parametrize(
    ("settings", "kind", "parts"),
    [
        (HIDDEN, "shared", {"policy.encoder", "policy.recurrent", "critic.head"}),
        (HIDDEN, "own", {"critic.encoder", "critic.recurrent", "critic.head"}),
        (HIDDEN, "none", {"critic.encoder", "critic.head"}),
        (IMAGES, "shared", {"policy.encoder", "policy.recurrent", "critic.head"}),
        (IMAGES, "own", {"policy.encoder", "critic.recurrent", "critic.head"}),
        (IMAGES, "none", {"policy.encoder", "critic.head"}),
    ],
)
def test_the_value_loss_trains_what_the_critic_is_made_of(
    settings: dict[str, Any], kind: str, parts: set[str]
) -> None:
    run = Run(**{**settings, "recurrent_critic": kind})
    run.learner.optimizer.gradients.zero_()
    assert trained_by_values(run) == parts


def test_under_a_trust_region_it_trains_nothing_that_they_share() -> None:
    for kind in ("shared", "own", "none"):
        run = Run(**{**IMAGES, "recurrent_critic": kind, "algo": "trpo", "num_epochs": 1})
        samples, _ = seen(run.learner, run.collect())
        _, values = run.learner.model(samples.obs)
        assert values is not None
        values.sum().backward()
        assert not any(x.grad is not None and x.grad.any() for x in run.learner.policy.parameters())


def test_without_a_memory_a_value_depends_on_the_observation_alone() -> None:
    run = Run(**{**HIDDEN, "recurrent_critic": "none"})
    rollouts = run.collect()
    _, trajectories = seen(run.learner, rollouts)
    batch = Batch.join(rollouts, run.learner.device)
    obs = run.learner.policy.normalizer(batch.obs)
    critic = run.learner.model.critic
    with torch.no_grad():
        values = critic["head"](critic["encoder"](obs)).squeeze(-1)
    assert_close(trajectories.values[batch.valid], values[:-1][batch.valid])


@pytest.mark.parametrize("settings", [TWO_LAYERS, IMAGES], ids=["vector", "image"])
@pytest.mark.parametrize("algo", ["ppo", "trpo"])
def test_all_that_it_is_made_of_moves(settings: dict[str, Any], algo: str) -> None:
    epochs = 1 if algo == "trpo" else 2
    run = Run(
        **{**settings, "algo": algo, "num_epochs": epochs, "value_epochs": 1},
        value_hidden_sizes=(6,),
    )
    before = run.learner.state().arrays
    run.iterate()
    run.iterate()
    after = run.learner.state().arrays
    for name in before:
        if name.startswith("critic/"):
            assert not np.array_equal(before[name], after[name]), name
