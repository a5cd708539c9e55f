"""What TensorBoard shows of a run, read by its own plugins; and the table of its tags."""

# protobuf creates these classes at run time, invisible to pyright
# pyright: reportAttributeAccessIssue=false

import csv
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.context import RequestContext
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.custom_scalar.custom_scalars_plugin import CustomScalarsPlugin
from tensorboard.plugins.hparams import api_pb2
from tensorboard.plugins.hparams.backend_context import Context
from tensorboard.plugins.hparams.list_session_groups import Handler
from tensorboard.util import tensor_util

from distpg import Config, Outcome, RunError, imitate, resume, train
from distpg.report.charts import BANDS, CHARTS, FINAL, charts_of, patterns_of
from distpg.report.metrics import METRICS, OTHERS, describe
from distpg.report.metrics_page import page
from distpg.report.texts import table
from distpg.run import checkpointer
from tests.environments import Breaks, Echo, Levels
from tests.settings import config_of
from tests.test_run_files import Reports
from tests.test_watchers import Raises, tiny

DOCUMENT = Path(__file__).parents[1] / "docs/metrics.md"
OFTEN: dict[str, Any] = {"gradient_stats_every": 1, "histogram_every": 2}


def pendulum(**changes: Any) -> Config:
    settings = {"env_id": "Pendulum-v1", "num_steps": 250, "minibatch_size": 250, **OFTEN}
    return tiny(total_steps=4000, **settings, **changes)


