"""Sparkline, interval and extrapolation, by hand."""

import math

import pytest

from distpg.report.trends import History, format_seconds, seconds_to, sparkline


@pytest.mark.parametrize(
    ("values", "width", "drawn"),
    [
        ([0, 1, 2, 3, 4, 5, 6, 7], 8, "▁▂▃▄▅▆▇█"),
        ([7, 0], 8, "█▁"),
        # means 0, 1, 2, 7
        ([0, 0, 1, 1, 2, 2, 6, 8], 4, "▁▂▃█"),
        # groups of one and two: 3, and the mean of 4 and 16
        ([3, 4, 16], 2, "▁█"),
        ([5, 5, 5], 8, "▁▁▁"),
        ([math.nan, -2, math.inf, 5], 8, "▁█"),
        ([], 8, ""),
    ],
)
def test_a_sparkline_has_bars_from_the_least_to_the_largest_group(
    values: list[float], width: int, drawn: str
) -> None:
    assert sparkline(values, width) == drawn


def test_a_history_keeps_values_at_equal_distances() -> None:
    history, kept = History(size=4), list[list[float]]()
    for value in range(10):
        history.add(value)
        kept.append(history.values[:])
    assert kept[3:] == [
        [0, 1, 2, 3],
        [0, 2, 4],
        [0, 2, 4],
        [0, 2, 4, 6],
        [0, 2, 4, 6],
        [0, 4, 8],
        [0, 4, 8],
    ]


def test_a_line_of_least_squares_is_extrapolated_to_the_target() -> None:
    assert seconds_to(10, [0, 1, 2, 3], [0, 1, 2, 3]) == pytest.approx(7)
    # 0.5 + t / 2, which is 1.5 at the end
    assert seconds_to(3, [0, 1, 2], [0, 2, 1]) == pytest.approx(3)
    assert seconds_to(1, [0, 1, 2], [0, 2, 1]) == 0
    for times_s, values in [
        ([0, 1, 2], [2, 1, 0]),
        ([0, 1, 2], [1, 1, 1]),
        ([0, 1], [0, 1]),
        ([1, 1, 1], [0, 1, 2]),
        # thousands of years
        ([0, 1, 2], [0, 1e-9, 2e-9]),
    ]:
        assert seconds_to(475, times_s, values) is None


def test_seconds_are_written_as_hours_minutes_and_seconds() -> None:
    assert format_seconds(6.4) == "0:00:06"
    assert format_seconds(3 * 3600 + 61) == "3:01:01"
    assert format_seconds(2 * 86400 + 60) == "2 days, 0:01:00"
