import dataclasses
import itertools
from collections.abc import Iterator

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from distpg.config.settings import GradientSettings
from distpg.gradient.advantages import estimate
from distpg.gradient.baselines import mean_of_others, time_mean_of_others
from distpg.gradient.trajectories import Trajectories, episode_index, episode_times
from tests.gradient.episodes import (
    episodes_of,
    layouts,
    marks,
    random_trajectories,
    trajectories_of,
)

TABLE = torch.tensor([[1.0, 2.0], [2.0, 4.0], [4.0, 100.0]])
"""Credit of two envs: an episode of three steps, and one of two before a row of padding."""
EPISODES = torch.tensor([[0, 1], [0, 1], [0, -1]])


def test_mean_of_others_by_hand_where_each_episode_counts_once() -> None:
    # the means are (1 + 2 + 4) / 3 = 7/3 and (2 + 4) / 2 = 3; each gets the other's, padding 0
    found = mean_of_others(TABLE, EPISODES, per_episode=True)
    assert_close(found, torch.tensor([[3, 7 / 3], [3, 7 / 3], [3, 0]]))


def test_mean_of_others_by_hand_where_each_step_counts_once() -> None:
    # a third episode of one step, 9: the others of the first sum to 2 + 4 + 9 over 3 steps, of the
    # second to 1 + 2 + 4 + 9 over 4, of the third to 1 + 2 + 4 + 2 + 4 over 5
    credit = torch.tensor([[1.0, 2.0, 9.0], [2.0, 4.0, 0.0], [4.0, 100.0, 0.0]])
    episodes = torch.tensor([[0, 1, 2], [0, 1, -1], [0, -1, -1]])
    found = mean_of_others(credit, episodes, per_episode=False)
    expected = torch.tensor([[5, 4, 2.6], [5, 4, 0], [5, 0, 0]])
    assert_close(found, expected)


def test_mean_of_others_per_episode_and_per_step_differ_where_lengths_do() -> None:
    # others of the third episode: (7/3 + 3) / 2 = 8/3 by episodes, 13 / 5 by steps
    credit = torch.tensor([[1.0, 2.0, 9.0], [2.0, 4.0, 0.0], [4.0, 100.0, 0.0]])
    episodes = torch.tensor([[0, 1, 2], [0, 1, -1], [0, -1, -1]])
    found = mean_of_others(credit, episodes, per_episode=True)
    assert float(found[0, 2]) == pytest.approx(8 / 3)


@pytest.mark.parametrize("per_episode", [True, False])
@given(columns=layouts(whole_episodes=True), seed=st.integers(0, 2**31))
def test_an_episodes_own_credit_does_not_move_its_baseline(
    per_episode: bool, columns: tuple[str, ...], seed: int
) -> None:
    trajectories = random_trajectories(columns, seed)
    credit = trajectories.rewards
    episodes = episode_index(trajectories.done, trajectories.valid)
    if int(episodes.max()) < 1:
        return
    before = mean_of_others(credit, episodes, per_episode=per_episode)
    for number in range(int(episodes.max()) + 1):
        own = episodes == number
        changed = torch.where(own, 1000 + credit, credit)
        after = mean_of_others(changed, episodes, per_episode=per_episode)
        assert_close(after[own], before[own], rtol=0, atol=1e-9)
        others = (episodes >= 0) & ~own
        assert (after[others] > before[others] + 10).all()


@pytest.mark.parametrize("per_episode", [True, False])
def test_what_stands_on_invalid_rows_does_not_enter_the_baseline(per_episode: bool) -> None:
    changed = TABLE.clone()
    changed[2, 1] = -1e6
    before = mean_of_others(TABLE, EPISODES, per_episode=per_episode)
    assert torch.equal(mean_of_others(changed, EPISODES, per_episode=per_episode), before)


def test_time_mean_of_others_by_hand() -> None:
    # four envs: rows of padding are -1; the last column holds two episodes
    credit = torch.tensor(
        [[1.0, 2.0, 9.0, 5.0], [2.0, 4.0, 50.0, 7.0], [4.0, 60.0, 70.0, 11.0]],
    )
    times = torch.tensor([[0, 0, 0, 0], [1, 1, -1, -1], [2, -1, -1, 0]])
    # at time 0 the sum of 1, 2, 9, 5 and 11 is 28; at time 1 there are 2 and 4; at time 2 only 4
    expected = [
        [27 / 4, 26 / 4, 19 / 4, 23 / 4],
        [4, 2, 0, 0],
        [0, 0, 0, 17 / 4],
    ]
    assert_close(time_mean_of_others(credit, times), torch.tensor(expected))


