"""Races name sides and environments that exist, and compare only what took part."""

import importlib.util
import json
from pathlib import Path

import pytest

from benchmarks import races
from benchmarks.races import RACES, Goal, Race, Side, check_same_work, judge, still_valid

REQUIREMENTS = Path(races.__file__).parent / "peers" / "requirements"


@pytest.mark.parametrize("name", RACES)
def test_goals_and_environments_exist(name: str) -> None:
    race = RACES[name]
    assert {each for goal in race.goals for each in (goal.side, goal.peer)} <= set(race.sides)
    for side in race.sides.values():
        if side.environment:
            assert (REQUIREMENTS / f"{side.environment}.txt").exists()
            assert importlib.util.find_spec(side.command.split()[1])


def test_peers_have_the_same_torch() -> None:
    pins = {
        line
        for file in REQUIREMENTS.glob("*.txt")
        for line in file.read_text().splitlines()
        if line.startswith("torch==")
    }
    assert len(pins) == 1


def test_a_goal_is_judged_if_both_sides_took_part() -> None:
    sides = {"a": Side("launch.py train"), "b": Side("-m b", "e"), "c": Side("-m c", "e")}
    goals = (Goal("a", "b", "rate_per_s", 2.0, 1.5), Goal("a", "c", "solved_s", 0.5))
    race = Race("", sides, (), goals)
    (row,) = judge(race, {"a": {"rate_per_s": 8.0}, "b": {"rate_per_s": 5.0}})
    assert (row["ratio"], row["verdict"]) == (1.6, "acceptable")
    (row,) = judge(race, {"a": {"solved_s": 2.0}, "c": {"solved_s": 5.0}})
    assert (row["ratio"], row["verdict"]) == (0.4, "met")


def test_kept_sides_are_of_the_same_cpu_and_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(races, "FOLDER", tmp_path)
    assert still_valid("large", {"cpu": "x"}) == {}
    now = RACES["large"].sides["SB3"].command
    rows = {"SB3": {"command": now}, "RLlib": {"command": "other"}}
    kept = json.dumps({"cpu": "x", "date": "2026-01-02", "sides": rows})
    (tmp_path / "races-large.json").write_text(kept)
    assert still_valid("large", {"cpu": "x"}) == {"SB3": {"date": "2026-01-02", "command": now}}
    assert still_valid("large", {"cpu": "y"}) == {}
    # of before the CPU was kept
    (tmp_path / "races-large.json").write_text(json.dumps({"date": "2025-01-02", "sides": rows}))
    assert still_valid("large", {"cpu": "x"}) == {}


def test_unequal_work_is_refused() -> None:
    steps = "optimizer_steps_per_env_step"
    check_same_work({"a": {steps: 0.156}, "b": {steps: 0.157}})
    with pytest.raises(AssertionError, match="different numbers of optimizer steps"):
        check_same_work({"a": {steps: 0.15}, "b": {steps: 0.16}})
