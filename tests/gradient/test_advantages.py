import dataclasses
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from distpg.gradient.advantages import gae, normalize, reward_to_go, total_return
from distpg.gradient.paths import Paths
from tests.gradient.episodes import Episode, episodes_of, layouts, paths_of, random_paths

seeds = st.integers(0, 2**31)
fractions = st.sampled_from([0.0, 0.3, 0.5, 0.9, 0.99, 1.0])


def gae_of(paths: Paths, gamma: float, gae_lambda: float) -> Tensor:
    ends = (paths.terminated, paths.truncated)
    return gae(
        paths.rewards, paths.values, paths.next_values, *ends, gamma=gamma, gae_lambda=gae_lambda
    )


def reward_to_go_of(paths: Paths, gamma: float) -> Tensor:
    ends = (paths.terminated, paths.truncated)
    return reward_to_go(paths.rewards, paths.next_values, *ends, gamma=gamma)


def total_return_of(paths: Paths, gamma: float) -> Tensor:
    ends = (paths.terminated, paths.truncated, paths.valid)
    return total_return(paths.rewards, paths.next_values, *ends, gamma=gamma)


CREDITS: dict[str, Callable[[Paths], Tensor]] = {
    "gae": lambda paths: gae_of(paths, 0.9, 0.8),
    "reward_to_go": lambda paths: reward_to_go_of(paths, 0.9),
    "total_return": lambda paths: total_return_of(paths, 0.9),
}
every_credit = pytest.mark.parametrize("credit", CREDITS.values(), ids=CREDITS.keys())


def by_hand(column: str) -> Paths:
    # one env that pays 1, 2, 0, 4; V of its five observations is 1, 2, 6, 4, 8
    rewards = torch.tensor([[1.0], [2.0], [0.0], [4.0]])
    values = torch.tensor([[1.0], [2.0], [6.0], [4.0], [8.0]])
    return paths_of(column, rewards=rewards, values=values)


def at(credit: Tensor, *rows: int) -> list[float]:
    return credit[list(rows), 0].tolist()


def test_gae_by_hand_where_an_episode_terminates() -> None:
    # gamma = lambda = 0.5, so credit fades by 0.25 a step
    # TD errors: 1 + 0.5 * 2 - 1 = 1;  2 - 2 = 0, nothing is bootstrapped;  4 + 0.5 * 8 - 4 = 4
    # advantages: 1 + 0.25 * 0 = 1;  0;  and 4 in the next episode
    assert at(gae_of(by_hand(".Tx."), 0.5, 0.5), 0, 1, 3) == [1, 0, 4]


def test_gae_by_hand_where_an_episode_is_truncated() -> None:
    # the second TD error is 2 + 0.5 * 6 - 2 = 3, so the first advantage is 1 + 0.25 * 3
    assert at(gae_of(by_hand(".Ux."), 0.5, 0.5), 0, 1, 3) == [1.75, 3, 4]


def test_gae_by_hand_where_an_episode_goes_on() -> None:
    # TD errors 1, 2 + 3 - 2 = 3, 0 + 2 - 6 = -4, 4
    # backwards: 4;  -4 + 1 = -3;  3 - 0.75 = 2.25;  1 + 0.5625
    assert at(gae_of(by_hand("...."), 0.5, 0.5), 0, 1, 2, 3) == [1.5625, 2.25, -3, 4]


def test_reward_to_go_by_hand_where_an_episode_terminates() -> None:
    # 1 + 0.5 * 2 = 2;  2;  the next one is cut by the last row: 4 + 0.5 * 8
    assert at(reward_to_go_of(by_hand(".Tx."), 0.5), 0, 1, 3) == [2, 2, 8]


def test_reward_to_go_by_hand_where_an_episode_is_truncated() -> None:
    # 2 + 0.5 * 6 = 5;  1 + 0.5 * 5 = 3.5
    assert at(reward_to_go_of(by_hand(".Ux."), 0.5), 0, 1, 3) == [3.5, 5, 8]


def test_reward_to_go_without_values_ends_at_the_cut() -> None:
    paths = by_hand(".Ux.")
    paths = dataclasses.replace(paths, next_values=torch.zeros_like(paths.next_values))
    assert at(reward_to_go_of(paths, 0.5), 0, 1, 3) == [2, 2, 4]


def test_total_return_by_hand() -> None:
    # each step gets the first step's return-to-go of its episode
    assert at(total_return_of(by_hand(".Tx."), 0.5), 0, 1, 3) == [2, 2, 8]
    assert at(total_return_of(by_hand(".Ux."), 0.5), 0, 1, 3) == [3.5, 3.5, 8]