def test_where_no_other_episode_came_so_far_the_time_baseline_is_exactly_0() -> None:
    credit = torch.tensor([[0.1], [0.7], [1e6]])
    assert time_mean_of_others(credit, torch.tensor([[0], [1], [2]])).tolist() == [[0]] * 3


@given(columns=layouts(whole_episodes=True), seed=st.integers(0, 2**31))
def test_the_time_baseline_averages_the_same_step_of_the_other_episodes(
    columns: tuple[str, ...], seed: int
) -> None:
    trajectories = random_trajectories(columns, seed)
    found = time_mean_of_others(
        trajectories.rewards, episode_times(trajectories.done, trajectories.valid)
    )
    credits = [trajectories.rewards[one.rows, one.env].tolist() for one in episodes_of(columns)]
    for number, episode in enumerate(episodes_of(columns)):
        others = credits[:number] + credits[number + 1 :]
        for elapsed, row in enumerate(episode.rows):
            reached = [credit[elapsed] for credit in others if len(credit) > elapsed]
            expected = sum(reached) / len(reached) if reached else 0
            assert float(found[row, episode.env]) == pytest.approx(expected, abs=1e-9)
    assert not found[~trajectories.valid].any()


@given(columns=layouts(whole_episodes=True), seed=st.integers(0, 2**31))
def test_an_episodes_own_credit_does_not_move_its_time_baseline(
    columns: tuple[str, ...], seed: int
) -> None:
    trajectories = random_trajectories(columns, seed)
    credit, times = trajectories.rewards, episode_times(trajectories.done, trajectories.valid)
    before = time_mean_of_others(credit, times)
    for episode in episodes_of(columns):
        changed = credit.clone()
        changed[episode.rows, episode.env] += 1000
        after = time_mean_of_others(changed, times)
        own = after[episode.rows, episode.env]
        assert_close(own, before[episode.rows, episode.env], rtol=0, atol=1e-9)


# `estimate` on three envs, by hand, gamma = lambda = 0.5. Episodes that pay 1, 2, 4 and are worth
# 1, 1, 2; that pay 2, 4 and are worth 3, 2; that pay 9 and are worth 5.
#   returns-to-go:  3, 4, 4;  4, 4;  9
#   total returns:  3, 3, 3;  4, 4;  9
#   TD errors:      1 + 0.5 - 1 = 0.5, 2 + 1 - 1 = 2, 4 - 2 = 2;  2 + 1 - 3 = 0, 4 - 2 = 2;  4
#   GAE:            0.5 + 0.25 * 2.5 = 1.125, 2 + 0.25 * 2 = 2.5, 2;  0.25 * 2 = 0.5, 2;  4
HAND = trajectories_of(
    "..T",
    ".Tx",
    "Txx",
    rewards=torch.tensor([[1.0, 2.0, 9.0], [2.0, 4.0, 0.0], [4.0, 0.0, 0.0]]),
    values=torch.tensor([[1.0, 3.0, 5.0], [1.0, 2.0, 8.0], [2.0, 5.0, 8.0], [7.0, 0.0, 0.0]]),
)
TO_GO = [[3, 4, 4], [4, 4], [9]]
LEGAL = {
    ("total_return", "none"): ([[3, 3, 3], [4, 4], [9]], TO_GO),
    # the means of the two other episodes' totals are 6.5, 6 and 3.5
    ("total_return", "mean"): ([[-3.5, -3.5, -3.5], [-2, -2], [5.5]], TO_GO),
    ("total_return", "value"): ([[2, 2, 1], [1, 2], [4]], TO_GO),
    ("reward_to_go", "none"): (TO_GO, TO_GO),
    # the means over the steps of other episodes are 17 / 3, 20 / 4 and 19 / 5
    ("reward_to_go", "mean"): ([[-8 / 3, -5 / 3, -5 / 3], [-1, -1], [5.2]], TO_GO),
    ("reward_to_go", "value"): ([[2, 3, 2], [1, 2], [4]], TO_GO),
    # the means at the same time over the other episodes that came so far: of totals 6.5, 4 and,
    # with no other, 0;  6, 3;  3.5. Of returns-to-go 6.5, 4, 0;  6, 4;  3.5
    ("total_return", "time"): ([[-3.5, -1, 3], [-2, 1], [5.5]], TO_GO),
    ("reward_to_go", "time"): ([[-3.5, 0, 4], [-2, 0], [5.5]], TO_GO),
    # n_step over all rewards is reward_to_go
    ("n_step inf", "none"): (TO_GO, TO_GO),
    ("n_step inf", "mean"): ([[-8 / 3, -5 / 3, -5 / 3], [-1, -1], [5.2]], TO_GO),
    ("n_step inf", "time"): ([[-3.5, 0, 4], [-2, 0], [5.5]], TO_GO),
    ("n_step inf", "value"): ([[2, 3, 2], [1, 2], [4]], TO_GO),
    # one step: the TD errors, and 1 + 0.5 * 1 = 1.5, 2 + 0.5 * 2 = 3, 4;  2 + 0.5 * 2, 4;  9
    ("n_step 1", "value"): ([[0.5, 2, 2], [0, 2], [4]], [[1.5, 3, 4], [3, 4], [9]]),
    # two steps: 1 + 0.5 * 3 = 2.5, 2 + 0.5 * 4 = 4, 4;  2 + 0.5 * 4, 4;  9
    ("n_step 2", "value"): ([[1.5, 3, 2], [1, 2], [4]], [[2.5, 4, 4], [4, 4], [9]]),
    # on its own actions V-trace is n_step to the end
    ("vtrace", "value"): ([[2, 3, 2], [1, 2], [4]], TO_GO),
    # the critic's targets are GAE + V
    ("gae", "value"): ([[1.125, 2.5, 2], [0.5, 2], [4]], [[2.125, 3.5, 4], [3.5, 4], [9]]),
}


