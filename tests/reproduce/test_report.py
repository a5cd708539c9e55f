"""Reports of results that are made up: what stands in them, and what a file of results keeps."""

import json
import tomllib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from distpg import InputError
from distpg.reproduce.comparison import Judgement, Source
from distpg.reproduce.curves import Line, draw_curves, draw_line, name_line
from distpg.reproduce.measures import Measured
from distpg.reproduce.report import Report
from distpg.reproduce.results import (
    Results,
    TaskResults,
    add_to_file,
    read_measured,
    read_results,
    to_json,
    write_measured,
)
from distpg.reproduce.table import Table, table_of
from distpg.results.episodes import POINTS, Curve
from distpg.results.figure import Look, import_figure
from tests.reproduce.tables import TINY

TABLE: Table = table_of("tiny", tomllib.loads(TINY))


def run_of(seed: int, last: float, greedy: float = 50.0) -> Measured:
    steps = tuple(20 * part for part in range(1, POINTS + 1))
    return Measured(
        seed=seed,
        measures={"last_100_training_episodes": last, "final_greedy": greedy},
        greedy_returns=(greedy,),
        curve=Curve(steps, (None, *[last] * (POINTS - 1))),
        env_steps=2048,
        stop_reason="total_steps",
        train_s=1.5,
        date="2026-01-02",
        machine={"cpu": "a CPU", "cores": 2, "system": "a system"},
        versions={"torch": "2"},
    )


def results_of(
    last: dict[str, list[float]], name: str = "distpg 1", settings: str = "a"
) -> Results:
    tasks = {
        task: TaskResults(
            {"name": settings}, {seed: run_of(seed, value) for seed, value in enumerate(values)}
        )
        for task, values in last.items()
    }
    return Results("tiny", name, "distpg reproduce tiny", tasks)


def test_the_report_has_every_seed_the_mean_and_the_verdicts() -> None:
    ours = results_of({"CartPole": [389.0, 411.0, 415.0], "Acrobot": [-100.0, -90.0, -80.0]})
    peer = results_of({"CartPole": [300.0, 310.0, 320.0], "Acrobot": [-60.0]}, "a peer 2")
    lines = [*Report(TABLE, ours, [Source(peer, "peer.json")]).section("curves.png")]
    text = "\n".join(lines)
    for line in (
        "| seed 0 | 2,048 | 389.0 | 50.0 |",
        "| **mean** (95% interval) |  | 405.0 (370.2 to 439.8) | 50.0 (50.0 to 50.0) |",
        "| a paper |  | 400.0 (390.0 to 410.0), n = 3 |  |",
        "| verdict by a paper |  | undecided |  |",
        # t of 2 degrees is 4.303, the standard error 10 / sqrt(3)
        "| a peer 2 |  | 310.0 (285.2 to 334.8), n = 3 | 50.0 (50.0 to 50.0), n = 3 |",
        "| verdict by a peer 2 |  | above | undecided |",
        # one seed has no interval, so nothing is judged by it
        "| a peer 2 |  | -60.0, n = 1 | 50.0, n = 1 |",
        "| seeds of a peer 2 |  | 300.0, 310.0, 320.0 | 50.0, 50.0, 50.0 |",
        "- judged by a paper, last 100 training episodes: 0 above, 1 undecided, 0 below",
        "- judged by a peer 2, last 100 training episodes: 1 above, 0 undecided, 0 below",
        "| a paper | last 100 training episodes | CartPole | A. Author 1999, table 1 |",
        "| a peer 2 | last 100 training episodes | all | peer.json |",
        "![Learning curves](curves.png)",
    ):
        assert line in lines, text
    assert "distpg 1, 2026-01-02: torch 2; a CPU, 2 cores, a system; " in text
    # of six scores .767, .813, .821, .930, .953 and .977 the middle three
    assert "distpg 1, last 100 training episodes: interquartile mean of scores 0.88 (" in text
    assert "), 2 tasks, 6 runs" in text
    assert "a page" not in text.partition("**CartPole**")[2].partition("**Acrobot**")[0]


