import dataclasses
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from distpg.gradient.trajectories import Trajectories
from distpg.learner.reward_scale import RewardScale
from distpg.records import Batch
from tests.gradient.episodes import layouts, random_trajectories, trajectories_of

LAYOUT = ("..Tx...U", "....Ux..", "x.L...Tx")
GAMMA = 0.9


def batch_of(trajectories: Trajectories) -> Batch:
    steps, num_envs = trajectories.rewards.shape
    return Batch(
        obs={"obs": torch.zeros(steps + 1, num_envs, 1)},
        state=torch.zeros(num_envs, 0),
        actions=torch.zeros(steps, num_envs, dtype=torch.int64),
        logprobs=torch.zeros(steps, num_envs),
        rewards=trajectories.rewards.float(),
        terminated=trajectories.terminated,
        truncated=trajectories.truncated,
        valid=trajectories.valid,
    )


@dataclass
class Reference:
    """Every env's episode under way as a list of rewards, and all returns that were ever seen."""

    gamma: float
    under_way: dict[int, list[float]] = field(default_factory=dict[int, list[float]])
    returns: list[float] = field(default_factory=list[float])

    def see(self, batch: Batch) -> float:
        """Take a batch in; return the standard deviation of all discounted returns so far."""
        for env in range(batch.rewards.shape[1]):
            for t in range(batch.rewards.shape[0]):
                if not batch.valid[t, env]:
                    continue
                paid = self.under_way.setdefault(env, [])
                paid.append(float(batch.rewards[t, env]))
                ages = range(len(paid) - 1, -1, -1)
                total = sum(self.gamma**age * r for age, r in zip(ages, paid, strict=True))
                self.returns.append(total)
                if batch.done[t, env]:
                    self.under_way[env] = []
        return float(np.std(self.returns))


def check(found: torch.Tensor, batch: Batch, deviation: float) -> None:
    expected = (batch.rewards / deviation).clamp(-10, 10)
    torch.testing.assert_close(found[batch.valid], expected[batch.valid], rtol=1e-5, atol=1e-6)


@given(columns=layouts(), seed=st.integers(0, 2**31), gamma=st.sampled_from([0.0, 0.5, 0.99, 1.0]))
def test_rewards_are_divided_by_the_deviation_of_the_discounted_return(
    columns: tuple[str, ...], seed: int, gamma: float
) -> None:
    batch = batch_of(random_trajectories(columns, seed))
    if int(batch.valid.sum()) < 2:
        return
    deviation = Reference(gamma).see(batch)
    if deviation < 0.01:
        return
    check(RewardScale(gamma, carry=True).scale(batch), batch, deviation)


def test_statistics_and_running_returns_are_carried_over_batches() -> None:
    scale, reference = RewardScale(GAMMA, carry=True), Reference(GAMMA)
    for number in range(6):
        # an env that is done in the last row begins the next batch with a reset
        columns = [
            ("....", "..Tx", "...U"),
            ("....", "T" + "x..", "x..."),
            (".L..", "U" + "x..", "..Tx"),
        ]
        batch = batch_of(random_trajectories(columns[number % 3], number))
        check(scale.scale(batch), batch, reference.see(batch))


def test_whole_episodes_carry_statistics_over_batches_but_no_running_return() -> None:
    scale, returns = RewardScale(GAMMA, carry=False), list[float]()
    for number in range(4):
        batch = batch_of(random_trajectories(("..Tx", "....", ".Txx"), number))
        fresh = Reference(GAMMA)
        fresh.see(batch)
        returns += fresh.returns
        check(scale.scale(batch), batch, float(np.std(returns)))


def test_by_hand() -> None:
    # gamma 0.5; rewards 2, 4 and an end; then 6: returns 2, 1 + 4 = 5, 6
    # mean 13 / 3, mean square 65 / 3, variance 65 / 3 - 169 / 9 = 26 / 9
    rewards = torch.tensor([[2.0], [4.0], [0.0], [6.0]])
    batch = batch_of(trajectories_of(".Tx.", rewards=rewards, values=torch.zeros(5, 1)))
    found = RewardScale(0.5, carry=True).scale(batch)
    assert found[batch.valid].tolist() == pytest.approx([r / (26 / 9) ** 0.5 for r in (2, 4, 6)])