def combination(
    advantage: str, baseline: str, gamma: float, gae_lambda: float = 1.0
) -> GradientSettings:
    """Make settings; "n_step 2" is n_step with bootstrap_steps 2."""
    name, _, steps = advantage.partition(" ")
    return GradientSettings(
        advantage=name,  # pyright: ignore[reportArgumentType]
        bootstrap_steps="inf" if steps == "inf" else int(steps or 5),
        baseline=baseline,  # pyright: ignore[reportArgumentType]
        gamma=gamma,
        gae_lambda=gae_lambda,
    )


def own_actions(trajectories: Trajectories) -> Trajectories:
    """Say that the policy to credit is the one that acted."""
    return dataclasses.replace(trajectories, ratios=torch.ones_like(trajectories.rewards))


@pytest.mark.parametrize(("advantage", "baseline"), LEGAL)
def test_estimate_by_hand_for_every_legal_combination(advantage: str, baseline: str) -> None:
    settings = combination(advantage, baseline, gamma=0.5, gae_lambda=0.5)
    advantages, returns = estimate(own_actions(HAND), settings)
    for found, expected in zip((advantages, returns), LEGAL[advantage, baseline], strict=True):
        columns = [found[HAND.valid[:, env], env].tolist() for env in range(3)]
        for column, numbers in zip(columns, expected, strict=True):
            assert column == pytest.approx(numbers)


# A bandit: three arms, one step an episode. Expectations are sums over all batches.
REWARDS = torch.tensor([1.0, 4.0, -2.0], dtype=torch.float64)
LOGITS = torch.tensor([0.3, -0.5, 0.1], dtype=torch.float64)
PROBS = LOGITS.softmax(0)


def bandit_batches(num_episodes: int) -> Iterator[tuple[list[int], float]]:
    """Go through all batches of arms, with their probabilities."""
    for arms in itertools.product(range(len(REWARDS)), repeat=num_episodes):
        yield list(arms), float(PROBS[list(arms)].prod())


def scores(arms: list[int]) -> Tensor:
    """Gradients of log pi of the arms with respect to the logits, [N, 3]."""
    return torch.eye(len(REWARDS), dtype=torch.float64)[arms] - PROBS


def exact_bandit_gradient() -> Tensor:
    logits = LOGITS.clone().requires_grad_()
    (gradient,) = torch.autograd.grad((logits.softmax(0) * REWARDS).sum(), logits)
    return gradient


