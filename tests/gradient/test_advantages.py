import dataclasses
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from distpg.config.settings import GradientSettings
from distpg.gradient.advantages import estimate, normalize
from distpg.gradient.trajectories import Trajectories
from tests.gradient.credits import (
    gae_of,
    n_step_of,
    reward_to_go_of,
    total_return_of,
    vtrace_of,
)
from tests.gradient.episodes import (
    Episode,
    at,
    by_hand,
    episodes_of,
    layouts,
    random_trajectories,
    ratio_product,
    trajectories_of,
)

seeds = st.integers(0, 2**31)
fractions = st.sampled_from([0.0, 0.3, 0.5, 0.9, 0.99, 1.0])


def played(trajectories: Trajectories) -> Trajectories:
    """Leave the ratios out."""
    return dataclasses.replace(trajectories, ratios=None)


CREDITS: dict[str, Callable[[Trajectories], Tensor]] = {
    "gae": lambda trajectories: gae_of(played(trajectories), 0.9, 0.8),
    "n_step": lambda trajectories: n_step_of(played(trajectories), 0.9, 3),
    "reward_to_go": lambda trajectories: reward_to_go_of(played(trajectories), 0.9),
    "total_return": lambda trajectories: total_return_of(played(trajectories), 0.9),
    "gae, corrected": lambda trajectories: gae_of(trajectories, 0.9, 0.8),
    "n_step, corrected": lambda trajectories: n_step_of(trajectories, 0.9, 3),
    "reward_to_go, corrected": lambda trajectories: reward_to_go_of(trajectories, 0.9),
    "total_return, corrected": lambda trajectories: total_return_of(trajectories, 0.9),
    "vtrace": lambda trajectories: vtrace_of(trajectories, 0.9)[0],
    "vtrace's targets": lambda trajectories: vtrace_of(trajectories, 0.9)[1],
}
every_credit = pytest.mark.parametrize("credit", CREDITS.values(), ids=CREDITS.keys())


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


def test_gae_by_hand_weighs_what_comes_back_to_a_step_by_the_ratio_of_the_next() -> None:
    # lambda = 1 and ratios 9, 2, 4, 1; TD errors 1, 3, -4, 4, so backwards
    # 4;  -4 + 0.5 * 1 * 4 = -2;  3 + 0.5 * 4 * -2 = -1;  1 + 0.5 * 2 * -1 = 0
    assert at(gae_of(by_hand("....", 9, 2, 4, 1), 0.5, 1.0), 0, 1, 2, 3) == [0, -1, -2, 4]
    # the last TD error of an episode is 3 where it is truncated; its ratio is 2
    assert at(gae_of(by_hand(".Ux.", 9, 2, 4, 1), 0.5, 1.0), 0, 1, 3) == [4, 3, 4]


# n_step, gamma = 0.5. The targets of a single step are 1 + 0.5 * 2 = 2, 2 + 0.5 * 6 = 5,
# 0 + 0.5 * 4 = 2 and 4 + 0.5 * 8 = 8. Over two steps, a target is the reward and half the next
# row's target of a single one: 3.5, 3, 4; over three 2.5, 4; over four 3; the last stays 8.


@pytest.mark.parametrize(
    ("num_steps", "advantages"),
    [
        (1, [1, 3, -4, 4]),
        (2, [2.5, 1, -2, 4]),
        (3, [1.5, 2, -2, 4]),
        (4, [2, 2, -2, 4]),
        (10**6, [2, 2, -2, 4]),
    ],
)
def test_n_step_by_hand_where_an_episode_goes_on(num_steps: int, advantages: list[float]) -> None:
    assert at(n_step_of(by_hand("...."), 0.5, num_steps), 0, 1, 2, 3) == advantages


@pytest.mark.parametrize(
    ("num_steps", "terminated", "truncated"),
    # terminated: 1 + 0.5 * 2 - 1 = 1, at first by V and then by the reward, which are alike; 2 - 2
    # truncated: the target of the second row is 5 for any n, so the first's is 1 + 0.5 * 5 from n=2
    [(1, [1, 0, 4], [1, 3, 4]), (2, [1, 0, 4], [2.5, 3, 4]), (10**6, [1, 0, 4], [2.5, 3, 4])],
)
def test_n_step_by_hand_where_an_episode_ends(
    num_steps: int, terminated: list[float], truncated: list[float]
) -> None:
    assert at(n_step_of(by_hand(".Tx."), 0.5, num_steps), 0, 1, 3) == terminated
    assert at(n_step_of(by_hand(".Bx."), 0.5, num_steps), 0, 1, 3) == terminated
    assert at(n_step_of(by_hand(".Ux."), 0.5, num_steps), 0, 1, 3) == truncated