def test_a_lost_life_ends_an_episode_though_the_next_row_is_valid() -> None:
    # rewards 1, 2 | 0, 4 and a cut before V = 8
    # TD errors: 1, 2 - 2 = 0 | 0 + 0.5 * 4 - 6 = -4, 4; the third advantage is -4 + 0.25 * 4
    paths = by_hand(".L..")
    assert at(gae_of(paths, 0.5, 0.5), 0, 1, 2, 3) == [1, 0, -3, 4]
    assert at(reward_to_go_of(paths, 0.5), 0, 1, 2, 3) == [2, 2, 4, 8]
    assert at(total_return_of(paths, 0.5), 0, 1, 2, 3) == [2, 2, 4, 4]


def test_what_is_both_terminated_and_truncated_bootstraps_nothing() -> None:
    assert at(gae_of(by_hand(".Bx."), 0.5, 0.5), 0, 1) == [1, 0]
    assert at(reward_to_go_of(by_hand(".Bx."), 0.5), 0, 1) == [2, 2]


@every_credit
def test_envs_side_by_side_do_not_mix(credit: Callable[[Paths], Tensor]) -> None:
    columns = ("..Tx.", ".Ux.T", "L..Tx")
    together = random_paths(columns, seed=3)
    for env in range(len(columns)):
        alone = Paths(
            **{
                field.name: getattr(together, field.name)[:, env : env + 1]
                for field in dataclasses.fields(Paths)
                if field.name != "ratios"
            }
        )
        assert_close(credit(together)[:, env : env + 1], credit(alone))


# The oracle: definitions as sums over one episode, in Python's floats.


def return_from(paths: Paths, episode: Episode, first: int, gamma: float) -> float:
    """Sum what is paid from `first` on, and what the successor of a cut is worth."""
    rewards = paths.rewards[:, episode.env].tolist()
    rows = [row for row in episode.rows if row >= first]
    total = sum(gamma ** (row - first) * rewards[row] for row in rows)
    if episode.end in ".U":
        total += gamma ** len(rows) * float(paths.next_values[rows[-1], episode.env])
    return total


def advantage_over_n(paths: Paths, episode: Episode, first: int, n: int, gamma: float) -> float:
    """n rewards and then V, less V where they began."""
    env = episode.env
    rows = range(first, first + n)
    total = sum(gamma ** (row - first) * float(paths.rewards[row, env]) for row in rows)
    if rows[-1] < episode.rows[-1] or episode.end in ".U":
        total += gamma**n * float(paths.next_values[rows[-1], env])
    return total - float(paths.values[first, env])


def gae_from(paths: Paths, episode: Episode, first: int, gamma: float, gae_lambda: float) -> float:
    """Average n-step advantages, weighted by (1 - lambda) lambda^(n-1); the last has the rest."""
    longest = episode.rows[-1] - first + 1
    mixed = gae_lambda ** (longest - 1) * advantage_over_n(paths, episode, first, longest, gamma)
    for n in range(1, longest):
        weight = (1 - gae_lambda) * gae_lambda ** (n - 1)
        mixed += weight * advantage_over_n(paths, episode, first, n, gamma)
    return mixed


@given(columns=layouts(), seed=seeds, gamma=fractions, gae_lambda=fractions)
def test_gae_is_the_weighted_mean_of_all_n_step_advantages(
    columns: tuple[str, ...], seed: int, gamma: float, gae_lambda: float
) -> None:
    paths = random_paths(columns, seed)
    found = gae_of(paths, gamma, gae_lambda)
    for episode in episodes_of(columns):
        for row in episode.rows:
            expected = gae_from(paths, episode, row, gamma, gae_lambda)
            assert float(found[row, episode.env]) == pytest.approx(expected, abs=1e-9)


@given(columns=layouts(), seed=seeds, gamma=fractions)
def test_reward_to_go_is_the_sum_of_the_discounted_rest(
    columns: tuple[str, ...], seed: int, gamma: float
) -> None:
    paths = random_paths(columns, seed)
    found = reward_to_go_of(paths, gamma)
    for episode in episodes_of(columns):
        for row in episode.rows:
            expected = return_from(paths, episode, row, gamma)
            assert float(found[row, episode.env]) == pytest.approx(expected, abs=1e-9)


@given(columns=layouts(), seed=seeds, gamma=fractions)
def test_total_return_is_the_sum_from_the_first_step_for_every_step(
    columns: tuple[str, ...], seed: int, gamma: float
) -> None:
    paths = random_paths(columns, seed)
    found = total_return_of(paths, gamma)
    for episode in episodes_of(columns):
        expected = return_from(paths, episode, episode.rows[0], gamma)
        for row in episode.rows:
            assert float(found[row, episode.env]) == pytest.approx(expected, abs=1e-9)


