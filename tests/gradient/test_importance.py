import dataclasses
import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from distpg.config.settings import GradientSettings
from distpg.gradient.advantages import estimate
from distpg.gradient.importance import importance_weights
from tests.gradient.episodes import episodes_of, layouts, marks, trajectories_of

KINDS = ("trajectory", "per_decision", "per_step")
every_kind = pytest.mark.parametrize("kind", KINDS)
seeds = st.integers(0, 2**31)


def weights_of(columns: tuple[str, ...], log_ratio: Tensor, kind: str) -> Tensor:
    done, valid = marks(columns, "TUBL"), ~marks(columns, "x")
    return importance_weights(log_ratio, done, valid, kind)  # pyright: ignore[reportArgumentType]


def random_log_ratio(columns: tuple[str, ...], seed: int) -> Tensor:
    shape = (len(columns[0]), len(columns))
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        # an episode of two steps, a reset, one of three that the data cut; ratios 2, 3 | 4, 0.5, 5
        ("per_step", [2, 3, 0, 4, 0.5, 5]),
        ("per_decision", [2, 6, 0, 4, 2, 10]),
        ("trajectory", [6, 6, 0, 10, 10, 10]),
    ],
)
@pytest.mark.parametrize("end", ["T", "U", "B"])
def test_weights_by_hand_of_two_episodes_with_a_reset_between_them(
    kind: str, expected: list[float], end: str
) -> None:
    ratios = torch.tensor([[2.0], [3.0], [7.0], [4.0], [0.5], [5.0]], dtype=torch.float64)
    found = weights_of((f".{end}x...",), ratios.log(), kind)
    assert found[:, 0].tolist() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        # the first env begins with a reset and loses a life; the second is padded
        ("per_step", [[0, 3, 4, 0.5], [2, 5, 0, 0]]),
        ("per_decision", [[0, 3, 12, 0.5], [2, 10, 0, 0]]),
        ("trajectory", [[0, 12, 12, 0.5], [10, 10, 0, 0]]),
    ],
)
def test_weights_by_hand_of_a_lost_life_and_of_rows_that_are_not_valid(
    kind: str, expected: list[list[float]]
) -> None:
    ratios = torch.tensor([[9.0, 2.0], [3.0, 5.0], [4.0, 8.0], [0.5, 7.0]], dtype=torch.float64)
    found = weights_of(("x.L.", ".Txx"), ratios.log(), kind)
    for column, numbers in zip(found.T.tolist(), expected, strict=True):
        assert column == pytest.approx(numbers)


@every_kind
@given(columns=layouts())
def test_weights_are_1_where_the_policy_is_the_one_that_acted(
    kind: str, columns: tuple[str, ...]
) -> None:
    log_ratio = torch.zeros(len(columns[0]), len(columns))
    assert torch.equal(weights_of(columns, log_ratio, kind), (~marks(columns, "x")).float())


@given(columns=layouts(), seed=seeds)
def test_weights_are_products_of_the_ratios_of_their_own_episode(
    columns: tuple[str, ...], seed: int
) -> None:
    log_ratio = random_log_ratio(columns, seed)
    found = {kind: weights_of(columns, log_ratio, kind) for kind in KINDS}
    for one in episodes_of(columns):
        ratios = log_ratio[one.rows, one.env].exp().tolist()
        own = {kind: table[one.rows, one.env].tolist() for kind, table in found.items()}
        assert own["trajectory"] == pytest.approx([math.prod(ratios)] * len(ratios))
        assert own["per_decision"] == pytest.approx(list(itertools.accumulate(ratios, mul)))
        assert own["per_step"] == pytest.approx(ratios)


def mul(one: float, other: float) -> float:
    return one * other


@every_kind
@given(columns=layouts(), seed=seeds)
def test_what_stands_on_invalid_rows_changes_no_weight(
    kind: str, columns: tuple[str, ...], seed: int
) -> None:
    log_ratio = random_log_ratio(columns, seed)
    invalid = marks(columns, "x")
    found = weights_of(columns, log_ratio, kind)
    for value in (50.0, math.inf, math.nan):
        changed = log_ratio.masked_fill(invalid, value)
        assert torch.equal(weights_of(columns, changed, kind), found)
    assert not found[invalid].any()


@every_kind
@given(columns=layouts(), seed=seeds)
def test_ratios_of_an_episode_change_no_weight_of_another(
    kind: str, columns: tuple[str, ...], seed: int
) -> None:
    log_ratio = random_log_ratio(columns, seed)
    before = weights_of(columns, log_ratio, kind)
    for one in episodes_of(columns):
        changed = log_ratio.clone()
        changed[one.rows, one.env] += 1
        after = weights_of(columns, changed, kind)
        own = torch.zeros_like(before, dtype=torch.bool)
        own[one.rows, one.env] = True
        assert torch.equal(after[~own], before[~own])
        assert (after[own] > before[own]).all()


