"""`bench`: what it measures fits together, and nothing is left behind."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from distpg import Config, train
from distpg.bench.measure import repeat_for
from distpg.cli import main

SMALL = ["--hidden-sizes", "8", "--num-envs", "2", "--seconds", "0.01", "--compile", "off"]
SEGMENTS = [*SMALL, "--num-steps", "32", "--minibatch-size", "16", "--num-epochs", "2"]

LIMITS = (
    "collection-bound",
    "update-bound",
    "balanced",
    "CPU slower than GPU for this network",
)


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def bench(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["bench", *words]) == 0, capsys.readouterr().err
    assert not list(Path().iterdir()), "something was written"
    ray = sys.modules.get("ray")
    assert ray is None or not ray.is_initialized(), "a Ray was started"
    return capsys.readouterr().out


def found_by(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    return json.loads(bench(capsys, *words, "--json"))


def assert_consistent(found: dict[str, Any]) -> None:
    measured, predicted = found["measured"], found["predicted"]
    seconds = sum(predicted[part] for part in ("collect_s", "transfer_s", "update_s"))
    assert predicted["steps_per_s"] == pytest.approx(measured["batch_steps"] / seconds)
    share = predicted["steps_per_s"] / predicted["limit_per_s"]
    assert predicted["limit_share"] == pytest.approx(share)
    assert predicted["update_s"] == measured["update_s"][measured["device"]]
    passes = measured["num_epochs"] + measured["value_epochs"]
    for device, update_s in measured["update_s"].items():
        samples_per_s = passes * measured["batch_steps"] / update_s
        assert measured["samples_per_s"][device] == pytest.approx(samples_per_s)
    assert 0 <= measured["policy_share"] < 1
    assert found["verdict"].partition(":")[0] in LIMITS


def test_segments_on_workers(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--env-id", "CartPole-v1", "--num-slots", "3", "--num-workers", "3", *SEGMENTS]
    found = found_by(capsys, *words, "--device", "cpu")
    assert_consistent(found)
    measured = found["measured"]
    # the steps that reset are none
    assert 3 * 2 * 32 / 2 < measured["batch_steps"] <= 3 * 2 * 32
    # four float32 observed before and after, action, log-probability, reward, three flags
    steps = 3 * 2 * 32
    arrays = 16 * (steps + 3 * 2) + (8 + 4 + 4 + 3) * steps
    assert arrays <= measured["batch_bytes"] < arrays + 3 * 2000
    assert measured["doubled_s"] > 0


@pytest.mark.parametrize("minibatch_size", ["none", "8"])
def test_whole_episodes_in_one_process(
    minibatch_size: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--algo", "reinforce", "--num-workers", "0", "--episodes-per-env", "2", *SMALL]
    found = found_by(capsys, *words, "--minibatch-size", minibatch_size, "--device", "cpu")
    assert_consistent(found)
    measured = found["measured"]
    assert found["algo"] == "reinforce"
    assert found["predicted"]["transfer_s"] == 0
    assert measured["batch_steps"] >= 2 * 2 * 8
    assert (measured["doubled_s"] is None) == (minibatch_size == "none")


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param("nested obs", marks=pytest.mark.thorough),
        "multi-discrete action",
        "matrix action",
    ],
)
def test_other_spaces(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    kwargs = json.dumps({"kind": kind})
    words = ["--env-id", "tests.environments:AnyKind-v0", "--env-kwargs", kwargs, *SEGMENTS]
    assert_consistent(found_by(capsys, *words, "--device", "cpu"))


def test_the_policy_may_be_that_of_another_run(
    tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    config = Config(
        num_workers=0, num_envs=2, num_steps=32, minibatch_size=32, hidden_sizes=(8,), total_steps=1
    )
    run = train(config, run_dir=tmp_path_factory.mktemp("runs") / "run", quiet=True).run_dir
    words = ["--env-id", "CartPole-v1", *SEGMENTS, "--device", "cpu", "--init-from", str(run)]
    assert_consistent(found_by(capsys, *words))
    assert main(["bench", *words, "--hidden-sizes", "9"]) == 2
    assert "[9]" in capsys.readouterr().err


def test_what_cannot_be_is_not_advised(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--config", "cartpole-ppo", *SEGMENTS, "--recurrent", "gru", "--num-workers", "0"]
    measured = found_by(capsys, *words, "--overlap", "--device", "cpu")["measured"]
    assert not any(measured[name] for name in ("may_compile", "may_overlap", "overlap"))


def test_for_people_the_verdict_comes_last(capsys: pytest.CaptureFixture[str]) -> None:
    lines = bench(capsys, "--config", "cartpole-ppo", *SEGMENTS, "--device", "cpu").splitlines()
    assert lines[0].startswith("CartPole-v1, ppo: --num-slots 2 x --num-envs 2")
    names = ["stepping", "acting", "transfer", "update,", "minibatch", "predicted", "limit"]
    assert [line.split()[0] for line in lines[1:-1]] == names
    assert lines[-1].partition(":")[0] in LIMITS


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--seconds", "0"], "--seconds: 0.0 is not"),
        (["--num-envs", "0"], "--num-envs: 0"),
        (["--address", "auto"], "--address: auto, but bench measures only this machine"),
        (["--config", "cartpol-ppo"], "did you mean"),
        (["--env-id", "CartPol-v1"], "CartPole-v1"),
        (["--init-from", "nowhere"], "not a run directory"),
    ],
    ids=" ".join,
)
def test_bad_input_is_refused(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", *words]) == 2
    message = capsys.readouterr().err
    assert said in message
    assert len(message.splitlines()) == 1


def test_one_always_fits_into_the_time() -> None:
    assert list(repeat_for(0)) == [1]