@given(columns=layouts(), seed=seeds, gamma=fractions)
def test_gae_with_lambda_1_is_the_return_minus_the_value(
    columns: tuple[str, ...], seed: int, gamma: float
) -> None:
    paths = random_paths(columns, seed)
    expected = reward_to_go_of(paths, gamma) - paths.values
    assert_close(gae_of(paths, gamma, 1.0)[paths.valid], expected[paths.valid], rtol=0, atol=1e-9)


@given(columns=layouts(), seed=seeds, gamma=fractions)
def test_gae_with_lambda_0_is_the_one_step_td_error(
    columns: tuple[str, ...], seed: int, gamma: float
) -> None:
    paths = random_paths(columns, seed)
    bootstrap = torch.where(paths.terminated, 0.0, gamma * paths.next_values)
    expected = paths.rewards + bootstrap - paths.values
    assert_close(gae_of(paths, gamma, 0.0)[paths.valid], expected[paths.valid])


@given(columns=layouts(), seed=seeds)
def test_without_a_future_the_reward_is_all_the_credit(columns: tuple[str, ...], seed: int) -> None:
    paths = random_paths(columns, seed)
    valid = paths.valid
    assert_close(reward_to_go_of(paths, 0.0)[valid], paths.rewards[valid])
    assert_close(gae_of(paths, 0.0, 0.95)[valid], (paths.rewards - paths.values)[valid])


@every_credit
@given(columns=layouts(), seed=seeds)
def test_rewards_of_an_episode_credit_no_other_episode(
    credit: Callable[[Paths], Tensor], columns: tuple[str, ...], seed: int
) -> None:
    paths = random_paths(columns, seed)
    before = credit(paths)
    for episode in episodes_of(columns):
        own = torch.zeros_like(paths.valid)
        own[episode.rows, episode.env] = True
        changed = dataclasses.replace(paths, rewards=torch.where(own, 100.0, paths.rewards))
        after = credit(changed)
        others = paths.valid & ~own
        assert torch.equal(after[others], before[others])
        assert (after[own] != before[own]).all()


@every_credit
@given(columns=layouts(), seed=seeds)
def test_nothing_after_a_done_changes_the_credit_before_it(
    credit: Callable[[Paths], Tensor], columns: tuple[str, ...], seed: int
) -> None:
    paths = random_paths(columns, seed)
    before = credit(paths)
    for row, env in paths.done.nonzero().tolist():
        later = torch.zeros_like(paths.valid)
        later[row + 1 :, env] = True
        changed = dataclasses.replace(
            paths,
            rewards=torch.where(later, -50.0, paths.rewards),
            values=torch.where(later, 70.0, paths.values),
            next_values=torch.where(later, -90.0, paths.next_values),
        )
        assert torch.equal(credit(changed)[: row + 1], before[: row + 1])


@every_credit
@given(columns=layouts(), seed=seeds)
def test_what_stands_on_invalid_rows_changes_no_valid_row(
    credit: Callable[[Paths], Tensor], columns: tuple[str, ...], seed: int
) -> None:
    paths = random_paths(columns, seed)
    changed = dataclasses.replace(
        paths,
        rewards=torch.where(paths.valid, paths.rewards, 1e6),
        values=torch.where(paths.valid, paths.values, -1e6),
        next_values=torch.where(paths.valid, paths.next_values, 1e7),
    )
    assert torch.equal(credit(changed)[paths.valid], credit(paths)[paths.valid])


@pytest.mark.parametrize("gae_lambda", [0.0, 0.5, 0.95, 1.0])
def test_a_time_limit_costs_nothing_in_an_env_that_pays_1_forever(gae_lambda: float) -> None:
    gamma = 0.9
    column = "." * 9 + "U" + "x" + "." * 4
    values = torch.full((len(column) + 1, 1), 1 / (1 - gamma), dtype=torch.float64)
    rewards = torch.ones(len(column), 1, dtype=torch.float64)
    cut = paths_of(column, rewards=rewards, values=values)
    advantages = gae_of(cut, gamma, gae_lambda)
    assert_close(advantages[cut.valid], torch.zeros_like(advantages[cut.valid]))
    over = paths_of(column.replace("U", "T"), rewards=rewards, values=values)
    # taken for an end, the cut would lose all that comes after: 0.9 / (1 - 0.9) = 9
    assert float(gae_of(over, gamma, gae_lambda)[9, 0]) == pytest.approx(-9)


def test_normalized_advantages_have_mean_0_and_standard_deviation_1() -> None:
    # 1, 2, 6: mean 3, squared distances 4 + 1 + 9 = 14, variance 14 / 3
    advantages = normalize(torch.tensor([1.0, 2.0, 6.0], dtype=torch.float64))
    scale = (14 / 3) ** 0.5
    assert advantages.tolist() == pytest.approx([-2 / scale, -1 / scale, 3 / scale])


def test_normalized_advantages_that_are_all_equal_become_0() -> None:
    assert normalize(torch.full((5,), 7.0)).tolist() == [0] * 5
