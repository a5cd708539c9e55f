import torch
from hypothesis import given

from distpg.gradient.trajectories import episode_index, episode_starts, episode_times
from tests.gradient.episodes import episodes_of, layouts, marks


def starts_of(*columns: str) -> list[list[bool]]:
    return episode_starts(marks(columns, "TUBL"), ~marks(columns, "x")).T.tolist()


def index_of(*columns: str) -> list[list[int]]:
    return episode_index(marks(columns, "TUBL"), ~marks(columns, "x")).T.tolist()


def times_of(*columns: str) -> list[list[int]]:
    return episode_times(marks(columns, "TUBL"), ~marks(columns, "x")).T.tolist()


def test_the_first_row_starts_an_episode() -> None:
    assert starts_of("...") == [[True, False, False]]


def test_an_episode_starts_after_the_row_that_resets() -> None:
    assert starts_of(".Tx..", ".Ux..") == [[True, False, False, True, False]] * 2


def test_a_rollout_that_begins_with_a_reset_starts_its_episode_in_the_second_row() -> None:
    assert starts_of("x..") == [[False, True, False]]


def test_a_lost_life_starts_an_episode_in_the_very_next_row() -> None:
    assert starts_of(".L..") == [[True, False, True, False]]


def test_padding_starts_no_episode() -> None:
    assert starts_of(".Txxx") == [[True, False, False, False, False]]


def test_episodes_are_numbered_env_by_env_and_invalid_rows_get_minus_one() -> None:
    assert index_of(".Tx..U", "TxTxxx") == [[0, 0, -1, 1, 1, 1], [2, -1, 3, -1, -1, -1]]


def test_lives_are_episodes_of_their_own() -> None:
    assert index_of("L.L.T", "..T" + "xx") == [[0, 1, 1, 2, 2], [3, 3, 3, -1, -1]]


@given(columns=layouts(whole_episodes=True))
def test_numbers_agree_with_a_list_of_the_episodes(columns: tuple[str, ...]) -> None:
    found = episode_index(marks(columns, "TUBL"), ~marks(columns, "x"))
    expected = torch.full_like(found, -1)
    for number, episode in enumerate(episodes_of(columns)):
        expected[episode.rows, episode.env] = number
    assert torch.equal(found, expected)


@given(columns=layouts())
def test_each_episode_has_one_start_its_first_row(columns: tuple[str, ...]) -> None:
    found = episode_starts(marks(columns, "TUBL"), ~marks(columns, "x"))
    firsts = {(episode.rows[0], episode.env) for episode in episodes_of(columns)}
    assert {(row, env) for row, env in found.nonzero().tolist()} == firsts


def test_times_are_counted_from_the_first_valid_row_of_each_episode() -> None:
    assert times_of(".Tx..U", "x.U" + "xxx") == [[0, 1, -1, 0, 1, 2], [-1, 0, 1, -1, -1, -1]]


def test_a_lost_life_begins_to_count_again() -> None:
    assert times_of("L.L..") == [[0, 0, 1, 0, 1]]


@given(columns=layouts())
def test_times_are_places_in_a_list_of_the_episodes_rows(columns: tuple[str, ...]) -> None:
    found = episode_times(marks(columns, "TUBL"), ~marks(columns, "x"))
    expected = torch.full_like(found, -1)
    for episode in episodes_of(columns):
        expected[episode.rows, episode.env] = torch.arange(len(episode.rows))
    assert torch.equal(found, expected)