@pytest.mark.parametrize("num_episodes", [2, 3, 4])
@pytest.mark.parametrize("per_episode", [True, False])
def test_the_mean_of_others_leaves_the_expected_gradient_exact(
    per_episode: bool, num_episodes: int
) -> None:
    expected = torch.zeros(len(REWARDS), dtype=torch.float64)
    episodes = torch.arange(num_episodes).view(1, -1)
    for arms, probability in bandit_batches(num_episodes):
        credit = REWARDS[arms].view(1, -1)
        baseline = mean_of_others(credit, episodes, per_episode=per_episode)
        weights = (credit - baseline).view(-1, 1)
        expected += probability * (weights * scores(arms)).mean(0)
    assert_close(expected, exact_bandit_gradient(), rtol=0, atol=1e-10)


@pytest.mark.parametrize("num_episodes", [2, 3, 4])
def test_a_mean_that_includes_the_sample_would_shrink_the_gradient(num_episodes: int) -> None:
    expected = torch.zeros(len(REWARDS), dtype=torch.float64)
    for arms, probability in bandit_batches(num_episodes):
        credit = REWARDS[arms]
        expected += probability * ((credit - credit.mean()).view(-1, 1) * scores(arms)).mean(0)
    assert_close(expected, (1 - 1 / num_episodes) * exact_bandit_gradient())


# A game of two states whose length depends on what is done. Arm 0 pays 1 and ends the episode;
# arm 1 pays nothing and leads to the second state, where the arms pay 3 and -1 and end it.
PLAYS = (([0], [1.0]), ([1, 0], [0.0, 3.0]), ([1, 1], [0.0, -1.0]))
GAME_VALUES = (0.7, -1.3)
"""Any function of the state may be subtracted."""


def game_log_probs(logits: Tensor) -> Tensor:
    """log pi of each play's steps, [3 plays, 2 steps]; 0 where a play is over."""
    table = logits.log_softmax(-1)
    rows = [[table[t, arm] for t, arm in enumerate(arms)] for arms, _ in PLAYS]
    return torch.stack([torch.stack([*row, table.new_zeros(())][:2]) for row in rows])


def game_trajectories(batch: tuple[int, ...]) -> Trajectories:
    """Lay the plays of a batch side by side."""
    lengths = [len(PLAYS[play][0]) for play in batch]
    columns = ["T" + "x" if length == 1 else ".T" for length in lengths]
    rewards = torch.tensor([[*PLAYS[play][1], 0.0][:2] for play in batch]).double().T
    values = torch.tensor([[*GAME_VALUES, 99.0]] * len(batch)).double().T
    return trajectories_of(*columns, rewards=rewards, values=values)


@pytest.mark.parametrize(
    ("advantage", "baseline", "gamma"),
    # a single step takes V's word for what follows, and V is wrong here
    [(*names, 1.0) for names in LEGAL if names[0] != "n_step 1"]
    + [("total_return", baseline, 0.5) for baseline in ("none", "mean", "time")],
)
def test_every_legal_combination_leaves_the_expected_gradient_exact(
    advantage: str, baseline: str, gamma: float
) -> None:
    logits = torch.tensor([[0.2, -0.4], [0.5, 0.1]], dtype=torch.float64, requires_grad=True)
    log_probs = game_log_probs(logits)
    chances = log_probs.sum(1).exp()
    returns = torch.tensor([1.0, 3 * gamma, -1 * gamma], dtype=torch.float64)
    (exact,) = torch.autograd.grad((chances * returns).sum(), logits, retain_graph=True)

    settings = combination(advantage, baseline, gamma=gamma, gae_lambda=1.0)
    weighted = torch.zeros((), dtype=torch.float64)
    for batch in itertools.product(range(len(PLAYS)), repeat=3):
        trajectories = own_actions(game_trajectories(batch))
        advantages, _ = estimate(trajectories, settings)
        steps = advantages * trajectories.valid * log_probs[list(batch)].T
        weighted = weighted + chances[list(batch)].prod().detach() * steps.sum() / len(batch)
    (expected,) = torch.autograd.grad(weighted, logits)
    assert_close(expected, exact, rtol=0, atol=1e-10)


