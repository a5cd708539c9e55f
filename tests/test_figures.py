"""Figures of README.md and of the recipes are those of benchmarks/results/."""

import json
import tomllib
from collections.abc import Iterable
from pathlib import Path

import pytest

from benchmarks import figures
from benchmarks.figures import Figure, changed, misquoted, reached, solved

ROOT = Path(__file__).parents[1]
SAVED = {"seed": 3, "stop_reason": "solved", "env_steps": 56085}


def test_documents_agree_with_the_saved_results() -> None:
    assert list(misquoted(figures.figures())) == []


def unchecked(lines: Iterable[str], claims: Iterable[Figure]) -> list[str]:
    """Return the rows of tables that name a date, so are measured, but that no claim is about."""
    parts = [claim.part for claim in claims]
    rows = [line for line in lines if line.startswith("|") and "(20" in line]
    return [row for row in rows if not any(part in row for part in parts)]


def test_every_dated_row_is_checked() -> None:
    lines = (ROOT / "README.md").read_text("utf-8").splitlines()
    claims = [claim for claim in figures.figures() if claim.file == "README.md"]
    assert unchecked(lines, claims) == []
    assert unchecked(["| `new-recipe` | 5 s (2026-11-21) |"], claims)
    file = ROOT / "distpg" / "config" / "measured.toml"
    assert tomllib.loads(file.read_text("utf-8")) == figures.measured()


def test_a_misquoted_figure_and_a_lost_line_are_reported(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("| `a` | 5 of 5 seeds |\n")
    claims = [
        Figure("README.md", "| `a`", "5 of 5 seeds"),
        Figure("README.md", "| `a`", "4 of 5 seeds"),
        Figure("README.md", "| `b`", "5 of 5 seeds"),
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figures, "ROOT", tmp_path)
        wrong, lost = misquoted(claims)
    assert "should contain '4 of 5 seeds'" in wrong
    assert "no line contains '| `b`'" in lost


def test_a_run_that_ends_elsewhere_is_reported() -> None:
    assert changed("cartpole-ppo", SAVED, {**SAVED}) == []
    (problem,) = changed("cartpole-ppo", SAVED, {**SAVED, "env_steps": 57105})
    assert problem == "cartpole-ppo, seed 3: env_steps is 57105, results/ has 56085"


@pytest.mark.parametrize(
    ("later", "text"),
    [
        ({}, "1 of 2 seeds, 56k to 64k env steps, 15 to 17 s (2026-11-21)"),
        (
            {"date": "2026-11-28"},
            "1 of 2 seeds, 56k to 64k env steps (2026-11-28), 15 to 17 s (2026-11-21)",
        ),
    ],
)
def test_seconds_of_another_day_have_their_own_date(
    later: dict[str, str], text: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    runs = [
        {"stop_reason": "solved", "env_steps": 56_085, "wall_s": 15.4},
        {"stop_reason": "total_steps", "env_steps": 64_227, "wall_s": 16.8},
    ]
    content = {"date": "2026-11-21", "runs": runs}
    saved = {**content, **later, "timing": content} if later else content
    (tmp_path / "learning-any.json").write_text(json.dumps(saved))
    monkeypatch.setattr(figures, "FOLDER", tmp_path)
    assert solved("any") == text


def test_returns_are_given_with_their_range() -> None:
    runs = [{"episode_return_mean": x, "env_steps": 300_760} for x in (1000.4, 1200.0, 1100.0)]
    text = reached({"date": "2026-11-22", "runs": runs})
    assert text == "return 1,100 (3 seeds: 1,000 to 1,200) after 300k steps (2026-11-22)"