@pytest.mark.parametrize(
    ("num_steps", "advantages"),
    # two steps: 1 + 0.5 * 2 * 5 = 6, 2 + 0.5 * 4 * 2 = 6, 0 + 0.5 * 1 * 8 = 4
    # three: 1 + 0.5 * 2 * 6 = 7, 2 + 0.5 * 4 * 4 = 10;  four: 1 + 0.5 * 2 * 10 = 11
    [(1, [1, 3, -4, 4]), (2, [5, 4, -2, 4]), (3, [6, 8, -2, 4]), (4, [10, 8, -2, 4])],
)
def test_n_step_by_hand_weighs_what_follows_a_step_by_the_ratio_of_the_next(
    num_steps: int, advantages: list[float]
) -> None:
    assert at(n_step_of(by_hand("....", 9, 2, 4, 1), 0.5, num_steps), 0, 1, 2, 3) == advantages


# V-trace, gamma = 0.5, ratios 0.5, 4, 2, 1. TD errors 1, 3, -4, 4 where the episode goes on.
EVERY = float("inf")


def vtrace_by_hand(column: str, rho_bar: float, c_bar: float, *rows: int) -> list[list[float]]:
    trajectories = by_hand(column, 0.5, 4, 2, 1)
    return [at(table, *rows) for table in vtrace_of(trajectories, 0.5, rho_bar, c_bar)]


def test_vtrace_by_hand_where_nothing_is_limited() -> None:
    # v - V: 1 * 4 = 4;  2 * -4 + 0.5 * 2 * 4 = -4;  4 * 3 + 0.5 * 4 * -4 = 4;
    # 0.5 * 1 + 0.5 * 0.5 * 4 = 1.5. Advantages: 4;  -4 + 0.5 * 4;  3 + 0.5 * -4;  1 + 0.5 * 4
    found = vtrace_by_hand("....", EVERY, EVERY, 0, 1, 2, 3)
    assert found == [[3, 1, -2, 4], [2.5, 6, 2, 8]]


def test_vtrace_by_hand_where_rho_bar_and_c_bar_bite() -> None:
    # ratios limited by 3 to 0.5, 3, 2, 1, and by 1 to 0.5, 1, 1, 1. v - V: 4;
    # 2 * -4 + 0.5 * 4 = -6;  3 * 3 + 0.5 * -6 = 6;  0.5 * 1 + 0.5 * 0.5 * 6 = 2
    found = vtrace_by_hand("....", 3.0, 1.0, 0, 1, 2, 3)
    assert found == [[4, 0, -2, 4], [3, 8, 0, 8]]
    # with rho_bar = 0.5 as well: 2;  -2 + 0.5 * 2 = -1;  1.5 - 0.5 = 1;  0.5 + 0.25 = 0.75
    found = vtrace_by_hand("....", 0.5, 1.0, 0, 1, 2, 3)
    assert found == [[1.5, 2.5, -3, 4], [1.75, 3, 5, 6]]


def test_vtrace_by_hand_where_an_episode_ends() -> None:
    # the second TD error is 0 where nothing is bootstrapped
    found = vtrace_by_hand(".Tx.", EVERY, EVERY, 0, 1, 3)
    assert found == [[1, 0, 4], [1.5, 2, 8]]
    # truncated, it is 3: v - V is 4 * 3 = 12, and before it 0.5 + 0.25 * 12 = 3.5
    found = vtrace_by_hand(".Ux.", EVERY, EVERY, 0, 1, 3)
    assert found == [[7, 3, 4], [4.5, 14, 8]]


def test_a_lost_life_ends_an_episode_though_the_next_row_is_valid() -> None:
    # rewards 1, 2 | 0, 4 and a cut before V = 8
    # TD errors: 1, 2 - 2 = 0 | 0 + 0.5 * 4 - 6 = -4, 4; the third advantage is -4 + 0.25 * 4
    trajectories = by_hand(".L..")
    assert at(gae_of(trajectories, 0.5, 0.5), 0, 1, 2, 3) == [1, 0, -3, 4]
    assert at(n_step_of(trajectories, 0.5, 1), 0, 1, 2, 3) == [1, 0, -4, 4]
    assert at(n_step_of(trajectories, 0.5, 2), 0, 1, 2, 3) == [1, 0, -2, 4]
    assert vtrace_by_hand(".L..", EVERY, EVERY, 0, 1, 2, 3) == [[1, 0, -2, 4], [1.5, 2, 2, 8]]