# A game that others played. Arm 0 pays 1 and ends it; arm 1 pays nothing and leads on, where the
# arms pay 3 and -1 and end it.
PLAYS = (([0], [1.0]), ([1, 0], [0.0, 3.0]), ([1, 1], [0.0, -1.0]))
COLUMNS = ("Tx", ".T", ".T")
ACTED = torch.tensor([[-0.3, 0.4], [0.1, -0.6]], dtype=torch.float64)
CURRENT = torch.tensor([[0.2, -0.4], [0.5, 0.1]], dtype=torch.float64)


def step_log_probs(logits: Tensor) -> Tensor:
    """log pi of each play's steps, [2 steps, 3 plays]; 0 where a play is over."""
    table = logits.log_softmax(-1)
    rows = [[table[t, arm] for t, arm in enumerate(arms)] for arms, _ in PLAYS]
    return torch.stack([torch.stack([*row, table.new_zeros(())][:2]) for row in rows]).T


@every_kind
def test_the_mean_weight_of_the_first_step_is_1_and_of_a_trajectory_too(kind: str) -> None:
    acted = step_log_probs(ACTED)
    chances = acted.sum(0).exp()
    weights = weights_of(COLUMNS, step_log_probs(CURRENT) - acted, kind)
    assert float((chances * weights[0]).sum()) == pytest.approx(1, abs=1e-12)
    # of those that come to the second step, as many as the current policy would let come
    reached = float(CURRENT[0].softmax(0)[1] if kind != "per_step" else ACTED[0].softmax(0)[1])
    assert float((chances * weights[1]).sum()) == pytest.approx(reached, abs=1e-12)


EXACT = [
    *itertools.product(
        ["trajectory", "per_decision"],
        [("total_return", 5), ("reward_to_go", 5), ("n_step", "inf")],
        ["none", "mean", "time", "value"],
    ),
    ("trajectory", ("gae", 5), "value"),
    ("per_decision", ("gae", 5), "value"),
    ("per_decision", ("n_step", 2), "value"),
    ("per_decision", ("vtrace", 5), "value"),
]


def mean_gradient(kind: str, settings: GradientSettings, *, corrected: bool) -> Tensor:
    """Return the mean gradient of all batches of three episodes of the behaviour policy."""
    logits = CURRENT.clone().requires_grad_()
    current, acted = step_log_probs(logits), step_log_probs(ACTED)
    total = torch.zeros((), dtype=torch.float64)
    for batch in itertools.product(range(len(PLAYS)), repeat=3):
        plays = list(batch)
        columns = tuple(COLUMNS[play] for play in plays)
        log_ratio = (current.detach() - acted)[:, plays]
        # V is wrong: where it must not matter, it may be any function of the state
        values = torch.tensor([[0.7, -1.3, 99.0]] * len(plays), dtype=torch.float64).T
        rewards = torch.tensor([[*PLAYS[play][1], 0.0][:2] for play in plays]).double().T
        trajectories = trajectories_of(*columns, rewards=rewards, values=values)
        ratios = log_ratio.exp() if corrected else torch.ones_like(log_ratio)
        psi, _ = estimate(dataclasses.replace(trajectories, ratios=ratios), settings)
        weights = weights_of(columns, log_ratio, kind)
        steps = weights * psi * trajectories.valid * current[:, plays]
        total = total + acted[:, plays].sum().exp() * steps.sum() / len(plays)
    (gradient,) = torch.autograd.grad(total, logits)
    return gradient


def exact_gradient(gamma: float) -> Tensor:
    """Gradient of the expected discounted return of the current policy."""
    logits = CURRENT.clone().requires_grad_()
    returns = torch.tensor([1.0, 3 * gamma, -1 * gamma], dtype=torch.float64)
    chances = step_log_probs(logits).sum(0).exp()
    (gradient,) = torch.autograd.grad((chances * returns).sum(), logits)
    return gradient


@pytest.mark.parametrize(("kind", "psi", "baseline"), EXACT)
def test_weighted_actions_of_another_policy_leave_the_expected_gradient_exact(
    kind: str, psi: tuple[str, int | str], baseline: str
) -> None:
    settings = GradientSettings(
        advantage=psi[0],  # pyright: ignore[reportArgumentType]
        bootstrap_steps=psi[1],  # pyright: ignore[reportArgumentType]
        baseline=baseline,  # pyright: ignore[reportArgumentType]
        gamma=1.0,
        gae_lambda=1.0,
        rho_bar=1e9,
        c_bar=1e9,
    )
    # a trajectory's weight covers the steps ahead; the weight of a decision leaves them to Psi
    found = mean_gradient(kind, settings, corrected=kind == "per_decision")
    assert_close(found, exact_gradient(1.0), rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    ("kind", "corrected"),
    [("trajectory", True), ("per_decision", False), ("per_step", False), ("per_step", True)],
)
def test_other_weights_do_not(kind: str, corrected: bool) -> None:
    settings = GradientSettings(advantage="reward_to_go", baseline="none", gamma=1.0)
    found = mean_gradient(kind, settings, corrected=corrected)
    assert float((found - exact_gradient(1.0)).abs().max()) > 0.01