@pytest.mark.parametrize("gamma", [1.0, 0.5])
@pytest.mark.parametrize(
    ("advantage", "gae_lambda", "limits"),
    [
        ("n_step 1", 1.0, (1.0, 1.0)),
        ("n_step 2", 1.0, (1.0, 1.0)),
        ("gae", 0.0, (1.0, 1.0)),
        ("gae", 0.7, (1.0, 1.0)),
        ("vtrace", 1.0, (1.0, 1.0)),
        ("vtrace", 1.0, (0.3, 0.6)),
    ],
)
def test_with_the_true_values_every_bootstrap_leaves_the_expected_gradient_exact(
    advantage: str, gae_lambda: float, limits: tuple[float, float], gamma: float
) -> None:
    # what it has to be: the mean over plays of the scores, each times the rewards that followed
    logits = torch.tensor([[0.2, -0.4], [0.5, 0.1]], dtype=torch.float64, requires_grad=True)
    log_probs = game_log_probs(logits)
    chances = log_probs.sum(1).exp()
    policy = logits.detach().softmax(-1)
    second = float(3 * policy[1, 0] - policy[1, 1])
    first = float(policy[0, 0] + policy[0, 1] * gamma * second)
    values = torch.tensor([first, second, 99.0], dtype=torch.float64).view(-1, 1)

    settings = combination(advantage, "value", gamma=gamma, gae_lambda=gae_lambda)
    settings = dataclasses.replace(settings, rho_bar=limits[0], c_bar=limits[1])
    weighted = torch.zeros((), dtype=torch.float64)
    objective = torch.zeros((), dtype=torch.float64)
    for play, (arms, rewards) in enumerate(PLAYS):
        trajectories = game_trajectories((play,))
        trajectories = dataclasses.replace(trajectories, values=values[:-1], next_values=values[1:])
        advantages, _ = estimate(own_actions(trajectories), settings)
        weighted = weighted + chances[play].detach() * sum(
            advantages[step, 0] * log_probs[play, step] for step in range(len(arms))
        )
        to_go = [sum(gamma**k * pay for k, pay in enumerate(rewards[t:])) for t in range(len(arms))]
        objective = objective + chances[play].detach() * sum(
            pay * log_probs[play, step] for step, pay in enumerate(to_go)
        )
    (expected,) = torch.autograd.grad(objective, logits, retain_graph=True)
    (found,) = torch.autograd.grad(weighted, logits)
    assert_close(found, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("baseline", ["none", "mean", "time", "value"])
@given(columns=layouts(whole_episodes=True), seed=st.integers(0, 2**31), ratios=st.booleans())
def test_n_step_over_all_rewards_is_reward_to_go_with_every_baseline(
    baseline: str, columns: tuple[str, ...], seed: int, ratios: bool
) -> None:
    trajectories = random_trajectories(columns, seed, ratios=ratios)
    if baseline == "mean" and len(episodes_of(columns)) < 2:
        return
    found = estimate(trajectories, combination("n_step inf", baseline, gamma=0.9))
    expected = estimate(trajectories, combination("reward_to_go", baseline, gamma=0.9))
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one, other)


@given(columns=layouts(whole_episodes=True), seed=st.integers(0, 2**31))
def test_a_critic_that_is_right_leaves_the_advantages_of_its_own_returns_at_0(
    columns: tuple[str, ...], seed: int
) -> None:
    trajectories = random_trajectories(columns, seed)
    _, returns = estimate(trajectories, combination("reward_to_go", "none", gamma=0.9))
    right = Trajectories(
        rewards=trajectories.rewards,
        values=returns,
        next_values=trajectories.next_values,
        terminated=marks(columns, "TBL"),
        truncated=trajectories.truncated,
        valid=trajectories.valid,
    )
    advantages, targets = estimate(right, combination("reward_to_go", "value", gamma=0.9))
    assert torch.equal(
        advantages[trajectories.valid], torch.zeros_like(returns[trajectories.valid])
    )
    assert torch.equal(targets[trajectories.valid], returns[trajectories.valid])


@pytest.mark.parametrize("per_episode", [True, False])
@pytest.mark.parametrize("layout", ["..T", "x..", "x..U"])
def test_without_another_episode_the_mean_is_0(layout: str, per_episode: bool) -> None:
    trajectories = random_trajectories((layout,), 0)
    episodes = episode_index(trajectories.done, trajectories.valid)
    assert not mean_of_others(trajectories.rewards, episodes, per_episode=per_episode).any()