def test_what_is_both_terminated_and_truncated_bootstraps_nothing() -> None:
    assert at(gae_of(by_hand(".Bx."), 0.5, 0.5), 0, 1) == [1, 0]
    assert vtrace_by_hand(".Bx.", EVERY, EVERY, 0, 1) == [[1, 0], [1.5, 2]]


@every_credit
def test_envs_side_by_side_do_not_mix(credit: Callable[[Trajectories], Tensor]) -> None:
    columns = ("..Tx.", ".Ux.T", "L..Tx")
    together = random_trajectories(columns, seed=3, ratios=True)
    for env in range(len(columns)):
        alone = Trajectories(
            **{
                field.name: getattr(together, field.name)[:, env : env + 1]
                for field in dataclasses.fields(Trajectories)
            }
        )
        assert_close(credit(together)[:, env : env + 1], credit(alone))


# The oracle: definitions as sums over one episode, in Python's floats.


def advantage_over_n(
    trajectories: Trajectories, episode: Episode, first: int, n: int, gamma: float
) -> float:
    """n rewards and then V, less V where they began; fewer where the episode has no more.

    Each reward is under the product of the ratios of the steps between; V under the same as the
    last reward.
    """
    env = episode.env
    rows = range(first, min(first + n, episode.rows[-1] + 1))
    total = sum(
        gamma ** (row - first)
        * ratio_product(trajectories, env, first, row)
        * float(trajectories.rewards[row, env])
        for row in rows
    )
    if rows[-1] < episode.rows[-1] or episode.end in ".U":
        weight = gamma ** len(rows) * ratio_product(trajectories, env, first, rows[-1])
        total += weight * float(trajectories.next_values[rows[-1], env])
    return total - float(trajectories.values[first, env])


def td_errors(
    trajectories: Trajectories, episode: Episode, first: int, gamma: float
) -> list[float]:
    """One-step advantages from `first` to the end of its episode."""
    rows = [row for row in episode.rows if row >= first]
    return [advantage_over_n(trajectories, episode, row, 1, gamma) for row in rows]


def gae_from(
    trajectories: Trajectories, episode: Episode, first: int, gamma: float, gae_lambda: float
) -> float:
    """Average n-step advantages, weighted by (1 - lambda) lambda^(n-1); the last has the rest."""
    longest = episode.rows[-1] - first + 1
    mixed = gae_lambda ** (longest - 1) * advantage_over_n(
        trajectories, episode, first, longest, gamma
    )
    for n in range(1, longest):
        weight = (1 - gae_lambda) * gae_lambda ** (n - 1)
        mixed += weight * advantage_over_n(trajectories, episode, first, n, gamma)
    return mixed


@given(columns=layouts(), seed=seeds, gamma=fractions, gae_lambda=fractions)
def test_gae_is_the_weighted_mean_of_all_n_step_advantages(
    columns: tuple[str, ...], seed: int, gamma: float, gae_lambda: float
) -> None:
    trajectories = random_trajectories(columns, seed)
    found = gae_of(trajectories, gamma, gae_lambda)
    for episode in episodes_of(columns):
        for row in episode.rows:
            expected = gae_from(trajectories, episode, row, gamma, gae_lambda)
            assert float(found[row, episode.env]) == pytest.approx(expected, abs=1e-9)


@given(columns=layouts(), seed=seeds, gamma=fractions)
def test_gae_with_lambda_1_is_the_return_minus_the_value(
    columns: tuple[str, ...], seed: int, gamma: float
) -> None:
    trajectories = random_trajectories(columns, seed)
    expected = reward_to_go_of(trajectories, gamma) - trajectories.values
    assert_close(
        gae_of(trajectories, gamma, 1.0)[trajectories.valid],
        expected[trajectories.valid],
        rtol=0,
        atol=1e-9,
    )


