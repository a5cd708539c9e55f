"""A recurrent policy: unrolled over sequences as it was step by step."""

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.testing import assert_close

from distpg.learner import minibatches as visits
from distpg.learner import trust_region
from distpg.learner.minibatches import Samples, chunks, minibatches
from distpg.learner.objective import log_ratio
from distpg.learner.sequences import network_inputs, number_sequences
from distpg.learner.trust_region import fisher_product
from distpg.policy.recurrent import RECURRENT_STATE, SEQUENCE, Recurrent
from distpg.records import Batch
from distpg.rollout.worker import RolloutWorker
from tests.learner.runs import Run

KINDS = ["gru", "lstm"]
HIDDEN: dict[str, Any] = {
    "env_id": "distpg/CartPoleNoVel-v1",
    "recurrent_size": 8,
    "sequence_length": 5,
    "num_steps": 40,
}


def layer(kind: str, num_layers: int = 1) -> Recurrent:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Recurrent(kind, 3, 4, num_layers)


def memory_size(kind: str) -> int:
    return 8 if kind == "lstm" else 4


def test_a_step_is_torchs_cell() -> None:
    features, hidden, cell = torch.randn(3, 2, 4, generator=torch.Generator().manual_seed(0))
    features = features[:, :3]
    for kind, other in (("gru", nn.GRUCell(3, 4)), ("lstm", nn.LSTMCell(3, 4))):
        own = layer(kind)
        for name, parameter in own.layer.named_parameters():
            getattr(other, name.removesuffix("_l0")).data.copy_(parameter)
        if isinstance(other, nn.LSTMCell):
            found, recurrent_state = own.step(features, torch.cat([hidden, cell], -1))
            expected = other(features, (hidden, cell))
            assert_close(recurrent_state, torch.cat(expected, -1))
            assert_close(found, expected[0])
        else:
            found, recurrent_state = own.step(features, hidden)
            assert_close(found, other(features, hidden))
            assert torch.equal(found, recurrent_state)


@pytest.mark.parametrize("kind", KINDS)
def test_several_layers_are_torchs_and_their_state_is_hidden_then_cell_layer_by_layer(
    kind: str,
) -> None:
    own = layer(kind, 2)
    features = torch.randn(5, 3, 3, generator=torch.Generator().manual_seed(0))
    outputs, last = own.layer(features)
    state, found = torch.zeros(3, own.state_size), list[Tensor]()
    for step in features:
        output, state = own.step(step, state)
        found.append(output)
    assert_close(torch.stack(found), outputs)
    parts = last if kind == "lstm" else (last,)
    assert_close(state, torch.cat([part[n] for part in parts for n in range(2)], -1))
    # from the middle, where every part of the state counts
    again, _ = own.step(features[0], state)
    start = last if kind == "lstm" else parts[0]
    assert_close(again, own.layer(features[:1], start)[0][0])


@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
@given(
    lengths=st.lists(st.integers(1, 6), min_size=1, max_size=5),
    shuffled=st.randoms(use_true_random=False),
)
def test_sequences_that_are_mixed_are_unrolled_as_each_alone(
    kind: str, num_layers: int, lengths: list[int], shuffled: Any
) -> None:
    own, count = layer(kind, num_layers), sum(lengths)
    generator = torch.Generator().manual_seed(count)
    features = torch.randn(count, 3, generator=generator)
    recurrent_state = torch.randn(count, num_layers * memory_size(kind), generator=generator)
    ids = [10 * number for number, length in enumerate(lengths) for _ in range(length)]
    shuffled.shuffle(ids)
    sequence = torch.tensor(ids)
    found = own(features, {RECURRENT_STATE: recurrent_state, SEQUENCE: sequence})
    for number in set(ids):
        rows = [row for row, other in enumerate(ids) if other == number]
        now = recurrent_state[rows[:1]]
        for row in rows:
            expected, now = own.step(features[row : row + 1], now)
            assert_close(found[row : row + 1], expected)


