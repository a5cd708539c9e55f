"""`doctor`: each fault of an environment or a machine is one line, and what is sound has none."""

import json
import socket
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from ray.cluster_utils import Cluster

from distpg.actors import nodes
from distpg.actors.cluster import QUIET
from distpg.actors.cluster import environment as variables
from distpg.commands.doctor import DoctorFlags, config_of
from distpg.config.config import Config
from distpg.config.flags import read_flags
from distpg.doctor import environment, facts, machine, process
from distpg.doctor.actions import action_scale
from distpg.doctor.check import Check, Report
from distpg.doctor.machine import GB, Node, judge
from distpg.spaces import ActionSpec
from tests.test_cli import assert_refused, run_main
from tests.test_import_floors import imported

thorough = partial(pytest.param, marks=pytest.mark.thorough)
HERE = ["versions", "resources", "shared memory", "temp folder", "open files", "GPU"]
DRIVER = ["runs folder", "loopback"]
WALK = [*environment.BASIC_CHECKS, *environment.RUN_CHECKS]


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


@pytest.fixture
def no_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the checks of this machine out."""
    monkeypatch.setattr(machine, "local", nothing)
    monkeypatch.setattr(nodes, "local", nothing)


def nothing() -> Iterator[Report]:
    yield from ()


def lines(capsys: pytest.CaptureFixture[str]) -> dict[str, tuple[str, str]]:
    """Status and the rest of every printed check, by its name."""
    *checks, summary = capsys.readouterr().out.splitlines()
    assert summary.endswith(" FAIL")
    return {line[6:20].strip(): (line[:4], line[21:]) for line in checks}


def examined(env_id: str, **kwargs: Any) -> list[Check]:
    """All checks of an environment, in this process."""
    config = Config(env_id=env_id, env_kwargs=kwargs)
    return [one for one in environment.checks(config) if isinstance(one, Check)]


def troubles(env_id: str, **kwargs: Any) -> list[Check]:
    return [check for check in examined(env_id, **kwargs) if check.status != "PASS"]


FAULTS: dict[str, list[tuple[str, str, str]]] = {
    "NanObs": [("FAIL", "finite", "obs has nan after 5 steps")],
    "InfiniteReward": [("FAIL", "finite", "the reward has inf after 1 steps")],
    "TextReward": [("FAIL", "rewards", "the reward is '1', which is not a number")],
    "WrongDtype": [("WARN", "observations", "float64; its space has float32")],
    "WrongShape": [("FAIL", "observations", "shape [1]; its space has [2]")],
    "OutOfSpace": [("WARN", "observations", "outside of Box(-1.0, 1.0, (2,), float32)")],
    "OutOfCategories": [("FAIL", "observations", "obs is 3, which is not in Discrete(3)")],
    "Endless": [("WARN", "episode ends", "no time limit")],
    "LimitAsTermination": [("WARN", "episode ends", "after 20 to 20 steps")],
    "FlagInList": [("WARN", "episode ends", "of type list as terminated or truncated")],
    "NumberAsFlag": [("WARN", "episode ends", "of type int as terminated or truncated")],
    "Mutating": [("WARN", "aliasing", "modifies an observation that was returned")],
    "SharedBuffer": [
        ("WARN", "aliasing", "modifies an observation that was returned"),
        ("WARN", "copies", "modifies the observation that another returned"),
    ],
    "SharedState": [
        ("FAIL", "copies", "changes what another returns, from step 2 on"),
        ("WARN", "state", "resume is inexact"),
    ],
    "Normalized": [
        ("WARN", "wrappers", "NormalizeObservation: each copy has statistics of its own"),
        ("WARN", "state", "resume is inexact"),
    ],
    "Slow": [("WARN", "speed", "slowest 1.")],
    "Leaking": [("WARN", "memory", "MB per 1,000 steps")],
    "Forgetful": [("FAIL", "state", "gives different results after 1 steps")],
    "Stateless": [("WARN", "state", "resume is inexact")],
    "Unseeded": [
        ("WARN", "repeatable", "give different results at step 1"),
        ("WARN", "state", "resume is inexact"),
    ],
    "Unpicklable": [("FAIL", "pickle", "cannot pickle '_thread.lock' object")],
    "SameStep": [
        ("FAIL", "autoreset", "the step after an end returned reward 1"),
        ("WARN", "state", "resume is inexact"),
    ],
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_of_an_environment_is_one_line_with_what_to_do(name: str) -> None:
    found = troubles(f"tests.faulty:{name}-v0")
    assert [(one.status, one.name) for one in found] == [line[:2] for line in FAULTS[name]]
    for one, (_, _, words) in zip(found, FAULTS[name], strict=True):
        assert words in one.found
        assert one.advice


@pytest.mark.parametrize(
    "env_id",
    [
        "tests.faulty:Sound-v0",
        "tests.faulty:RewardInArray-v0",
        "CartPole-v1",
        "Pendulum-v1",
        "tests.environments:Remembers-v0",
        "distpg/DiamondHill-v0",
    ],
)
def test_a_sound_environment_passes_every_check(env_id: str) -> None:
    checks = examined(env_id)
    assert [check.name for check in checks] == WALK
    assert {check.status for check in checks} == {"PASS"}, troubles(env_id)


@pytest.mark.parametrize("kind", ["nested obs", "discrete obs", "scalar obs", "matrix action"])
def test_other_spaces_lie_within_themselves(kind: str) -> None:
    found = troubles("tests.environments:AnyKind-v0", kind=kind)
    # five steps, always; all copies sample from one space; no state
    assert [check.name for check in found] == ["episode ends", "copies", "state"]


INF, LARGEST = float("inf"), 3.4028234e38


@pytest.mark.parametrize(
    ("low", "high", "found"),
    [
        ((-1, 100), (1, 200), "PASS half the range of the bounds: 1 to 50"),
        ((-1, -INF), (1, INF), "PASS half the range of the bounds: 1; 1 around 0 for the others"),
        ((0, -LARGEST), (INF, LARGEST), "PASS 1 around 0 for all actions"),
        (
            (-1, 5),
            (1, INF),
            "WARN a Gaussian starts at 0 +- 1, and an action in units has",
        ),
        ((-INF, -1), (-2, 1), "WARN a Gaussian"),
        ((-1, -500), (1, LARGEST), "WARN a Gaussian"),
        ((-1e10, -1), (1e10, 1), "WARN the unit of the Gaussian is half the range of the bounds"),
    ],
)
def test_bounds_that_a_gaussian_does_not_fit_are_told(low: Any, high: Any, found: str) -> None:
    spec = ActionSpec("continuous", (2,), "float32", low=low, high=high)
    check = action_scale(spec, Config())
    assert f"{check.status} {check.found}".startswith(found)
    other = action_scale(spec, Config(action_distribution="gsde"))
    assert other.status == check.status
    assert bool(check.advice) == (check.status == "WARN")


@pytest.mark.usefixtures("no_machine")
@pytest.mark.parametrize(
    ("env_id", "kwargs", "name", "found"),
    [
        thorough(
            "tests.faulty:Raising-v0",
            "{}",
            "steps",
            "ValueError: the reactor is on fire (faulty.py",
        ),
        thorough("tests.faulty:Crashing-v0", "{}", "first step", "died with exit code 7"),
        thorough("tests.faulty:Hanging-v0", "{}", "first step", "hangs: no answer within 6"),
        thorough("tests.faulty:Unmakeable-v0", "{}", "made", "OSError: no such level"),
        thorough("tests.environments:AnyKind-v0", '{"kind": "text obs"}', "made", "obs: Text"),
        thorough("CartPole-v1", '{"gravitas": 1}', "made", "gravitas"),
    ],
)
def test_what_raises_crashes_or_hangs_is_a_line_and_the_last(
    env_id: str,
    kwargs: str,
    name: str,
    found: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(process, "DEADLINE_S", 6.0)
    assert run_main(["doctor", "--env-id", env_id, "--env-kwargs", kwargs]) == 1
    made = lines(capsys)
    assert list(made) == WALK[: WALK.index(name) + 1]
    status, rest = made.pop(name)
    assert status == "FAIL"
    assert found in rest
    assert {status for status, _ in made.values()} <= {"PASS"}


@pytest.mark.thorough
@pytest.mark.parametrize("backend", ["gymnasium", "envpool"])
def test_atari_games_can_be_repeated(backend: Any) -> None:
    if backend == "envpool":
        pytest.importorskip("envpool")
    found = list(environment.checks(Config(env_id="ALE/Breakout-v5", env_backend=backend)))
    checks = {check.name: check for check in found if isinstance(check, Check)}
    assert checks["repeatable"].status == checks["copies"].status == "PASS"


@pytest.mark.usefixtures("no_machine")
@pytest.mark.thorough
def test_the_deadline_grows_with_the_step(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "DEADLINE_S", 6.0)
    run_main(["doctor", "--env-id", "tests.faulty:Sluggish-v0"])
    made = lines(capsys)
    assert list(made) == WALK
    assert {status for status, _ in made.values()} == {"PASS", "WARN"}
    assert made["steps"] == ("PASS", "2 random steps and 1 resets")


@pytest.mark.usefixtures("no_machine")
@pytest.mark.thorough
def test_a_recipe_names_the_environment(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["doctor", "--config", "pendulum-ppo", "--env-id", "CartPole-v1", "--json"]
    assert run_main(words) == 0
    assert "CartPoleVectorEnv" in capsys.readouterr().out


def test_flags_replace_what_a_configuration_says(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('env_id = "A-v0"\nenv_kwargs = {a = 1}\nimage_keys = ["x"]\nframe_stack = 4\n')
    assert config_of(read_flags(DoctorFlags, ["--config", str(path)], "")).frame_stack == 4
    words = ["--config", str(path), "--env-kwargs", "{}", "--image-keys", "auto"]
    words += ["--frame-stack", "1", "--env-backend", "gymnasium"]
    config = config_of(read_flags(DoctorFlags, words, "distpg doctor"))
    assert (config.env_id, config.env_kwargs, config.image_keys) == ("A-v0", {}, ("auto",))
    assert config.frame_stack == 1


@pytest.mark.usefixtures("no_machine")
@pytest.mark.thorough
@pytest.mark.timeout(600)
def test_an_update_is_compiled_beforehand_and_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for told in ("the update is compiled for this machine, in", "compiled before", "do not"):
        words = ["cartpole-ppo"] if told != "do not" else ["cartpole-reinforce"]
        assert run_main(["doctor", "--compile", *words]) == 0
        assert told in capsys.readouterr().out
    (kept,) = (tmp_path / "distpg/compiled").iterdir()
    # a run of it starts with what was compiled
    words = ["--config", "cartpole-ppo", "--num-workers", "0", "--stop-at-return", "20"]
    assert run_main(["train", *words, "--run-dir", str(tmp_path / "run")]) == 0
    assert "compiling" not in capsys.readouterr().out
    assert 'compile = "on"' in (tmp_path / "run/config.toml").read_text()
    assert [*kept.parent.iterdir()] == [kept]


@pytest.mark.usefixtures("no_machine")
@pytest.mark.thorough
def test_a_program_reads_the_same_as_one_object(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_main(["doctor", "--env-id", "tests.faulty:NanObs-v0", "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert [check["name"] for check in told["checks"]] == list(environment.BASIC_CHECKS)
    (failed,) = (check for check in told["checks"] if check["status"] == "FAIL")
    assert failed.keys() == {"status", "name", "found", "advice"}
    assert (told["FAIL"], told["PASS"]) == (1, len(environment.BASIC_CHECKS) - 1)


@pytest.mark.parametrize(
    ("words", "offenders"),
    [
        (["--address", "ray://10.0.0.1:10001"], ["--address", "ray://10.0.0.1:10001", "auto"]),
        (["--address", "somewhere"], ["--address", "somewhere", "auto", "host:port"]),
        (["--env-id", "CartPol-v1"], ["--env-id", "CartPol-v1", "CartPole-v1"]),
        (["--env-id", "no_such_module:Env-v0"], ["--env-id", "no_such_module"]),
        (["--env-kwargs", '{"a": 1}'], ["--env-kwargs", "'a': 1", "--env-id"]),
        (["--env-backend", "envpool"], ["--env-backend", "envpool", "--env-id", "--config"]),
        (["--config", "cartpole-pp"], ["--config", "cartpole-pp", "cartpole-ppo"]),
        (["--env-id", "CartPole-v1", "--env-kwargs", "[1]"], ["--env-kwargs", "[1]"]),
        (["--num-workers", "2"], ["--num-workers"]),
    ],
    ids=" ".join,
)
def test_bad_input_is_refused(
    words: list[str], offenders: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert_refused(["doctor", *words], offenders, capsys)


VERSIONS: dict[str, str | None] = {"python": "3.12.1", "torch": "2.10.0", "distpg": "0.1.0"}
SOUND = Node(
    host="one",
    versions=VERSIONS,
    cores=8,
    memory=32 * GB,
    shared_memory=16 * GB,
    temp="/tmp",
    temp_free=100 * GB,
    temp_writable=True,
    open_files=65536,
    gpus=0,
    torch_gpus=0,
    torch_error="",
)


def but(host: str = "two", **changes: Any) -> Node:
    return replace(SOUND, host=host, **changes)


def test_sound_machines_pass() -> None:
    for other in ([], [but()], [but(shared_memory=None, open_files=-1)]):
        checks = list(judge([SOUND, *other], joined=True))
        assert [check.name for check in checks] == HERE
        assert {check.status for check in checks} == {"PASS"}


OTHER_TORCH = {**VERSIONS, "torch": "2.9.1"}
NO_DISTPG = {**VERSIONS, "distpg": None}


@pytest.mark.parametrize(
    ("changes", "status", "name", "found"),
    [
        ({"versions": OTHER_TORCH}, "FAIL", "versions", "torch 2.10.0 on one, 2.9.1 on two"),
        ({"versions": NO_DISTPG}, "FAIL", "versions", "missing: distpg on two"),
        ({"memory": GB}, "WARN", "resources", "16 CPUs, 0 GPUs, 33.0 GB"),
        ({"shared_memory": 2**26}, "WARN", "shared memory", "/dev/shm has 0.07 GB free; Ray's"),
        ({"temp_writable": False}, "FAIL", "temp folder", "/tmp cannot be written on two"),
        ({"temp_free": GB // 10}, "FAIL", "temp folder", "/tmp has 0.1 GB free on two"),
        ({"temp_free": 2 * GB}, "WARN", "temp folder", "/tmp has 2.0 GB free on two"),
        ({"open_files": 4096}, "WARN", "open files", "at most 4096 per process on two"),
        ({"open_files": 256}, "FAIL", "open files", "at most 256 per process on two"),
        ({"gpus": 2}, "WARN", "GPU", "2 present, but torch sees none"),
        ({"torch_error": "libc"}, "FAIL", "GPU", "torch cannot be imported: libc on two"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_what_a_node_lacks_is_one_line_that_names_it(
    changes: dict[str, Any], status: str, name: str, found: str
) -> None:
    checks = judge([SOUND, but(**changes)], joined=True)
    (odd,) = (check for check in checks if check.status != "PASS")
    assert (odd.status, odd.name) == (status, name)
    assert found in odd.found
    assert odd.advice


def test_a_machine_alone_needs_fewer_open_files() -> None:
    checks = judge([but(open_files=4096)], joined=False)
    assert {check.status for check in checks} == {"PASS"}


def test_of_many_nodes_a_few_are_named() -> None:
    crowd = [but(host=f"n{number}", versions=OTHER_TORCH) for number in range(9)]
    versions = next(judge([SOUND, *crowd], joined=True))
    assert versions.found == "torch 2.10.0 on one, 2.9.1 on n0, n1, n2 and 6 more"


def test_the_facts_import_nothing_that_a_node_may_lack() -> None:
    names = {name.partition(".")[0] for name, _ in imported(Path(str(facts.__file__)))}
    assert names - {"torch"} <= sys.stdlib_module_names


def test_runs_that_cannot_be_written_fail(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file")
    assert machine.runs_folder(tmp_path / "runs").status == "FAIL"
    assert machine.runs_folder(tmp_path / "new" / "runs").status == "PASS"


@pytest.mark.thorough
def test_this_machine_is_checked_with_a_ray_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    run_main(["doctor"])
    made = lines(capsys)
    assert list(made) == [*HERE, *DRIVER, "Ray"]
    assert made["Ray"][0] == made["loopback"][0] == made["versions"][0] == "PASS"
    assert not list(Path().iterdir()), "something was written"


def test_an_address_where_nothing_answers_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert run_main(["doctor", "--address", f"127.0.0.1:{port}"]) == 1
    made = lines(capsys)
    assert list(made) == [*DRIVER, "address"]
    assert made["address"][0] == "FAIL"


@pytest.mark.thorough
def test_the_nodes_of_a_cluster_are_checked(capsys: pytest.CaptureFixture[str]) -> None:
    with variables(QUIET):
        head = {"num_cpus": 2, "include_dashboard": False}
        cluster = Cluster(initialize_head=True, head_node_args=head)
        try:
            cluster.add_node(num_cpus=1)
            run_main(["doctor", "--address", str(cluster.address)])
        finally:
            cluster.shutdown()
    made = lines(capsys)
    assert list(made) == [*DRIVER, "address", "nodes", *HERE, "lost machines"]
    # Ray's defaults, of a head without RAY_health_check_*
    assert made["lost machines"][0] == "WARN"
    assert "known as lost after 65 s" in made["lost machines"][1]
    assert "RAY_health_check_period_ms=2000" in made["lost machines"][1]
    assert "2 answer" in made["nodes"][1]
    assert made["versions"][0] == "PASS"
    assert "on 2 nodes" in made["versions"][1]
    assert "3 CPUs" in made["resources"][1]