@given(columns=layouts(), seed=seeds, gamma=fractions)
def test_gae_with_lambda_0_is_the_one_step_td_error(
    columns: tuple[str, ...], seed: int, gamma: float
) -> None:
    trajectories = random_trajectories(columns, seed)
    bootstrap = torch.where(trajectories.terminated, 0.0, gamma * trajectories.next_values)
    expected = trajectories.rewards + bootstrap - trajectories.values
    assert_close(gae_of(trajectories, gamma, 0.0)[trajectories.valid], expected[trajectories.valid])
    assert_close(
        n_step_of(trajectories, gamma, 1)[trajectories.valid], expected[trajectories.valid]
    )


@pytest.mark.parametrize("ratios", [False, True])
@given(columns=layouts(), seed=seeds, gamma=fractions, num_steps=st.integers(1, 13))
def test_n_step_is_n_rewards_and_then_the_value(
    ratios: bool, columns: tuple[str, ...], seed: int, gamma: float, num_steps: int
) -> None:
    trajectories = random_trajectories(columns, seed, ratios=ratios)
    found = n_step_of(trajectories, gamma, num_steps)
    for episode in episodes_of(columns):
        for row in episode.rows:
            expected = advantage_over_n(trajectories, episode, row, num_steps, gamma)
            assert float(found[row, episode.env]) == pytest.approx(expected, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("ratios", [False, True])
@given(columns=layouts(), seed=seeds, gamma=fractions, more=st.integers(0, 3))
def test_n_step_over_all_steps_is_the_return_minus_the_value(
    ratios: bool, columns: tuple[str, ...], seed: int, gamma: float, more: int
) -> None:
    trajectories = random_trajectories(columns, seed, ratios=ratios)
    found = n_step_of(trajectories, gamma, len(trajectories.rewards) + more)
    expected = reward_to_go_of(trajectories, gamma) - trajectories.values
    assert_close(found[trajectories.valid], expected[trajectories.valid], rtol=1e-9, atol=1e-9)


@given(columns=layouts(), seed=seeds, gamma=fractions)
def test_gae_with_ratios_is_the_sum_of_the_corrected_td_errors(
    columns: tuple[str, ...], seed: int, gamma: float
) -> None:
    trajectories = random_trajectories(columns, seed, ratios=True)
    found = gae_of(trajectories, gamma, 1.0)
    for episode in episodes_of(columns):
        for row in episode.rows:
            expected = sum(
                gamma**ahead * ratio_product(trajectories, episode.env, row, row + ahead) * error
                for ahead, error in enumerate(td_errors(played(trajectories), episode, row, gamma))
            )
            assert float(found[row, episode.env]) == pytest.approx(expected, rel=1e-9, abs=1e-9)


@given(columns=layouts(), seed=seeds, gamma=fractions)
def test_vtrace_without_limits_is_gae_with_lambda_1_corrected_in_every_decision(
    columns: tuple[str, ...], seed: int, gamma: float
) -> None:
    trajectories = random_trajectories(columns, seed, ratios=True)
    assert trajectories.ratios is not None
    corrected = gae_of(trajectories, gamma, 1.0)
    advantages, targets = vtrace_of(trajectories, gamma, EVERY, EVERY)
    valid = trajectories.valid
    assert_close(advantages[valid], corrected[valid], rtol=1e-9, atol=1e-9)
    # the target corrects for its own step as well
    expected = trajectories.values + trajectories.ratios * corrected
    assert_close(targets[valid], expected[valid], rtol=1e-9, atol=1e-9)


@given(
    columns=layouts(),
    seed=seeds,
    gamma=fractions,
    rho_bar=st.sampled_from([0.5, 1.0, 1.5, EVERY]),
    c_bar=st.sampled_from([0.5, 1.0, 1.5, EVERY]),
)
def test_vtrace_is_the_sum_of_td_errors_under_limited_ratios(
    columns: tuple[str, ...], seed: int, gamma: float, rho_bar: float, c_bar: float
) -> None:
    trajectories = random_trajectories(columns, seed, ratios=True)
    assert trajectories.ratios is not None
    advantages, targets = vtrace_of(trajectories, gamma, rho_bar, c_bar)
    limited = dataclasses.replace(trajectories, ratios=trajectories.ratios.clamp(max=c_bar))
    for episode in episodes_of(columns):
        env = episode.env
        worth = {episode.rows[-1] + 1: 0.0}  # v - V, by row; none beyond the end
        for row in episode.rows:
            worth[row] = sum(
                gamma**ahead
                * ratio_product(limited, env, row - 1, row + ahead - 1)
                * min(rho_bar, float(trajectories.ratios[row + ahead, env]))
                * error
                for ahead, error in enumerate(td_errors(played(trajectories), episode, row, gamma))
            )
            moved = float(targets[row, env] - trajectories.values[row, env])
            assert moved == pytest.approx(worth[row], rel=1e-9, abs=1e-9)
        for row in episode.rows:
            one_step = advantage_over_n(played(trajectories), episode, row, 1, gamma)
            expected = one_step + gamma * worth[row + 1]
            assert float(advantages[row, env]) == pytest.approx(expected, rel=1e-9, abs=1e-9)


@given(
    columns=layouts(),
    seed=seeds,
    gamma=fractions,
    rho_bar=st.sampled_from([1.0, 2.0]),
    c_bar=st.sampled_from([1.0, 3.0]),
)
def test_vtrace_on_its_own_actions_is_n_step_to_the_end(
    columns: tuple[str, ...], seed: int, gamma: float, rho_bar: float, c_bar: float
) -> None:
    plain = random_trajectories(columns, seed)
    trajectories = dataclasses.replace(plain, ratios=torch.ones_like(plain.rewards))
    advantages, targets = vtrace_of(trajectories, gamma, rho_bar, c_bar)
    expected = n_step_of(plain, gamma, len(plain.rewards))
    valid = trajectories.valid
    assert_close(advantages[valid], expected[valid], rtol=1e-9, atol=1e-9)
    assert_close(targets[valid], (expected + trajectories.values)[valid], rtol=1e-9, atol=1e-9)


@given(columns=layouts(), seed=seeds, gamma=fractions)
def test_ratios_of_1_change_no_advantage(columns: tuple[str, ...], seed: int, gamma: float) -> None:
    plain = random_trajectories(columns, seed)
    trajectories = dataclasses.replace(plain, ratios=torch.ones_like(plain.rewards))
    assert torch.equal(gae_of(trajectories, gamma, 0.8), gae_of(plain, gamma, 0.8))
    assert torch.equal(n_step_of(trajectories, gamma, 3), n_step_of(plain, gamma, 3))


@given(columns=layouts(), seed=seeds)
def test_without_a_future_the_reward_is_all_the_credit(columns: tuple[str, ...], seed: int) -> None:
    trajectories = random_trajectories(columns, seed, ratios=True)
    expected = (trajectories.rewards - trajectories.values)[trajectories.valid]
    for found in (
        gae_of(trajectories, 0.0, 0.95),
        n_step_of(trajectories, 0.0, 4),
        vtrace_of(trajectories, 0.0)[0],
    ):
        assert_close(found[trajectories.valid], expected)


@every_credit
@given(columns=layouts(), seed=seeds)
def test_rewards_of_an_episode_credit_no_other_episode(
    credit: Callable[[Trajectories], Tensor], columns: tuple[str, ...], seed: int
) -> None:
    trajectories = random_trajectories(columns, seed, ratios=True)
    before = credit(trajectories)
    for episode in episodes_of(columns):
        own = torch.zeros_like(trajectories.valid)
        own[episode.rows, episode.env] = True
        changed = dataclasses.replace(
            trajectories, rewards=torch.where(own, 100.0, trajectories.rewards)
        )
        after = credit(changed)
        others = trajectories.valid & ~own
        assert torch.equal(after[others], before[others])
        assert (after[own] != before[own]).all()


@every_credit
@given(columns=layouts(), seed=seeds)
def test_nothing_after_a_done_changes_the_credit_before_it(
    credit: Callable[[Trajectories], Tensor], columns: tuple[str, ...], seed: int
) -> None:
    trajectories = random_trajectories(columns, seed, ratios=True)
    ratios = trajectories.ratios
    assert ratios is not None
    before = credit(trajectories)
    for row, env in trajectories.done.nonzero().tolist():
        later = torch.zeros_like(trajectories.valid)
        later[row + 1 :, env] = True
        changed = dataclasses.replace(
            trajectories,
            rewards=torch.where(later, -50.0, trajectories.rewards),
            values=torch.where(later, 70.0, trajectories.values),
            next_values=torch.where(later, -90.0, trajectories.next_values),
            ratios=torch.where(later, 8.0, ratios),
        )
        assert torch.equal(credit(changed)[: row + 1], before[: row + 1])


@every_credit
@given(columns=layouts(), seed=seeds)
def test_what_stands_on_invalid_rows_changes_no_valid_row(
    credit: Callable[[Trajectories], Tensor], columns: tuple[str, ...], seed: int
) -> None:
    trajectories = random_trajectories(columns, seed, ratios=True)
    ratios = trajectories.ratios
    assert ratios is not None
    changed = dataclasses.replace(
        trajectories,
        rewards=torch.where(trajectories.valid, trajectories.rewards, 1e6),
        values=torch.where(trajectories.valid, trajectories.values, -1e6),
        next_values=torch.where(trajectories.valid, trajectories.next_values, 1e7),
        ratios=torch.where(trajectories.valid, ratios, 1e3),
    )
    assert torch.equal(
        credit(changed)[trajectories.valid], credit(trajectories)[trajectories.valid]
    )


@pytest.mark.parametrize("gae_lambda", [0.0, 0.5, 0.95, 1.0])
def test_a_time_limit_costs_nothing_in_an_env_that_pays_1_forever(gae_lambda: float) -> None:
    gamma = 0.9
    column = "." * 9 + "U" + "x" + "." * 4
    values = torch.full((len(column) + 1, 1), 1 / (1 - gamma), dtype=torch.float64)
    rewards = torch.ones(len(column), 1, dtype=torch.float64)
    cut = trajectories_of(column, rewards=rewards, values=values)
    advantages = gae_of(cut, gamma, gae_lambda)
    assert_close(advantages[cut.valid], torch.zeros_like(advantages[cut.valid]))
    ended = trajectories_of(column.replace("U", "T"), rewards=rewards, values=values)
    # taken for an end, the cut would lose all that comes after: 0.9 / (1 - 0.9) = 9
    assert float(gae_of(ended, gamma, gae_lambda)[9, 0]) == pytest.approx(-9)


def test_normalized_advantages_have_mean_0_and_standard_deviation_1() -> None:
    # 1, 2, 6: mean 3, squared distances 4 + 1 + 9 = 14, variance 14 / 3
    advantages = normalize(torch.tensor([1.0, 2.0, 6.0], dtype=torch.float64))
    scale = (14 / 3) ** 0.5
    assert advantages.tolist() == pytest.approx([-2 / scale, -1 / scale, 3 / scale])


def test_normalized_advantages_that_are_all_equal_become_0() -> None:
    assert normalize(torch.full((5,), 7.0)).tolist() == [0] * 5


@given(
    st.floats(-1e6, 1e6, width=32),
    st.integers(2, 5000),
    st.sampled_from([torch.float32, torch.float64]),
)
def test_equal_advantages_are_exactly_0_whatever_their_value(
    value: float, count: int, dtype: torch.dtype
) -> None:
    assert not normalize(torch.full((count,), value, dtype=dtype)).any()


@given(st.floats(0.125, 1e6, width=32), st.integers(2, 200))
def test_advantages_that_differ_by_rounding_alone_are_0(value: float, count: int) -> None:
    equal = torch.full((count,), value)
    equal[::2] = torch.nextafter(equal[::2], torch.tensor(torch.inf))
    assert not normalize(equal).any()


@given(st.floats(-1e3, 1e3, width=32), st.integers(1, 200))
def test_a_small_difference_is_a_signal(value: float, count: int) -> None:
    advantages = torch.tensor([value, value + 0.125] * count, dtype=torch.float64)
    found = normalize(advantages)
    assert found.mean().item() == pytest.approx(0, abs=1e-9)
    assert found.square().mean().item() == pytest.approx(1, rel=1e-5)


def test_rho_bar_and_c_bar_are_taken_from_their_own_settings() -> None:
    # without values the TD errors are 1 and 2; with rho 2 and c 1 the corrections are
    # 2 * 2 = 4 in the last step and 2 * 1 + 1 * 4 = 6 before it
    column = torch.tensor([[1.0], [2.0]])
    trajectories = trajectories_of("..", rewards=column, values=torch.zeros(3, 1))
    trajectories = dataclasses.replace(trajectories, ratios=torch.full_like(column, 4.0))
    settings = GradientSettings(advantage="vtrace", gamma=1.0, rho_bar=2.0, c_bar=1.0)
    advantages, targets = estimate(trajectories, settings)
    assert advantages.flatten().tolist() == [1 + 4, 2]
    assert targets.flatten().tolist() == [6, 4]