def test_sequences_end_with_episodes_and_after_their_length() -> None:
    valid = torch.tensor([[1, 1, 1, 1, 0, 1, 1], [1, 0, 0, 1, 1, 1, 0]], dtype=torch.bool).T
    one = [0, 0, 0, 1, 2, 3, 3, 4]
    # the row that a reset or an end leads to is its own; the last is only valued
    other = [5, 6, 7, 8, 8, 8, 9, 10]
    assert number_sequences(valid, 3).T.tolist() == [one, other]


@given(
    valid=st.lists(st.lists(st.booleans(), min_size=6, max_size=6), min_size=1, max_size=4),
    length=st.integers(1, 8),
)
def test_a_sequence_is_consecutive_valid_steps_of_an_env_no_more_than_its_length(
    valid: list[list[bool]], length: int
) -> None:
    steps = torch.tensor(valid).T
    numbers = number_sequences(steps, length)
    for number in numbers.unique():
        rows, envs = (numbers == number).nonzero().T.tolist()
        assert len(set(envs)) == 1
        assert rows == list(range(rows[0], rows[0] + len(rows)))
        assert len(rows) <= length
        assert len(rows) == 1 or all(steps[row, envs[0]] for row in rows)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"episodes_per_env": 2},
        {"normalize_obs": False},
        {"recurrent_layers": 2, "recurrent_critic": "own"},
    ],
    ids=str,
)
def test_the_learner_remembers_what_the_worker_did(kind: str, changes: dict[str, Any]) -> None:
    run = Run(**{**HIDDEN, "recurrent": kind, **changes})
    rollouts = run.collect()
    for _ in range(3):
        batch = Batch.join(rollouts, run.learner.device)
        samples, _ = run.learner.observe(batch)
        logprobs = run.learner.policy.rebuild(samples.parameters).log_prob(samples.actions)
        assert_close(logprobs, samples.logprobs, rtol=0, atol=1e-5)
        for rows in minibatches(samples, 16, epochs=range(1), seed=0, iteration=0):
            minibatch = samples[rows]
            now = run.learner.model(minibatch.obs)[0].log_prob(minibatch.actions)
            assert_close(now, minibatch.logprobs, rtol=0, atol=1e-5)
        run.learner.update(rollouts)
        rollouts = run.collect()
    assert not changes.get("episodes_per_env") or not rollouts[0].state.any()