def judged(text: str, *values: float) -> list[Judgement]:
    """Judge seeds of CartPole by the references of a table."""
    table = table_of("tiny", tomllib.loads(text))
    return Report(table, results_of({"CartPole": [*values]})).judgements(["CartPole"])


def test_a_verdict_is_by_the_interval_of_the_difference() -> None:
    (judgement,) = judged(TINY, 389.0, 411.0, 415.0)
    # standard errors 8.0829 (ours) and 10 / 4.3027 (published, of three seeds): 8.4104 together;
    # the t of Welch's 2.3285 degrees is 3.7703
    mean, (low, high) = judgement.difference() or (0.0, (0.0, 0.0))
    assert (mean, (low + high) / 2) == pytest.approx((5, 5))
    assert high == pytest.approx(5 + 8.4104 * 3.7703, rel=1e-3)
    assert judgement.verdict() == "undecided"
    # 450 is outside the interval of the published mean, but what varies so much shows nothing
    cases = {(449.0, 450.0): "above", (350.0, 351.0): "below", (350.0, 550.0): "undecided"}
    for values, verdict in cases.items():
        assert [x.verdict() for x in judged(TINY, *values)] == [verdict]
    # the mean of one seed has no interval
    assert judged(TINY, 450.0) == []


def test_a_criterion_is_reached_by_all_seeds_or_not() -> None:
    text = TINY.replace("interval = [390.0, 410.0]\nn = 3\n", "")
    (passed,) = judged(text, 400.0, 411.0)
    assert (passed.verdict(), passed.difference(), passed.passed()) == ("above", None, 2)
    # the mean is above it
    (failed,) = judged(text, 399.0, 500.0, 500.0)
    assert (failed.verdict(), failed.passed()) == ("below", 2)
    assert [x.verdict() for x in judged(text, 400.0)] == ["above"]
    ours = results_of({"CartPole": [399.0, 500.0, 500.0]})
    lines = [*Report(table_of("tiny", tomllib.loads(text)), ours).section("x.png")]
    end = "| a paper: 400.0 | 2 of 3 seeds reach it | below |"
    assert any(line.endswith(end) for line in lines)


def test_the_settings_of_a_report_are_a_table() -> None:
    lines = "\n".join(Report(TABLE, results_of({})).section("x.png"))
    block = lines.partition("```toml\n")[2].partition("```")[0]
    again = table_of("tiny", tomllib.loads(block))
    assert all(again.config(name) == TABLE.config(name) for name in TABLE.tasks)
    assert (again.seeds, again.tasks.keys()) == (TABLE.seeds, TABLE.tasks.keys())
    assert [task.scale for task in again.tasks.values()] == [(24.0, 500.0), (-500.0, -70.0)]


def test_scores_are_of_all_seeds_of_a_task() -> None:
    ours = results_of({"CartPole": [24.0, 500.0, 500.0], "Acrobot": [-70.0, -285.0]})
    scores = Report(TABLE, ours).scores_of(
        ours, ["CartPole", "Acrobot"], "last_100_training_episodes"
    )
    assert scores == [[0, 1, 1], [1, 0.5]]


def test_scores_are_of_the_tasks_that_ours_and_another_have() -> None:
    ours = results_of({"CartPole": [24.0, 500.0], "Acrobot": [-70.0, -70.0]})
    peers = [
        Source(results_of({"CartPole": [262.0, 262.0, 262.0]}, "a peer 2"), "peer.json"),
        Source(results_of({"Acrobot": [-285.0, -285.0]}, "another"), "another.json"),
        Source(results_of({"Pendulum": [1.0]}, "of another task"), "none.json"),
    ]
    first = [
        (x.library, x.mean.mean, x.num_tasks, x.num_runs)
        for x in Report(TABLE, ours, peers).scores()
        if x.measure == "last_100_training_episodes"
    ]
    assert first == [
        ("distpg 1", 0.5, 1, 2),
        ("a peer 2", 0.5, 1, 3),
        ("distpg 1", 1, 1, 2),
        ("another", 0.5, 1, 2),
    ]
    (alone, _) = Report(TABLE, ours).scores()
    assert (alone.num_tasks, alone.num_runs) == (2, 4)