def test_what_was_paid_is_not_modified() -> None:
    batch = batch_of(random_trajectories(LAYOUT, 0))
    before = batch.rewards.clone()
    RewardScale(GAMMA, carry=True).scale(batch)
    assert torch.equal(batch.rewards, before)


def test_no_mean_is_subtracted_so_signs_stay() -> None:
    batch = batch_of(random_trajectories(LAYOUT, 0))
    batch = dataclasses.replace(batch, rewards=batch.rewards.abs() + 5)
    assert (RewardScale(GAMMA, carry=True).scale(batch)[batch.valid] > 0).all()


def test_scaled_rewards_are_cut_to_10() -> None:
    batch = batch_of(random_trajectories(("." * 12,), 0))
    rewards = torch.zeros(12, 1)
    rewards[3], rewards[7] = 1e3, -1e3
    batch = dataclasses.replace(batch, rewards=rewards)
    # a deviation of 1e3 * sqrt(1 / 6) at gamma 0 scales them to +-2.4
    assert float(RewardScale(0.0, carry=True).scale(batch).abs().max()) == pytest.approx(6**0.5)
    many = dataclasses.replace(
        batch_of(random_trajectories(("." * 500,), 0)), rewards=torch.zeros(500, 1)
    )
    many.rewards[3], many.rewards[7] = 1e3, -1e3
    found = RewardScale(0.0, carry=True).scale(many)
    assert (float(found.max()), float(found.min())) == (10, -10)


def test_the_cut_is_where_it_is_asked_for() -> None:
    # at gamma 0 the deviation of these returns is 1
    batch = batch_of(random_trajectories(("." * 4,), 0))
    rewards = torch.tensor([[2.0], [0.0], [1.0], [1.0]]) * 2**0.5
    batch = dataclasses.replace(batch, rewards=rewards)
    found = RewardScale(0.0, carry=True, clip=1.25).scale(batch)
    assert found.flatten().tolist() == pytest.approx([1.25, 0, 1.25, 1.25])
    wide = RewardScale(0.0, carry=True, clip=2.0).scale(batch)
    assert wide.flatten().tolist() == pytest.approx([2, 0, 2**0.5, 2**0.5])


def test_what_stands_on_invalid_rows_changes_nothing() -> None:
    batch = batch_of(random_trajectories(LAYOUT, 0))
    changed = dataclasses.replace(batch, rewards=torch.where(batch.valid, batch.rewards, 1e6))
    first, second = RewardScale(GAMMA, carry=True), RewardScale(GAMMA, carry=True)
    found = first.scale(batch)[batch.valid]
    assert torch.equal(second.scale(changed)[batch.valid], found)
    for name, array in first.state().items():
        np.testing.assert_array_equal(second.state()[name], array)


def test_a_loaded_scale_goes_on_bit_for_bit() -> None:
    first, second = RewardScale(GAMMA, carry=True), RewardScale(GAMMA, carry=True)
    first.scale(batch_of(random_trajectories(LAYOUT, 0)))
    second.load(first.state())
    batch = batch_of(random_trajectories(LAYOUT, 1))
    assert torch.equal(first.scale(batch), second.scale(batch))
    for name, array in first.state().items():
        np.testing.assert_array_equal(second.state()[name], array)


def test_state_is_a_copy() -> None:
    scale = RewardScale(GAMMA, carry=True)
    scale.scale(batch_of(random_trajectories(LAYOUT, 0)))
    state = scale.state()
    kept = {name: array.copy() for name, array in state.items()}
    scale.scale(batch_of(random_trajectories(LAYOUT, 1)))
    for name, array in kept.items():
        np.testing.assert_array_equal(state[name], array)
