import dataclasses

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from distpg.gradient.trajectories import Trajectories
from tests.gradient.credits import reward_to_go_of, total_return_of
from tests.gradient.episodes import (
    Episode,
    at,
    by_hand,
    episodes_of,
    layouts,
    random_trajectories,
    ratio_product,
)

seeds = st.integers(0, 2**31)
fractions = st.sampled_from([0.0, 0.3, 0.5, 0.9, 0.99, 1.0])


def test_reward_to_go_by_hand_where_an_episode_terminates() -> None:
    # 1 + 0.5 * 2 = 2;  2;  the next one is cut by the last row: 4 + 0.5 * 8
    assert at(reward_to_go_of(by_hand(".Tx."), 0.5), 0, 1, 3) == [2, 2, 8]


def test_reward_to_go_by_hand_where_an_episode_is_truncated() -> None:
    # 2 + 0.5 * 6 = 5;  1 + 0.5 * 5 = 3.5
    assert at(reward_to_go_of(by_hand(".Ux."), 0.5), 0, 1, 3) == [3.5, 5, 8]


def test_reward_to_go_by_hand_weighs_what_follows_a_step_by_the_ratio_of_the_next() -> None:
    # 4 + 0.5 * 8 = 8;  0 + 0.5 * 1 * 8 = 4;  2 + 0.5 * 4 * 4 = 10;  1 + 0.5 * 2 * 10
    assert at(reward_to_go_of(by_hand("....", 9, 2, 4, 1), 0.5), 0, 1, 2, 3) == [11, 10, 4, 8]
    # the last reward of an episode, 2, and V of a cut's successor, 6, come under the last ratio
    assert at(reward_to_go_of(by_hand(".Tx.", 9, 2, 4, 1), 0.5), 0, 1, 3) == [3, 2, 8]
    assert at(reward_to_go_of(by_hand(".Ux.", 9, 2, 4, 1), 0.5), 0, 1, 3) == [6, 5, 8]
    assert at(reward_to_go_of(by_hand(".L..", 9, 2, 4, 1), 0.5), 0, 1, 2, 3) == [3, 2, 4, 8]


def test_reward_to_go_without_values_ends_at_the_cut() -> None:
    trajectories = by_hand(".Ux.")
    trajectories = dataclasses.replace(
        trajectories, next_values=torch.zeros_like(trajectories.next_values)
    )
    assert at(reward_to_go_of(trajectories, 0.5), 0, 1, 3) == [2, 2, 4]


def test_total_return_by_hand() -> None:
    # each step gets the first step's return-to-go of its episode
    assert at(total_return_of(by_hand(".Tx."), 0.5), 0, 1, 2, 3) == [2, 2, 0, 8]
    assert at(total_return_of(by_hand(".Ux."), 0.5), 0, 1, 2, 3) == [3.5, 3.5, 0, 8]


def test_total_return_by_hand_leaves_what_was_paid_before_a_step_as_it_was() -> None:
    # returns-to-go 11, 10, 4, 8, as above; before them 0, 1, 1 + 0.5 * 2 and the same were paid:
    # 11;  1 + 0.5 * 10 = 6;  2 + 0.25 * 4 = 3;  2 + 0.125 * 8 = 3
    assert at(total_return_of(by_hand("....", 9, 2, 4, 1), 0.5), 0, 1, 2, 3) == [11, 6, 3, 3]
    # 3;  1 + 0.5 * 2;  and in the next episode 8
    assert at(total_return_of(by_hand(".Tx.", 9, 2, 4, 1), 0.5), 0, 1, 2, 3) == [3, 2, 0, 8]


def test_a_lost_life_ends_a_return_though_the_next_row_is_valid() -> None:
    # rewards 1, 2 | 0, 4 and a cut before V = 8
    trajectories = by_hand(".L..")
    assert at(reward_to_go_of(trajectories, 0.5), 0, 1, 2, 3) == [2, 2, 4, 8]
    assert at(total_return_of(trajectories, 0.5), 0, 1, 2, 3) == [2, 2, 4, 4]