WAYS = """\
title = "A task in two ways"
seeds = [0]
[tasks.Env-v0-ppo]
env_id = "lab/Env-v0"
steps = 100
[tasks.Env-v0-a2c]
env_id = "lab/Env-v0"
steps = 100
"""
REFERENCE = """\
[[tasks.Env-v0-{way}.references]]
name = "a paper"
value = {value}
measure = "last_100_training_episodes"
source = "figure 3"
"""


def test_an_environment_with_several_tasks_has_them_in_order(tmp_path: Path) -> None:
    references = [REFERENCE.format(way=x, value=y) for x, y in (("ppo", 5.0), ("a2c", 4.0))]
    table = table_of("ways", tomllib.loads("".join([WAYS, *references])))
    ours = results_of({"Env-v0-ppo": [10.0, 20.0], "Env-v0-a2c": [30.0]})
    lines = [*Report(table, ours).section("x.png")]
    order = "| lab/Env-v0 | distpg 1 | a2c 30.0; ppo 15.0 (-48.5 to 78.5) |"
    assert lines[lines.index(order) + 1] == "| lab/Env-v0 | a paper | ppo 5.00; a2c 4.00 |"
    draw_curves(table, [ours], tmp_path / "x.png")
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")
    # one task alone has no order
    alone = [*Report(table.part(["Env-v0-ppo"], None), ours).section("x.png")]
    assert not any("the best first" in line for line in alone)


def test_a_line_is_named_by_library_and_way() -> None:
    ours = results_of({})
    assert name_line(ours, "", [ours]) == "distpg 1"
    assert name_line(ours, "a2c", [ours]) == "a2c"
    assert name_line(ours, "a2c", [ours, ours]) == "distpg 1, a2c"


def test_a_curve_ends_where_the_last_seed_stopped() -> None:
    ours = results_of({"CartPole": [1.0, 2.0]})
    early = {
        seed: replace(run, env_steps=1010) for seed, run in ours.tasks["CartPole"].runs.items()
    }
    task = TaskResults({}, early)
    figure = import_figure().Figure()
    axes = figure.subplots()
    draw_line(axes, Line("distpg 1", task), 1, Look("#000000", "-"))
    (drawn,) = axes.get_lines()
    # points at each 20 env steps, of which the first has no episode yet
    assert list(drawn.get_xdata()) == list(range(40, 1021, 20))


def test_what_is_not_measured_is_said() -> None:
    text = "\n".join(Report(TABLE, results_of({"CartPole": [1.0]})).section("x.png"))
    assert "- not measured yet: Acrobot" in text.splitlines()
    assert "**Acrobot**" not in text


def test_results_are_read_back_from_a_file_of_few_lines(tmp_path: Path) -> None:
    ours = results_of({"CartPole": [1.0, 2.5e-7]})
    text = to_json(ours)
    assert json.loads(text)["tasks"]["CartPole"]["runs"][1]["seed"] == 1
    assert len(text.splitlines()) < 100
    file = tmp_path / "tiny.json"
    add_to_file(file, ours)
    assert read_results(file) == ours


def test_a_file_grows_by_tasks_and_seeds_and_keeps_runs_of_other_settings(tmp_path: Path) -> None:
    file = tmp_path / "folder" / "tiny.json"
    add_to_file(file, results_of({"CartPole": [1.0, 2.0], "Acrobot": [3.0]}))
    add_to_file(file, results_of({"CartPole": [5.0]}))
    values = read_results(file).tasks
    assert values["CartPole"].values("last_100_training_episodes") == {0: 5.0, 1: 2.0}
    assert values["Acrobot"].values("last_100_training_episodes") == {0: 3.0}
    before = file.read_text()
    with pytest.raises(InputError, match=r"tiny\.json: its runs of CartPole have other settings"):
        add_to_file(file, results_of({"CartPole": [6.0]}, settings="b"))
    assert file.read_text() == before


