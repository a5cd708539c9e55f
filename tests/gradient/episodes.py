"""Layouts of episodes, drawn as strings, and the tables of numbers that stand on them.

A column is one env, a character one row: `.` a step; `T` terminated; `U` truncated; `B` both; `L` a
lost life: terminated, but the game plays on without a reset; `x` not valid: the step that resets,
or padding.
"""

import dataclasses
import math
from dataclasses import dataclass

import torch
from hypothesis import strategies as st
from torch import Tensor

from distpg.gradient.trajectories import Trajectories


@dataclass(frozen=True)
class Episode:
    """Consecutive valid rows of one env, up to a done or the end of the data."""

    env: int
    rows: list[int]
    end: str
    """Character of its last row; a `.` says that the data end first."""


def marks(columns: tuple[str, ...], characters: str) -> Tensor:
    """[T, N] bool: where the columns hold one of the characters."""
    rows = zip(*columns, strict=True)
    return torch.tensor([[character in characters for character in row] for row in rows])


def trajectories_of(*columns: str, rewards: Tensor, values: Tensor) -> Trajectories:
    """Put rewards [T, N] and the values of all observations [T+1, N] on a layout."""
    return Trajectories(
        rewards=rewards,
        values=values[:-1],
        next_values=values[1:],
        terminated=marks(columns, "TBL"),
        truncated=marks(columns, "UB"),
        valid=~marks(columns, "x"),
    )


def random_trajectories(
    columns: tuple[str, ...], seed: int, *, ratios: bool = False
) -> Trajectories:
    """Draw rewards and values, in double precision; those on invalid rows too."""
    generator = torch.Generator().manual_seed(seed)
    steps, num_envs = len(columns[0]), len(columns)
    rewards = torch.randn(steps, num_envs, generator=generator, dtype=torch.float64)
    values = torch.randn(steps + 1, num_envs, generator=generator, dtype=torch.float64)
    trajectories = trajectories_of(*columns, rewards=rewards, values=values)
    if not ratios:
        return trajectories
    log_ratio = 0.5 * torch.randn(steps, num_envs, generator=generator, dtype=torch.float64)
    return dataclasses.replace(trajectories, ratios=log_ratio.exp())


def by_hand(column: str, *ratios: float) -> Trajectories:
    """Take one env that pays 1, 2, 0, 4; V of its five observations is 1, 2, 6, 4, 8."""
    rewards = torch.tensor([[1.0], [2.0], [0.0], [4.0]])
    values = torch.tensor([[1.0], [2.0], [6.0], [4.0], [8.0]])
    trajectories = trajectories_of(column, rewards=rewards, values=values)
    return dataclasses.replace(
        trajectories, ratios=torch.tensor(ratios).view(-1, 1) if ratios else None
    )


def at(table: Tensor, *rows: int) -> list[float]:
    """Read some rows of the first env."""
    return table[list(rows), 0].tolist()


def ratio_product(trajectories: Trajectories, env: int, after: int, through: int) -> float:
    """Multiply the ratios of an env's rows from `after`, left out, to `through`; 1 without any."""
    if trajectories.ratios is None:
        return 1.0
    return math.prod(trajectories.ratios[after + 1 : through + 1, env].tolist())


def episodes_of(columns: tuple[str, ...]) -> list[Episode]:
    """List the episodes, env by env."""
    episodes: list[Episode] = []
    for env, column in enumerate(columns):
        rows: list[int] = []
        for row, character in enumerate(column):
            if character == "x":
                continue
            rows.append(row)
            if character != "." or row == len(column) - 1:
                episodes.append(Episode(env, rows, character))
                rows = []
    return episodes


@st.composite
def layouts(draw: st.DrawFn, *, whole_episodes: bool = False) -> tuple[str, ...]:
    """Draw the columns of 1 to 4 envs over 1 to 12 rows."""
    steps = draw(st.integers(1, 12))
    num_envs = draw(st.integers(1, 4))
    return tuple(_column(draw, steps, whole=whole_episodes) for _ in range(num_envs))


def _column(draw: st.DrawFn, steps: int, *, whole: bool) -> str:
    # what was over at the end of the last rollout resets in the first row
    resets = not whole and draw(st.booleans())
    wanted = draw(st.text("..TUBL", min_size=steps, max_size=steps))
    column = ""
    for character in wanted:
        column += "x" if resets else character
        resets = column[-1] in "TUB"
    last_end = max(column.rfind(end) for end in "TUB")
    if whole and last_end < 0:
        return column[:-1] + "T"
    if whole or (last_end >= 0 and draw(st.booleans())):
        return column[: last_end + 1].ljust(steps, "x")
    return column