def test_what_is_both_terminated_and_truncated_is_worth_nothing_more() -> None:
    assert at(reward_to_go_of(by_hand(".Bx."), 0.5), 0, 1) == [2, 2]
    assert at(total_return_of(by_hand(".Bx."), 0.5), 0, 1) == [2, 2]


def return_from(trajectories: Trajectories, episode: Episode, first: int, gamma: float) -> float:
    """Sum what is paid from `first` on, and what the successor of a cut is worth.

    Each under the product of the ratios of the steps between.
    """
    env = episode.env
    rows = [row for row in episode.rows if row >= first]
    total = sum(
        gamma ** (row - first)
        * ratio_product(trajectories, env, first, row)
        * float(trajectories.rewards[row, env])
        for row in rows
    )
    if episode.end in ".U":
        worth = ratio_product(trajectories, env, first, rows[-1]) * float(
            trajectories.next_values[rows[-1], env]
        )
        total += gamma ** len(rows) * worth
    return total


@pytest.mark.parametrize("ratios", [False, True])
@given(columns=layouts(), seed=seeds, gamma=fractions)
def test_reward_to_go_is_the_sum_of_the_discounted_rest(
    ratios: bool, columns: tuple[str, ...], seed: int, gamma: float
) -> None:
    trajectories = random_trajectories(columns, seed, ratios=ratios)
    found = reward_to_go_of(trajectories, gamma)
    for episode in episodes_of(columns):
        for row in episode.rows:
            expected = return_from(trajectories, episode, row, gamma)
            assert float(found[row, episode.env]) == pytest.approx(expected, rel=1e-9, abs=1e-9)


@given(columns=layouts(), seed=seeds, gamma=fractions)
def test_total_return_is_the_sum_from_the_first_step_for_every_step(
    columns: tuple[str, ...], seed: int, gamma: float
) -> None:
    trajectories = random_trajectories(columns, seed)
    found = total_return_of(trajectories, gamma)
    for episode in episodes_of(columns):
        expected = return_from(trajectories, episode, episode.rows[0], gamma)
        for row in episode.rows:
            assert float(found[row, episode.env]) == pytest.approx(expected, abs=1e-9)


@given(columns=layouts(), seed=seeds, gamma=fractions)
def test_total_return_is_what_was_paid_and_the_corrected_rest(
    columns: tuple[str, ...], seed: int, gamma: float
) -> None:
    trajectories = random_trajectories(columns, seed, ratios=True)
    found = total_return_of(trajectories, gamma)
    for episode in episodes_of(columns):
        for elapsed, row in enumerate(episode.rows):
            before = trajectories.rewards[episode.rows[:elapsed], episode.env].tolist()
            paid = sum(gamma**step * reward for step, reward in enumerate(before))
            expected = paid + gamma**elapsed * return_from(trajectories, episode, row, gamma)
            assert float(found[row, episode.env]) == pytest.approx(expected, rel=1e-9, abs=1e-9)


@given(columns=layouts(), seed=seeds, gamma=fractions)
def test_ratios_of_1_change_no_return(columns: tuple[str, ...], seed: int, gamma: float) -> None:
    plain = random_trajectories(columns, seed)
    trajectories = dataclasses.replace(plain, ratios=torch.ones_like(plain.rewards))
    assert torch.equal(reward_to_go_of(trajectories, gamma), reward_to_go_of(plain, gamma))
    assert torch.equal(total_return_of(trajectories, gamma), total_return_of(plain, gamma))


@given(columns=layouts(), seed=seeds)
def test_without_a_future_the_reward_is_the_return(columns: tuple[str, ...], seed: int) -> None:
    trajectories = random_trajectories(columns, seed)
    assert_close(
        reward_to_go_of(trajectories, 0.0)[trajectories.valid],
        trajectories.rewards[trajectories.valid],
    )