def test_a_file_that_many_add_to_at_a_time_has_the_runs_of_all(tmp_path: Path) -> None:
    file = tmp_path / "folder" / "tiny.json"

    def add(seed: int) -> None:
        task = TaskResults({"name": "a"}, {seed: run_of(seed, 1.0)})
        add_to_file(file, Results("tiny", "distpg 1", "", {"CartPole": task}))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(add, range(24)))
    assert [*read_results(file).tasks["CartPole"].runs] == [*range(24)]
    assert [path.name for path in file.parent.iterdir()] == ["tiny.json"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"measures": None}, "seed 0: measures: None is not a table"),
        ({"measures": {"final_greedy": "high"}}, "measures: 'high' is not a finite number"),
        ({"measures": {"final_greedy": float("nan")}}, "measures: nan is not a finite number"),
        ({"greedy_returns": [True]}, "greedy_returns: (True,) is not a list of numbers"),
        ({"curve": {"env_steps": [1], "returns": []}}, "a return for each number of env steps"),
        ({"curve": {"env_steps": [1], "returns": [1]}}, "not at the same env steps"),
        ({"machine": None}, "machine: None is not a table"),
        ({"machine": {"cpu": "a CPU", "cores": 2}}, "machine: system is missing"),
        ({"seed": "a"}, "seed: 'a' is not a whole number"),
        ({"seed": 1}, "tasks.CartPole: a seed is there twice"),
        ({"date": 20260102}, "date: 20260102 is not text"),
        ({"another": 1}, "it does not hold the results of a table"),
    ],
)
def test_runs_that_are_malformed_are_refused(
    tmp_path: Path, change: dict[str, object], said: str
) -> None:
    file = tmp_path / "x.json"
    content = json.loads(to_json(results_of({"CartPole": [1.0, 2.0]})))
    content["tasks"]["CartPole"]["runs"][0] |= change
    file.write_text(json.dumps(content))
    with pytest.raises(InputError) as error:
        read_results(file)
    assert str(error.value).startswith(f"{file}: it does not hold the results of a table: ")
    assert said in str(error.value)


def test_a_run_whose_returns_are_not_finite_is_not_kept(tmp_path: Path) -> None:
    # it would be measured again without end
    with pytest.raises(InputError, match="seed 0: curve: inf is not a finite number"):
        write_measured(tmp_path / "seed-0.json", run_of(0, float("inf")))
    assert not [*tmp_path.iterdir()]
    write_measured(tmp_path / "seed-0.json", run_of(0, 5.0))
    assert read_measured(tmp_path / "seed-0.json") == run_of(0, 5.0)


def test_files_that_are_no_results_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    for text in (
        "",
        "[]",
        '{"table": "tiny"}',
        '{"table": 1, "name": 2, "command": 3, "tasks": 4}',
        '{"table": 1, "name": "2", "command": "3", "tasks": {}}',
        '{"table": "1", "name": "2", "command": "3", "tasks": {"a": {"settings": {}, "runs": []}}}',
        "[" * 100_000,
    ):
        file.write_text(text)
        with pytest.raises(InputError, match=r"x\.json: it does not hold the results"):
            read_results(file)
    with pytest.raises(InputError, match="cannot be read"):
        read_results(tmp_path / "none.json")
    other = replace(results_of({"CartPole": [1.0]}), table="another")
    file.write_text(to_json(other))
    with pytest.raises(InputError, match="has the results of table another, not of tiny"):
        add_to_file(file, results_of({"CartPole": [1.0]}))
