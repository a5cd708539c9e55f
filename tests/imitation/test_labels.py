"""How an expert is asked."""

from typing import Any

import numpy as np
import pytest
import torch

from distpg.imitation import labels
from distpg.imitation.cloner import Cloner
from distpg.imitation.labels import RecurrentRelabeler, query
from distpg.imitation.sources import FunctionExpert
from distpg.policy.actor_critic import Policy
from distpg.policy.recurrent import SEQUENCE
from distpg.records import Batch, Rollout
from tests.imitation.experts import on_diamond_hill
from tests.imitation.test_cloner import table
from tests.learner.runs import Run

HIDDEN: dict[str, Any] = {
    "env_id": "distpg/CartPoleNoVel-v1",
    "recurrent": "gru",
    "recurrent_size": 8,
    "num_steps": 24,
    "sequence_length": 5,
}
SEEN = {"obs": np.array([5, 2, 4, 5, 4])}


def test_an_expert_may_write_into_what_it_is_shown() -> None:
    def wipes(obs: Any) -> Any:
        said = on_diamond_hill(obs)
        obs[:] = 0
        return said

    before = SEEN["obs"].copy()
    assert query(FunctionExpert("wipes", wipes), table().policy, SEEN).tolist() == [0, 1, 1, 0, 1]
    np.testing.assert_array_equal(SEEN["obs"], before)


def test_many_observations_are_asked_about_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(labels, "CHUNK", 2)
    sizes: list[int] = []

    def counts(obs: Any) -> Any:
        sizes.append(len(obs))
        return on_diamond_hill(obs)

    assert query(FunctionExpert("counts", counts), table().policy, SEEN).tolist() == [0, 1, 1, 0, 1]
    assert sizes == [2, 2, 1]


def played(run: Run, rounds: int) -> list[list[Rollout]]:
    """Rollouts of several rounds, by weights that stay."""
    weights = run.learner.weights()
    return [[slot.collect(weights, k).rollout for slot in run.slots] for k in range(rounds)]


def spelt_out(policy: Policy, rollouts: list[Rollout]) -> np.ndarray:
    """Most likely actions of a policy that observes each env by itself, [T, N] over all rounds."""
    columns: list[list[int]] = []
    for env in range(rollouts[0].valid.shape[1]):
        recurrent_state, column = torch.zeros(1, policy.recurrent_state_size), list[int]()
        for rollout in rollouts:
            for obs, kept in zip(rollout.obs["obs"][:-1, env], rollout.valid[:, env], strict=True):
                seen = policy.normalizer({"obs": torch.from_numpy(obs[None].copy())})
                assert policy.recurrent is not None
                features, recurrent_state = policy.recurrent.step(
                    policy.encoder(seen), recurrent_state
                )
                column.append(int(policy.head(features).argmax()))
                if not kept:
                    recurrent_state = torch.zeros_like(recurrent_state)
        columns.append(column)
    return np.array(columns).T


def test_an_expert_with_a_memory_follows_each_slot_through_its_episodes_and_rollouts() -> None:
    own, others = Run(**HIDDEN, seed=6), Run(**{**HIDDEN, "recurrent": "none"}, seed=9)
    expert = own.learner.policy
    with torch.no_grad():
        # so that what it does depends on more than the last observation
        expert.head.weight.mul_(100)
    follow = RecurrentRelabeler(expert, others.learner.policy)
    labelled = [[follow(rollout) for rollout in round_] for round_ in played(others, 3)]
    differing = 0
    for slot in range(2):
        rollouts = [round_[slot] for round_ in labelled]
        with torch.no_grad():
            expected = spelt_out(expert, rollouts)
        valid = np.concatenate([rollout.valid for rollout in rollouts])
        actions = np.concatenate([rollout.actions for rollout in rollouts])
        np.testing.assert_array_equal(actions[valid], expected[valid])
        assert not valid.all()
        forgetful = RecurrentRelabeler(expert, others.learner.policy)
        for rollout in rollouts:
            forgetful.last.clear()
            differing += int((forgetful(rollout).actions != rollout.actions).sum())
    assert differing, "it does the same without what it remembers of the rollouts before"


def test_a_students_memory_is_worked_out_anew_and_goes_on_from_round_to_round() -> None:
    run = Run(**HIDDEN, seed=4)
    envs = run.slots[0].envs
    student = Cloner(run.config, envs.obs_spec, envs.action_spec, num_rounds=3)
    rounds = played(run, 3)
    batches = [Batch.join(rollouts, student.device) for rollouts in rounds]
    labels = student.gather_labels(batches)
    with torch.no_grad():
        modes = student.policy(labels.obs).greedy().numpy()
        columns = [
            spelt_out(student.policy, [round_[slot] for round_ in rounds]) for slot in range(2)
        ]
    expected, steps = np.concatenate(columns, 1), len(batches[0].valid)
    done = 0
    for k, batch in enumerate(batches):
        valid = batch.valid.numpy()
        count = int(valid.sum())
        same = modes[done : done + count] == expected[k * steps : (k + 1) * steps][valid]
        # sequences start from the memory that is found in whole rollouts
        assert same.all()
        done += count
    assert done == len(labels)
    numbers, first = labels.obs[SEQUENCE], int(batches[0].valid.sum())
    assert numbers[:first].max() < numbers[first:].min()