def break_at_11() -> Breaks:
    return Breaks(after=11)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Runs of several algorithms, which write all tags between them."""
    folder = tmp_path_factory.mktemp("runs")

    def run(name: str, config: Config, **others: Any) -> Path:
        return train(config, run_dir=folder / name, quiet=True, **others).run_dir

    cloned = [
        imitate(
            tiny(env_id=env_id, histogram_every=1),
            expert,
            expert_rounds=2,
            run_dir=folder / env_id,
            quiet=True,
        ).run_dir
        for env_id, expert in (("CartPole-v1", left), ("Pendulum-v1", limp))
    ]
    return [
        run("reports", tiny(eval_every=2, **OFTEN), make_env=Reports),
        run("breaks", tiny(max_env_faults=99), make_env=break_at_11),
        run("pendulum", pendulum(value_clip=0.5)),
        run("echo", tiny(total_steps=64, **OFTEN), make_env=Echo),
        run("trpo", pendulum(algo="trpo", num_epochs=1)),
        run("penalty", tiny(algo="ppo_kl", env_id="CartPole-v1", video_every=10)),
        run("overlap", tiny(algo="appo", env_id="CartPole-v1")),
        *cloned,
    ]


def left(obs: Any) -> Any:
    return np.zeros(len(obs), np.int64)


def limp(obs: Any) -> Any:
    return np.zeros((len(obs), 1), np.float32)


def events_of(run: Path) -> EventAccumulator:
    return EventAccumulator(str(run), {"scalars": 0, "tensors": 0}).Reload()


def tags_of(run: Path) -> set[str]:
    """Return all that a run wrote: also counts that stayed 0, which are in its table alone."""
    with (run / "progress.csv").open(newline="") as file:
        names = csv.DictReader(file).fieldnames or []
    tags = events_of(run).Tags()
    tensors = {
        tag.removesuffix("/text_summary")
        for tag in cast("list[str]", tags["tensors"])
        if not tag.startswith(("_hparams_", "custom_scalars"))
    }
    shown = {*cast("list[str]", tags["scalars"]), *cast("list[str]", tags["images"])}
    return {*names} - {"iteration", "env_steps"} | shown | tensors


def matching(tags: set[str], pattern: str) -> set[str]:
    return {tag for tag in tags if re.match(pattern, tag)}


def test_the_tags_that_runs_write_are_those_of_the_table(runs: Sequence[Path]) -> None:
    tags = {tag for run in runs for tag in tags_of(run)}
    metrics = (*METRICS, *OTHERS)
    assert {tag for tag in tags if not describe(tag)} == set()
    fixed = {metric.tag for metric in metrics if "{" not in metric.tag}
    assert fixed - tags == set()
    open_ended = {metric.tag: metric.pattern for metric in metrics if metric.tag not in fixed}
    unused = {tag for tag, pattern in open_ended.items() if not matching(tags - fixed, pattern)}
    assert unused == set()
    # what a user chooses is all that these patterns are for
    assert matching(tags - fixed, open_ended["rollout/{metric}"]) == {"rollout/twice"}
    assert matching(tags - fixed, open_ended["eval/{metric}"]) == {"eval/twice"}


def test_the_document_is_what_the_table_generates() -> None:
    assert DOCUMENT.read_text("utf-8") == "\n".join([*page(), ""])
    assert table(("a", "b"), [("x|y", 1)]) == ["| a | b |", "| --- | --- |", "| x\\|y | 1 |"]


def test_every_chart_has_a_question_and_tags() -> None:
    charts = [chart for titles in CHARTS.values() for chart in titles]
    assert len(charts) == len({*charts})
    assert {*charts} == {metric.chart for metric in METRICS} - {""}
    tags = {metric.tag for metric in METRICS}
    assert {*FINAL, *(tag for band in BANDS.values() for tag in band)} <= tags
    assert charts_of({"faults/dropped/anomaly", "train/std", "unknown"}) == {
        "Is the update healthy?": ("std",),
        "Where does the time go?": ("dropped env steps",),
    }
    (exact, part) = patterns_of("dropped env steps")
    assert re.match(exact, "faults/dropped_steps")
    assert not re.match(exact, "faults/dropped_steps_more")
    assert re.match(part, "faults/dropped/anomaly")


def provider_of(folder: Path) -> MultiplexerDataProvider:
    multiplexer = EventMultiplexer().AddRunsFromDirectory(str(folder)).Reload()
    return MultiplexerDataProvider(multiplexer, str(folder))


def rows_of_hparams(folder: Path) -> list[Any]:
    """Return what the dashboard shows of the runs in a folder."""
    statuses = [api_pb2.Status.Value(name) for name in api_pb2.Status.keys()]  # noqa: SIM118
    request = api_pb2.ListSessionGroupsRequest(
        slice_size=99, allowed_statuses=statuses, include_metrics=True
    )
    context = Context(TBContext(data_provider=provider_of(folder)))
    return [*Handler(RequestContext(), context, "", request).run().session_groups]


def test_hparams_has_a_row_for_each_run_with_its_settings_and_last_values(tmp_path: Path) -> None:
    outcomes = [train(tiny(), make_env=Levels, run_dir=tmp_path / x, quiet=True) for x in "ab"]
    rows = rows_of_hparams(tmp_path)
    assert [row.name for row in rows] == ["a", "b"]
    for row, outcome in zip(rows, outcomes, strict=True):
        values = {metric.name.tag: metric.value for metric in row.metric_values}
        assert values["rollout/ep_rew_mean"] == outcome.result["episode_return_mean"]
        assert values["time/total_timesteps"] == outcome.result["env_steps"]
        assert values.keys() == {*FINAL} - {"eval/mean_reward"}
        (session,) = row.sessions
        assert session.status == api_pb2.STATUS_SUCCESS
        settings = row.hparams
        assert settings["num_steps"].number_value == 8
        assert settings["hidden_sizes"].string_value == "(8,)"
        assert settings["normalize_obs"].bool_value is True
        # a number in some runs, and text in others
        assert settings["bootstrap_steps"].string_value == "5"
        assert "stop_at_return" not in settings


def test_a_resumed_run_keeps_its_row_and_gets_a_new_status(tmp_path: Path) -> None:
    run, config = tmp_path / "run", tiny(total_steps=160, max_env_faults=0, checkpoint_every=1)
    with pytest.raises(RunError):
        train(config, make_env=lambda: Breaks(after=20), run_dir=run, quiet=True)
    (row,) = rows_of_hparams(tmp_path)
    assert row.sessions[0].status == api_pb2.STATUS_FAILURE
    outcome = resume(
        run, make_env=lambda: Breaks(after=0), total_steps=320, max_env_faults=9, quiet=True
    )
    (row,) = rows_of_hparams(tmp_path)
    assert row.sessions[0].status == api_pb2.STATUS_SUCCESS
    assert row.hparams["total_steps"].number_value == 320
    values = {metric.name.tag: metric.value for metric in row.metric_values}
    assert values["time/total_timesteps"] == outcome.result["env_steps"]


def points(run: Path, tag: str) -> list[tuple[int, float]]:
    return [(event.step, event.value) for event in events_of(run).Scalars(tag)]


def test_a_count_of_faults_begins_with_a_zero_before_the_first(tmp_path: Path) -> None:
    config = tiny(total_steps=160, checkpoint_every=1, max_env_faults=99)
    outcome = train(config, make_env=break_at_11, run_dir=tmp_path / "run", quiet=True)
    steps = [step for step, _ in points(outcome.run_dir, "time/fps")]
    # each of the four envs raises at its eleventh step, in the second iteration of eight
    first, second, *others = points(outcome.run_dir, "faults/env_faults")
    assert (first, second) == ((steps[0], 0), (steps[1], 4))
    assert [step for step, _ in others] == steps[2:]
    scalars = cast("list[str]", events_of(outcome.run_dir).Tags()["scalars"])
    assert {tag for tag in scalars if tag.startswith("faults/")} == {
        "faults/env_faults",
        "faults/dropped_steps",
        "faults/dropped/env_fault",
    }
    resume(outcome.run_dir, make_env=lambda: Breaks(after=0), total_steps=320, quiet=True)
    resumed = points(outcome.run_dir, "faults/env_faults")
    assert [value for _, value in resumed].count(0) == 1
    assert resumed[-1] == (points(outcome.run_dir, "time/fps")[-1][0], others[-1][1])


def text_of(run: Path, tag: str) -> str:
    """Return the last text under a tag."""
    event = events_of(run).Tensors(f"{tag}/text_summary")[-1]
    return event.tensor_proto.string_val[0].decode()


def faults_of(run: Path) -> list[dict[str, str]]:
    with (run / "faults.csv").open(newline="") as file:
        return [*csv.DictReader(file)]


def test_faults_are_told_in_words_also_the_one_that_ends_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise OSError("disk | full")

    def save_later(iteration: Any) -> None:
        if iteration.progress.iteration == 1:
            monkeypatch.setattr(checkpointer, "save_checkpoint", fail)

    run = tmp_path / "run"
    # each env raises at its 38th step; a step that resets follows every fifth
    with pytest.raises(RunError):
        train(
            tiny(max_env_faults=3, checkpoint_every=2),
            make_env=lambda: Breaks(after=38),
            watchers=[save_later, Raises(required=False)],
            run_dir=run,
            quiet=True,
        )
    rows = faults_of(run)
    kinds = [row["kind"] for row in rows]
    assert kinds == [
        *("watcher_errors", "checkpoint_failures"),
        *["env_faults"] * 4,
        *("checkpoint_failures", "error"),
    ]
    assert rows[0]["iteration"] == "3"
    assert {row["iteration"] for row in rows[2:]} == {"6"}
    assert "ValueError: no such thing" in rows[0]["message"]
    assert rows[1]["message"] == "a checkpoint could not be written: disk | full"
    assert rows[-1]["message"].startswith("environments raised 4 times, more than")
    lines = text_of(run, "faults").splitlines()
    assert [line.split(", ")[2].partition(":")[0] for line in lines] == kinds[::-1]
    assert lines[-2].endswith(
        "checkpoint_failures: `a checkpoint could not be written: disk | full`"
    )
    assert re.match(r"- iteration 6, \d+ env steps, error: `environments raised", lines[0])


def test_the_text_of_the_settings_begins_with_those_that_were_changed(tmp_path: Path) -> None:
    run = train(tiny(seed=5), make_env=Levels, run_dir=tmp_path / "run", quiet=True).run_dir
    changed, _, everything = text_of(run, "config").partition("All settings")
    assert "| seed | 5 | 0 |" in changed
    assert "| hidden_sizes | [8] | [64, 64] |" in changed
    assert "| num_steps | 8 | 256 |" in changed
    # not given, but found out
    assert "learner_threads" not in changed
    assert "learner_threads = 1" in everything


def layout_of(folder: Path) -> dict[str, list[str]]:
    context = TBContext(data_provider=provider_of(folder))
    content = CustomScalarsPlugin(context).layout_impl(RequestContext(), "")
    return {
        str(category["title"]): [str(chart["title"]) for chart in category["chart"]]
        for category in json.loads(str(content))["category"]
    }


def test_the_charts_are_those_that_have_values(tmp_path: Path) -> None:
    def run(name: str, **others: Any) -> Outcome:
        settings = {"total_steps": 160, "max_env_faults": 99, **OFTEN}
        return train(config_of({**vars(tiny()), **settings}), run_dir=tmp_path / name, **others)

    run("quiet", make_env=Levels, quiet=True)
    before = layout_of(tmp_path)
    assert before["Is it learning?"] == ["return", "episode length", "range of the returns"]
    assert "explained variance" in before["Is the estimate good?"]
    assert before["Where does the time go?"] == [
        "stacked shares of the time",
        "env steps per second",
    ]
    assert "What failed?" not in before
    run("raises", make_env=break_at_11, quiet=True)
    after = layout_of(tmp_path)
    assert after["What failed?"] == ["environments"]
    # charts of the second run are those of the first, but for the new one
    assert after["Is it learning?"] == before["Is it learning?"]


def test_histograms_are_written_every_few_iterations(runs: Sequence[Path]) -> None:
    by_name = {run.name: run for run in runs}
    events = events_of(by_name["reports"])
    steps = [event.step for event in events.Scalars("time/fps")]
    for name in ("actions", "advantages", "values", "returns"):
        found = events.Tensors(f"batch/{name}")
        assert [event.step for event in found] == steps[::2]
        counts = [tensor_util.make_ndarray(event.tensor_proto)[:, 2].sum() for event in found]
        assert counts == np.diff([0, *steps])[::2].tolist()
    (bins, *_) = (tensor_util.make_ndarray(x.tensor_proto) for x in events.Tensors("batch/actions"))
    assert bins[:, :2].tolist() == [[-0.5, 0.5], [0.5, 1.5]]
    # a torque is at most 2
    pendulum = events_of(by_name["pendulum"]).Tensors("batch/actions")[0]
    bins = tensor_util.make_ndarray(pendulum.tensor_proto)
    assert (bins[0, 0], bins[-1, 1]) == (-2, 2)