@pytest.mark.parametrize("kind", KINDS)
def test_a_large_batch_is_gone_through_in_chunks_of_whole_sequences(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(**{**HIDDEN, "recurrent": kind, "algo": "trpo", "num_epochs": 1})
    run.iterate()
    learner, policy = run.learner, run.learner.policy
    samples, _ = learner.observe(Batch.join(run.collect(), learner.device))
    count = sum(parameter.numel() for parameter in policy.parameters())
    vector = torch.randn(count, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        # so that memory counts for something
        for parameter in policy.parameters():
            parameter.mul_(2)

    def found() -> list[Tensor]:
        return [
            fisher_product(policy, samples.obs, vector),
            log_ratio(policy, samples),
            policy.parameters_at(samples.obs),
        ]

    whole = found()
    monkeypatch.setattr(trust_region, "CHUNK_ROWS", 7)
    monkeypatch.setattr(visits, "CHUNK", 7)
    for one, other in zip(whole, found(), strict=True):
        assert_close(one, other, rtol=1e-4, atol=1e-6)
    shares = chunks(samples.obs, 7)
    assert len(shares) > 3
    numbers = [set(share[SEQUENCE].tolist()) for share in shares]
    assert sum(map(len, numbers)) == len(set().union(*numbers))


@given(lengths=st.lists(st.integers(1, 9), min_size=1, max_size=12), size=st.integers(1, 30))
def test_minibatches_hold_whole_sequences_and_an_epoch_each_once(
    lengths: list[int], size: int
) -> None:
    ids = torch.tensor([n for n, length in enumerate(lengths) for _ in range(length)])
    rows = torch.arange(len(ids)).float()
    samples = Samples({SEQUENCE: ids}, rows, rows, rows, ids, rows.view(-1, 1))
    visits = [*minibatches(samples, size, epochs=range(1), seed=0, iteration=0)]
    assert sorted(torch.cat(visits).tolist()) == list(range(len(ids)))
    kinds = [set(ids[visit].tolist()) for visit in visits]
    assert not any(one & other for one, other in itertools.combinations(kinds, 2))
    assert all(len(visit) < size + max(lengths) for visit in visits)
    assert all(
        (visit[1:] > visit[:-1])[ids[visit][1:] == ids[visit][:-1]].all() for visit in visits
    )


def gradient(run: Run, batch: Batch, length: int) -> Tensor:
    """The gradient of all log-probabilities and values, unrolled over sequences of a length."""
    policy, model = run.learner.policy, run.learner.model
    with torch.no_grad():
        seen = network_inputs(policy, batch, length)
    rows = batch.valid.flatten()
    seen = {name: leaf[: len(rows)][rows] for name, leaf in seen.items()}
    distribution, values = model(seen)
    assert values is not None
    total = distribution.log_prob(batch.actions[batch.valid]).sum() + values.square().sum()
    found = torch.autograd.grad(total, list(model.parameters()))
    return torch.cat([part.flatten() for part in found])


def through_time(run: Run, batch: Batch) -> Tensor:
    """The same, step by step through whole episodes."""
    policy, model = run.learner.policy, run.learner.model
    assert policy.recurrent is not None
    total = torch.zeros(())
    for env in range(batch.valid.shape[1]):
        recurrent_state = batch.state[env : env + 1]
        for t in range(len(batch.valid)):
            obs = {name: leaf[t, env : env + 1] for name, leaf in batch.obs.items()}
            features = policy.encoder(policy.normalizer(obs))
            features, recurrent_state = policy.recurrent.step(features, recurrent_state)
            if batch.valid[t, env]:
                played = policy.distribution_of(policy.outputs(features, obs))
                total = total + played.log_prob(batch.actions[t, env : env + 1]).sum()
                total = total + model.critic["head"](features).square().sum()
            else:
                recurrent_state = torch.zeros_like(recurrent_state)
    found = torch.autograd.grad(total, list(model.parameters()))
    return torch.cat([part.flatten() for part in found])


@pytest.mark.parametrize("kind", KINDS)
def test_a_sequences_length_changes_the_gradient_by_truncation_alone(kind: str) -> None:
    run = Run(**{**HIDDEN, "recurrent": kind})
    with torch.no_grad():
        for parameter in run.learner.model.parameters():
            parameter.normal_(generator=torch.Generator().manual_seed(0)).mul_(0.5)
    run.learner.published = run.learner.snapshot()
    batch = Batch.join(run.collect(), run.learner.device)
    assert not batch.valid.all()
    full = through_time(run, batch)
    assert_close(gradient(run, batch, 40), full, rtol=1e-4, atol=1e-4)
    far = [float((gradient(run, batch, length) - full).norm() / full.norm()) for length in (1, 4)]
    assert far[0] > far[1] > 1e-3


def test_a_slot_carries_its_memory_to_its_next_rollout_and_keeps_it_in_its_state() -> None:
    run = Run(**{**HIDDEN, "recurrent": "gru"})
    first, second = (run.slots[0].collect(run.learner.weights(), n) for n in range(2))
    assert first.state is not None
    assert not first.rollout.state.any()
    assert second.rollout.state.any()
    np.testing.assert_array_equal(first.state.recurrent_state, second.rollout.state)
    restored = RolloutWorker(run.config, run.slots[0].source, 0, state=first.state)
    again = restored.collect(run.learner.weights(), 1)
    np.testing.assert_array_equal(again.rollout.state, second.rollout.state)
    np.testing.assert_array_equal(again.rollout.logprobs, second.rollout.logprobs)
