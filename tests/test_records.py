import dataclasses

import numpy as np
import pytest
import torch

from distpg.records import Batch, Rollout

CPU = torch.device("cpu")
STEPS, ENVS = 4, 2


def make_rollout(slot: int = 0, steps: int = STEPS, num_envs: int = ENVS) -> Rollout:
    """A rollout whose numbers say where they come from: 1000 slot + 10 t + env."""
    rows = 10 * np.arange(steps + 1)[:, None] + np.arange(num_envs) + 1000 * slot
    flat = rows[:-1].astype(np.float32)
    return Rollout(
        obs={"place": np.stack([rows, -rows], -1).astype(np.float32), "gear": rows % 7},
        state=np.zeros((num_envs, 0), np.float32),
        actions=rows[:-1],
        logprobs=-flat,
        rewards=flat,
        terminated=rows[:-1] % 3 == 0,
        truncated=rows[:-1] % 5 == 0,
        valid=np.ones((steps, num_envs), bool),
        policy_version=0,
        slot=slot,
    )


@pytest.mark.parametrize(
    "name", ["actions", "logprobs", "rewards", "terminated", "truncated", "valid"]
)
@pytest.mark.parametrize("cut", [np.s_[:-1], np.s_[:, :1]], ids=["steps", "envs"])
def test_a_rollout_refuses_arrays_that_disagree_on_steps_or_envs(
    name: str, cut: tuple[slice, ...]
) -> None:
    rollout = make_rollout()
    with pytest.raises(AssertionError):
        dataclasses.replace(rollout, **{name: getattr(rollout, name)[cut]})


def test_a_rollout_names_the_field_that_does_not_fit() -> None:
    with pytest.raises(AssertionError, match="logprobs"):
        dataclasses.replace(make_rollout(), logprobs=np.zeros((STEPS + 1, ENVS), np.float32))


def test_a_rollout_has_one_observation_more_than_steps() -> None:
    rollout = make_rollout()
    for rows in (STEPS, STEPS + 2):
        with pytest.raises(AssertionError, match="gear"):
            dataclasses.replace(rollout, obs={**rollout.obs, "gear": np.zeros((rows, ENVS))})


def test_a_rollout_has_one_recurrent_state_for_each_env() -> None:
    with pytest.raises(AssertionError, match="state"):
        dataclasses.replace(make_rollout(), state=np.zeros((ENVS + 1, 8), np.float32))


def test_a_batch_lays_the_slots_side_by_side_in_the_order_given() -> None:
    batch = Batch.join([make_rollout(slot) for slot in (2, 0, 1)], CPU)
    assert batch.rewards[0].tolist() == [2000, 2001, 0, 1, 1000, 1001]
    assert batch.rewards[:, 3].tolist() == [1, 11, 21, 31]
    assert batch.rewards.shape == batch.valid.shape == (STEPS, 3 * ENVS)
    assert batch.obs["place"].shape == (STEPS + 1, 3 * ENVS, 2)
    assert batch.obs["place"][STEPS, 4].tolist() == [1040, -1040]
    assert batch.state.shape == (3 * ENVS, 0)
    assert batch.valid.all()


def test_a_batch_keeps_every_field_of_a_rollout_as_it_is() -> None:
    rollout = make_rollout(1)
    batch = Batch.join([rollout], CPU)
    for field in ("actions", "logprobs", "rewards", "terminated", "truncated", "valid", "state"):
        found = getattr(batch, field).numpy()
        np.testing.assert_array_equal(found, getattr(rollout, field))
        assert found.dtype == getattr(rollout, field).dtype
    for name, leaf in rollout.obs.items():
        np.testing.assert_array_equal(batch.obs[name].numpy(), leaf)
        assert batch.obs[name].numpy().dtype == leaf.dtype


def test_slots_of_fewer_steps_are_filled_up_with_steps_that_are_not_valid() -> None:
    batch = Batch.join([make_rollout(0, steps=2), make_rollout(1, steps=4)], CPU)
    assert batch.valid.tolist() == [[True] * 4] * 2 + [[False, False, True, True]] * 2
    assert batch.rewards[:, 0].tolist() == [0, 10, 0, 0]
    assert batch.rewards[:, 2].tolist() == [1000, 1010, 1020, 1030]
    assert not batch.done[2:, :2].any()
    # the last true successor stays behind the last step
    assert batch.obs["gear"][:3, 0].tolist() == [0, 10 % 7, 20 % 7]
    assert batch.obs["place"].shape == (5, 4, 2)
    # and stands for the steps that were not taken: 0 may be no observation
    assert batch.obs["gear"][3:, 0].tolist() == [20 % 7] * 2
    assert batch.actions.dtype == torch.int64


def test_slots_may_have_different_numbers_of_envs() -> None:
    batch = Batch.join([make_rollout(0, num_envs=1), make_rollout(1, num_envs=3)], CPU)
    assert batch.rewards[0].tolist() == [0, 1000, 1001, 1002]


def test_done_is_either_end() -> None:
    rollout = dataclasses.replace(
        make_rollout(steps=1, num_envs=4),
        terminated=np.array([[False, True, False, True]]),
        truncated=np.array([[False, False, True, True]]),
    )
    assert Batch.join([rollout], CPU).done.tolist() == [[False, True, True, True]]


def test_a_batch_does_not_share_memory_with_its_rollouts() -> None:
    rollout = make_rollout()
    batch = Batch.join([rollout], CPU)
    batch.rewards.fill_(-1)
    assert rollout.rewards[1, 1] == 11
