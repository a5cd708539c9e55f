"""Bad input of every kind: one short message, exit code 2, nothing started and nothing lost."""

import dataclasses
import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from distpg import Config, train
from distpg.commands.bench import BenchFlags
from distpg.commands.compare import CompareFlags
from distpg.commands.config import PrintFlags
from distpg.commands.doctor import DoctorFlags
from distpg.commands.evaluate import EvaluateFlags
from distpg.commands.export import ExportFlags
from distpg.commands.imitate import ImitateFlags
from distpg.commands.plot import PlotFlags
from distpg.commands.push import PushFlags
from distpg.commands.recipes import RecipesFlags
from distpg.commands.resume import ResumeChanges, ResumeFlags
from distpg.commands.runs import RunsFlags
from distpg.commands.train import TrainFlags
from distpg.commands.tune import TuneFlags
from distpg.commands.verify import VerifyFlags
from distpg.config.config import hints
from distpg.config.flags import ConfigFlags
from distpg.config.values import flag
from distpg.run.checkpoint import FORMAT
from tests.faults.encoders import WRONG
from tests.faults.misbehaving import ACTIONS_REFUSED, OBS_REFUSED, RETURNED, SPACES, STATES
from tests.test_cli import ROOT, run_main
from tests.tuning.spaces import TINY

THOROUGH = pytest.mark.thorough
LONGEST_MESSAGE, LONGEST_BOX = 6, 22
"""Lines of a message, and of the box in which the command line's library explains its own."""
SMALL = shlex.split(
    "--num-workers 0 --num-envs 2 --num-steps 32 --minibatch-size 32 --hidden-sizes 8 "
    "--total-steps 1 --learner-threads 1"
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, which tests copy."""
    config = Config(
        num_workers=0, num_envs=2, num_steps=32, minibatch_size=32, hidden_sizes=(8,), total_steps=1
    )
    return train(config, run_dir=tmp_path_factory.mktemp("runs") / "run", quiet=True).run_dir


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


def refuse(words: list[str], said: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """See that a command is refused in a message with these words, and leaves no trace."""
    before, children = written(), below()
    capsys.readouterr()
    code = run_main(words)
    captured = capsys.readouterr()
    message = captured.err + captured.out
    assert code == 2, message
    flat = " ".join(message.replace("│", " ").split())
    for word in said:
        # the box breaks long words, and messages the longest
        assert word[:60].replace(" ", "") in flat.replace(" ", ""), f"{word!r} is not in: {message}"
    lines = [line for line in message.splitlines() if line.strip()]
    box = [line for line in lines if line.startswith(tuple(" ╭│╰"))]
    assert len(lines) > 0, "nothing was said"
    assert len(lines) - len(box) <= LONGEST_MESSAGE, message
    assert len(box) <= LONGEST_BOX, message
    assert len(message) < 2500, message
    assert "Traceback" not in message
    assert written() == before
    assert below() <= children
    ray = sys.modules.get("ray")
    assert ray is None or not ray.is_initialized(), "a Ray was left running"


def below() -> set[psutil.Process]:
    """All processes of ours but Python's own, which stays once a process was spawned."""
    return {
        process
        for process in psutil.Process().children(recursive=True)
        if not any("resource_tracker" in word for word in process.cmdline())
    }


def written() -> dict[Path, bytes]:
    """All files below the working directory, folders as empty ones."""
    return {
        path: path.read_bytes() if path.is_file() else b""
        for path in Path().rglob("*")
        if "__pycache__" not in path.parts
    }


# each value by itself is bad; it and the flag are in the message
TRAIN: dict[str, str] = {
    "--algo": "dqn PPO '' none",
    "--seed": "-1 9223372036854775808 9999999999999999999999 1.5 nan x",
    "--total-steps": "0 -5 1e6 2000000000000000 many",
    "--stop-at-return": "nan inf -inf many",
    "--max-seconds": "0 -1 nan inf soon",
    "--stop-at-eval-return": "nan inf -inf many 3",
    "--log": "tensorboard ''",
    "--watcher": "'' Patience distpg: distpg:Patience os:sep no_such_module:Watcher "
    """'distpg:StopAfter{1}' distpg:StopAfter 'distpg:StopAfter{"minutes": 1}' """
    """'distpg:StopOnPlateau{"patience": 0}' os:PathLike""",
    "--checkpoint-every": "-1 0.5 often",
    "--keep-checkpoints": "0 -1 all",
    "--eval-every": "-1 1.5",
    "--eval-delay": "0 1000001 ten",
    "--video-every": "-1 1000001 ten",
    "--eval-episodes": "0 1000001 ten",
    "--eval-max-steps": "0 -1 1.5 1e3",
    "--init-from": "'' nowhere",
    "--env-id": "'' CartPol-v1 CartPole-v7 cartpole 'CartPole-v1 ' ALE/Pung-v5 ../x:Y-v0 "
    "no_such_module:Env-v0 :CartPole-v1 gymnasium: a:b:c <Own> Humanoid-v2 phys2d/CartPole-v1 "
    "MiniGrid-Empty-5x5-v0 gymnasium:Envy os:sep os:getcwd",
    "--env-kwargs": """{ [1] null 3 '' x=1""",
    "--env-wrapper": "'' FrameStack gymnasium.wrappers: gymnasium.wrappers:FrameStack os:sep "
    """no_such_module:Wrapper 'gymnasium.wrappers:ClipReward{1}' os:getcwd builtins:type """
    """'gymnasium.wrappers:TimeLimit{"steps": 3}'""",
    "--frame-stack": "0 -1 1001 many",
    "--close-timeout": "0 -1 nan soon",
    "--env-backend": "envpol gym",
    "--on-bad-value": "ignore",
    "--on-anomaly": "ignore",
    "--rollback-on-collapse": "0 -1 nan half",
    "--image-keys": "'' nothing obs",
    "--num-envs": "0 -2 2.5 many 1000001 nan",
    "--sign-rewards": "yes",
    "--num-workers": "-1 10001 1000000000 2.0 two",
    "--num-slots": "0 -1 1000000 x",
    "--num-steps": "1 0 -1 1e3",
    "--episodes-per-env": "-1 0.5",
    "--phase-timeout": "0 -1 nan inf soon",
    "--max-restarts": "-1 0.5 many",
    "--max-env-faults": "-1 0.5 many",
    "--address": "'' localhost local localhost:x 127.0.0.1:1 :6379 http://127.0.0.1:1 "
    "ray://127.0.0.1:10001 [::1]:1",
    "--min-workers": "0 -1 1.5 1000001 all",
    "--placement": "strict_pack PACK ''",
    "--learner-label": "'' gpu =H100 gpu= 'gpu=a b' 'g pu=a'",
    "--worker-label": "'' zone =a zone= 'zone= a'",
    "--wait-for-resources": "-1 nan inf long",
    "--recovery-every": "0 -1 0.5 never",
    "--advantage": "q GAE",
    "--bootstrap-steps": "0 2.5 Inf",
    "--rho-bar": "0 -1 nan",
    "--c-bar": "0 inf",
    "--baseline": "best",
    "--gamma": "1.1 -0.1 nan inf high",
    "--gae-lambda": "-0.1 1.0001",
    "--loss-average": "mean",
    "--normalize-over": "epoch true",
    "--surrogate": "trpo",
    "--importance": "ordinary",
    "--importance-clip": "0 -1",
    "--clip-coef": "0 -0.2",
    "--clip-schedule": "cosine",
    "--kl-coef": "0 -1",
    "--kl-target": "0 nan",
    "--ent-coef": "-0.01 inf",
    "--ent-schedule": "none",
    "--vf-coef": "-1 nan",
    "--value-clip": "0 wide",
    "--value-clip-schedule": "cosine",
    "--value-epochs": "-1 x",
    "--hidden-sizes": "0 -1 64,64 '[64, 64]' 6.4 1000000 16385",
    "--value-hidden-sizes": "0 -1 64,64 1000000",
    "--activation": "sigmoid",
    "--clip-obs": "0 -1 inf",
    "--action-distribution": "cauchy",
    "--sde-sample-freq": "-1 0.5 1000001 x",
    "--action-scale": "none range",
    "--log-std": "fixed",
    "--log-std-init": "-5.1 2.1 nan low",
    "--recurrent": "rnn LSTM",
    "--recurrent-size": "0 -1 16385 x",
    "--recurrent-layers": "0 -1 17 x",
    "--recurrent-critic": "both Own",
    "--sequence-length": "0 -1 1.5 x",
    "--precision": "fp16",
    "--image-encoder": "resnet Nature",
    "--encoder": "'' Net :Net torch: torch.nn:linear math:sqrt torch.nn:Identity torch.nn:Linear "
    "no_such_module:Net ..own:Net a.b.c:Net a:b:c",
    "--num-epochs": "0 -3 ten",
    "--minibatch-size": "0 -1 all",
    "--optimizer": "adagrad RMSprop",
    "--optimizer-epsilon": "0 -1 nan small",
    "--adam-betas": "1 0.9 '0.9 1' '-0.1 0.9' 0.9,0.999 x",
    "--rmsprop-decay": "1 -0.1 nan",
    "--weight-decay": "-0.1 inf",
    "--momentum": "1.5 -1",
    "--learning-rate": "0 -0.1 nan inf 3,4 ''",
    "--lr-schedule": "cosine",
    "--max-grad-norm": "0 -1 inf",
    "--max-kl": "0 -1 nan",
    "--cg-iterations": "0 -1 x",
    "--cg-damping": "-1 nan",
    "--fisher-subsampling": "0 -1 1.5",
    "--line-search-steps": "-1 x",
    "--target-kl": "0 nan small",
    "--clip-rewards": "0 -1 nan",
    "--gradient-stats-every": "-1 x",
    "--histogram-every": "-1 x",
    "--compile": "true 1 aot none",
    "--acting": "jax true none 1",
    "--device": "tpu cuda cuda:1",
    "--learner-threads": "0 -1 x",
    "--config": "'' . cartpol-ppo missing.toml /dev/null/x",
}
SWITCHES = shlex.split(
    "--overlap --normalize-advantages --recompute-advantages --normalize-obs --normalize-rewards "
    "--orthogonal-init"
)
RUN_SWITCHES = ("--overwrite", "--quiet", "--json-lines")
OF_TRAIN = {"--run-dir": "/proc/run /dev/null /dev/null/below .. /"}
OF_SEEDS = {
    "--seeds": "-1 1.5 x '' 9223372036854775808",
    "--parallel": "0 -1 1.5 many 2",
}
OF_IMITATE = {
    "--expert": "'' nowhere . no_such_module:act os:sep os:no_such_function : dreams/of-v0",
    "--dagger-rounds": "-1 0.5 1000001 x",
    "--expert-rounds": "-1 0.5 x",
}
OF_RESUME = {
    "--total-steps": "0 -1 1e6 99999999999999999999 1 50",
    "--compile": "auto true",
    "--stop-at-return": "nan -inf many",
    "--max-seconds": "0 -1 nan soon",
    "--stop-at-eval-return": "nan many 3",
    "--num-workers": "-1 x 2 10001",
    "--address": "auto ''",
    "--device": "tpu cuda",
    "--on-anomaly": "ignore",
    "--max-env-faults": "-1 many",
    **{
        name: TRAIN[name]
        for name in ("--min-workers", "--learner-label", "--worker-label", "--wait-for-resources")
    },
}
OF_EVALUATE = {
    "--checkpoint": "'' best 7 nowhere",
    "--episodes": "0 -5 1e3 1000001 x",
    "--seed": "-1 9223372036854775808 9999999999999999999999 x",
    "--eval-max-steps": "0 -1 1e3 x",
    "--video": "'' x video.avi .mp4 nowhere/x.mp4 RUN",
}
OF_EXPORT = {
    "--checkpoint": "'' best 7 nowhere",
    "--out": "'' policy policy.onn .onnx nowhere/x.onnx RUN",
}
OF_PUSH = {"--checkpoint": "'' best 7 nowhere"}
OF_CONFIG = {
    "--from-zoo": "'' . missing.yml /dev/null/x",
    "--entry": "'' CartPole-v1",
}
OF_PLOT = {
    "--by": "'' algos num-env",
    "--x": "epochs Steps",
    "--y": "'' nothing train/approx",
    "--out": "'' curves curves.pdf RUN",
}
OF_TUNE = {
    "--parallel": "0 -1 1.5 many 1000001",
    "--folder": "a?b /dev/null /dev/null/below /proc/study",
}
OF_BENCH = {"--seconds": "0 -1 nan inf long"}
OF_DOCTOR = {
    "--compile": "'' nowhere cartpol-ppo",
    "--env-id": "'' CartPol-v1 no_such_module:Env-v0 ALE/Pung-v5",
    "--env-kwargs": "{ [1] x=1",
    "--address": "'' ray://127.0.0.1:10001",
}
SHARED_WITH_DOCTOR = ("--config", "--env-backend", "--env-wrapper", "--frame-stack", "--image-keys")
Pair = tuple[str, str, str]


def pairs(command: str, faults: dict[str, str]) -> Iterator[Pair]:
    for name, values in faults.items():
        yield from ((command, name, value) for value in shlex.split(values))


# the settings are read by the same code in each command: every value for one, one for the others
ONE_OF_EACH = {name: shlex.quote(shlex.split(values)[0]) for name, values in TRAIN.items()}
FLAGS: list[Pair] = [
    *pairs("train", TRAIN | OF_TRAIN | OF_SEEDS),
    *pairs("imitate --expert RUN", ONE_OF_EACH | OF_TRAIN | OF_IMITATE),
    *pairs("config", ONE_OF_EACH | OF_CONFIG),
    *pairs("plot RUN", OF_PLOT),
    *pairs("resume RUN", OF_RESUME),
    *pairs("evaluate RUN", OF_EVALUATE),
    *pairs("export RUN", OF_EXPORT),
    *pairs("push RUN me/cartpole", OF_PUSH),
    *pairs("tune SPACE", OF_TUNE),
    *pairs("bench", ONE_OF_EACH | OF_BENCH),
    *pairs("doctor", OF_DOCTOR | {name: ONE_OF_EACH[name] for name in SHARED_WITH_DOCTOR}),
    *(("train", name, "yes") for name in (*SWITCHES, *RUN_SWITCHES)),
    *(("imitate --expert RUN", name, "yes") for name in (*SWITCHES, *RUN_SWITCHES)),
    *(("bench", name, "yes") for name in (*SWITCHES, "--json")),
    *(("config", name, "yes") for name in SWITCHES),
    ("recipes", "--json", "yes"),
    *(("resume RUN", name, "yes") for name in ("--quiet", "--json-lines")),
    *(("evaluate RUN", name, "yes") for name in ("--stochastic", "--render", "--json")),
    ("doctor", "--json", "yes"),
    ("runs RUN", "--json", "yes"),
    *(("verify", name, "yes") for name in ("--quick", "--json")),
]
FIRST = {name: number for number, (_, name, _) in reversed([*enumerate(FLAGS)])}


@pytest.mark.parametrize(
    ("command", "name", "value"),
    [
        # of each flag the first value that it has in any command
        pair if number == FIRST[pair[1]] else pytest.param(*pair, marks=THOROUGH)
        for number, pair in enumerate(FLAGS)
    ],
)
def test_a_flag_with_a_value_that_it_does_not_take(
    command: str, name: str, value: str, finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = shlex.split(command)
    if "RUN" in words:
        words[words.index("RUN")] = str(shutil.copytree(finished, "RUN", symlinks=True))
    if value == "cuda":
        words += ["--num-workers", "0"] if words[0] != "resume" else ["--total-steps", "1000"]
    if words[0] == "resume" and name in ("--num-workers", "--address"):
        words += ["--total-steps", "1000"]
    if "SPACE" in words:
        Path("SPACE").write_text(TINY)
    switch = value == "yes" and name != "--sign-rewards"
    named = "Unrecognized" if switch else name
    if name in ("--init-from", "--config") and value:
        named = ""
    refuse([*words, name, value], [named, value], capsys)


KINDS: dict[str, Any] = {
    "train": TrainFlags,
    "imitate": ImitateFlags,
    "resume": ResumeFlags,
    "evaluate": EvaluateFlags,
    "runs": RunsFlags,
    "compare": CompareFlags,
    "plot": PlotFlags,
    "export": ExportFlags,
    "push": PushFlags,
    "bench": BenchFlags,
    "config": PrintFlags,
    "recipes": RecipesFlags,
    "verify": VerifyFlags,
    "doctor": DoctorFlags,
    "tune": TuneFlags,
}


@pytest.mark.parametrize("command", KINDS)
def test_every_flag_is_in_the_catalogue(command: str) -> None:
    of_command = {name for words, name, _ in FLAGS if words.split()[0] == command}
    # these are given by their places
    kind = KINDS[command]
    names = {field.name for field in dataclasses.fields(kind)}
    if issubclass(kind, ConfigFlags):
        names = names - kind().groups().keys() - {"help_all"} | hints().keys()
    if kind is ResumeFlags:
        names = names - {"changes"} | ResumeChanges.__annotations__.keys()
    placed = {"--run", "--runs", "--repository", "--folder", "--a", "--b", "--space"}
    if command == "tune":
        placed.remove("--folder")
    assert {flag(name) for name in names} - placed <= of_command


def test_the_catalogue_has_its_size() -> None:
    assert len(set(FLAGS)) == len(FLAGS)
    different = {pair[1:] for pair in FLAGS}
    assert len(different) >= 200


COMBINED: list[tuple[str, list[str]]] = [
    ("train --learning-rat 0.1", ["--learning-rat", "--learning-rate"]),
    ("train --num-envs", ["--num-envs"]),
    ("train --algo", ["--algo"]),
    ("train --config", ["--config"]),
    ("train unasked", ["unasked"]),
    ("train --overwrite=1", ["1"]),
    ("train --hidden-sizes 64 0", ["--hidden-sizes", "64, 0"]),
    ("train --hidden-sizes 64 , 64", ["--hidden-sizes", "64 , 64", "such as 64 64"]),
    (
        "train --num-slots 1 --num-workers 1 --num-steps 4 --minibatch-size 99",
        ["--minibatch-size", "99", "16"],
    ),
    ("train --baseline mean", ["--advantage gae", "--baseline", "mean"]),
    ("train --surrogate log_prob", ["--surrogate log_prob", "--num-epochs", "10"]),
    (
        "train --algo reinforce --episodes-per-env 0",
        ["--episodes-per-env", "0", "--advantage reward_to_go"],
    ),
    ("train --overlap --surrogate kl_fixed", ["--overlap", "kl_fixed"]),
    ("train --num-workers 3 --num-slots 2", ["--num-slots", "2", "--num-workers"]),
    ("train --num-workers 10000", ["--num-workers: 10000", "GB"]),
    ("train --num-workers 2 --min-workers 3", ["--min-workers: 3", "--num-workers 2"]),
    ("train --worker-label zone=a", ["--worker-label: zone=a", "--address"]),
    ("train --num-workers 0 --address auto", ["--address", "auto", "--num-workers 0"]),
    ("train --config cartpole-ppo --algo reinforce", ["--algo", "reinforce", "cartpole-ppo"]),
    ("train --run-dir " + "x" * 300, ["--run-dir", "too long"]),
    ("train --config " + "x" * 5000, ["--config", "cannot read"]),
    ("train --env-kwargs " + "[" * 100000, ["--env-kwargs", "JSON object"]),
    ("""train --env-kwargs '{"a": """ + '{"a":' * 60 + "1" + "}" * 61 + "'", ["--env-kwargs"]),
    ("train --env-id " + "x" * 100000, ["--env-id", "not registered"]),
    ("""train --env-kwargs '{"gravitas": 1}'""", ["--env-kwargs", "'gravitas': 1"]),
    ("""train --env-kwargs '{"num_envs": 3}'""", ["--env-kwargs", "'num_envs': 3"]),
    ("""train --env-kwargs '{"a": null}'""", ["--env-kwargs", "'a': None", "no null"]),
    ("""train --env-id FrozenLake-v1 --env-kwargs '{"map_name": "9x9"}'""", ["9x9"]),
    ("""train --env-id Pendulum-v1 --env-kwargs '{"g": "much"}'""", ["Pendulum-v1", "TypeError"]),
    ("""train --env-id HalfCheetah-v5 --env-kwargs '{"xml_file": "n.xml"}'""", ["n.xml"]),
    ("train --seeds", ["--seeds", "empty"]),
    ("train --seeds 0 0", ["--seeds: 0 0", "twice"]),
    ("train --seeds 0 1 --seed 3", ["--seed", "--seeds"]),
    ("train --seeds 0 1 --parallel 0", ["--parallel: 0"]),
    ("train --seeds 0 1 --overwrite", ["--overwrite", "--seeds", "--run-dir"]),
    ("train --seeds 0 1 --json-lines", ["--json-lines", "--seeds"]),
    ("train --seeds 0 1 --env-id CartPol-v1", ["CartPol-v1", "CartPole-v1"]),
    ("train --seeds 0 1 --run-dir /dev/null", ["--run-dir", "/dev/null"]),
    ("tune", ["TOML file", "required"]),
    ("tune nowhere.toml", ["nowhere.toml", "cannot be read"]),
    ("tune cartpole-ppo", ["cartpole-ppo", "cannot be read"]),
    ("imitate", ["--expert", "required"]),
    ("imitate --env-id CartPole-v1", ["--expert", "required"]),
    (
        "imitate --expert RUN --env-id Acrobot-v1 --num-workers 0",
        ["RUN", "[4]", "Acrobot-v1", "[6]"],
    ),
    ("imitate --expert RUN --expert-rounds 0", ["--expert-rounds", "0", "--dagger-rounds"]),
    ("imitate --expert RUN --dager-rounds 3", ["--dager-rounds", "--dagger-rounds"]),
    ("imitate --expert os:getpid --num-workers 0", ["os:getpid", "TypeError"]),
    ("imitate --expert RUN/policy.safetensors", ["RUN/policy.safetensors", "not a run directory"]),
    ("imitate --expert " + "x" * 5000, ["--expert", "not a run directory"]),
    ("bench --address auto", ["--address", "auto", "none"]),
    ("bench --run-dir x", ["--run-dir", "x"]),
    ("resume RUN", ["RUN", "--total-steps"]),
    ("resume RUN RUN", ["RUN"]),
    ("resume RUN --num-envs 2", ["--num-envs"]),
    ("evaluate RUN --episode 1", ["--episode"]),
    ("evaluate RUN --sideways", ["--sideways"]),
    ("evaluate RUN --video x.gif --render", ["--video and --render"]),
    ("evaluate", ["run directory", "required"]),
    ("export", ["run directory", "required"]),
    ("export RUN x.onnx", ["x.onnx"]),
    ("push RUN", ["OWNER/NAME", "required"]),
    ("push RUN cartpole", ["'cartpole'", "OWNER/NAME"]),
    ("push RUN me/cart/pole", ["'me/cart/pole'", "OWNER/NAME"]),
    ("resume", ["run directory", "required"]),
    ("verify --quik", ["--quik", "--quick"]),
    ("verify all", ["all"]),
    ("verify --json=1", ["1"]),
    ("tran", ["tran", "train, resume, evaluate", "did you mean train"]),
    ("TRAIN", ["TRAIN", "train, resume"]),
    ("--algo ppo", ["--algo"]),
    ("''", ["''", "train, resume"]),
    ("x" * 10000, ["unknown command"]),
]


@pytest.mark.parametrize(("line", "said"), COMBINED, ids=[line[:60] for line, _ in COMBINED])
def test_a_command_line_that_cannot_be(
    line: str, said: list[str], finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if "RUN" in line:
        shutil.copytree(finished, "RUN", symlinks=True)
    refuse(shlex.split(line), said, capsys)


FILES: dict[str, tuple[str | bytes, list[str]]] = {
    "unknown key": ("num_envz = 3", ["num_envz", "did you mean num_envs"]),
    "a flag's spelling": ("num-envs = 3", ["num-envs", "num_envs"]),
    "key of the command line": ("run_dir = 'x'", ["run_dir", "no such setting"]),
    "table": ("[policy]\nhidden_sizes = [8]", ["policy"]),
    "override below a leaf": ("gamma.x = 1", ["--gamma", "{'x': 1}"]),
    "no TOML": ("num_envs = = 3", ["line 1"]),
    "YAML": ("num_envs: 4", ["line 1"]),
    "JSON": ('{"num_envs": 4}', ["line 1"]),
    "on": ("normalize_obs = on", ["line 1"]),
    "true as text": ("normalize_obs = 'true'", ["--normalize-obs", "'true'"]),
    "number as text": ("gamma = '0.9'", ["--gamma", "'0.9'"]),
    "nan": ("gamma = nan", ["--gamma", "nan"]),
    "too large for a float": ("learning_rate = 1e400", ["--learning-rate", "inf"]),
    "fraction for a count": ("num_envs = 1.5", ["--num-envs", "1.5"]),
    "zero": ("num_envs = 0", ["--num-envs", "0", "between 1"]),
    "beyond 64 bits": ("seed = 0x10000000000000000", ["--seed", "between 0"]),
    "5000 digits": ("num_envs = " + "9" * 5000, ["digits"]),
    "date": ("num_envs = 1979-05-27", ["--num-envs", "1979"]),
    "time": ("seed = 1979-05-27T07:32:00Z", ["--seed", "1979"]),
    "date of an env": ("env_kwargs = {when = 1979-05-27}", ["--env-kwargs", "1979"]),
    "duplicate key": ("num_envs = 1\nnum_envs = 2", ["overwrite"]),
    "array for a number": ("num_envs = [1]", ["--num-envs"]),
    "number for an array": ("hidden_sizes = 64", ["--hidden-sizes", "64"]),
    "array of arrays": ("hidden_sizes = [[64], [64]]", ["--hidden-sizes"]),
    "none where it is no value": ("num_envs = 'none'", ["--num-envs", "none"]),
    "unknown algorithm": ("algo = 'sac'", ["--algo", "sac", "ppo"]),
    "algorithm as array": ("algo = ['ppo']", ["--algo", "ppo"]),
    "nested arrays": ("a = " + "[" * 5000, ["cannot read"]),
    "nested tables": ("env_kwargs = " + "{a=" * 2000 + "1" + "}" * 2000, ["cannot read"]),
    "long key": ("x" * 10**6 + " = 1", ["no such setting"]),
    "long value": (f"num_envs = '{'x' * 10**6}'", ["--num-envs", "a whole number"]),
    "UTF-16": ("num_envs = 3".encode("utf-16"), ["utf-8"]),
    "Latin-1": ("env_id = 'é'".encode("latin-1"), ["utf-8"]),
    "NUL": (b"num_envs = 3\0", ["line 1"]),
    "binary": (bytes(range(256)), ["cannot read"]),
    "an env that is not": ("env_id = 'CartPol-v1'", ["CartPol-v1", "CartPole-v1"]),
}


@pytest.mark.parametrize("kind", FILES)
def test_a_configuration_file_that_cannot_be(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    content, said = FILES[kind]
    Path("my.toml").write_bytes(content.encode() if isinstance(content, str) else content)
    named = [] if kind in ("an env that is not", "date of an env") else ["--config", "my.toml"]
    refuse(["train", "--config", "my.toml"], [*named, *said], capsys)


def cut(name: str) -> Callable[[Path], None]:
    def apply(run: Path) -> None:
        (run / name).write_bytes((run / name).read_bytes()[:9])

    return apply


def remove(*names: str) -> Callable[[Path], None]:
    def apply(run: Path) -> None:
        for name in names:
            path = run / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    return apply


def write(name: str, text: str) -> Callable[[Path], None]:
    def apply(run: Path) -> None:
        (run / name).write_text(text)

    return apply


def edit_manifest(**changes: Any) -> Callable[[Path], None]:
    def apply(run: Path) -> None:
        for file in run.glob("checkpoints/[0-9]*/manifest.json"):
            file.write_text(json.dumps(json.loads(file.read_text()) | changes))

    return apply


def of_format_3(run: Path) -> None:
    """Name the format by the key of those days."""
    for file in run.glob("checkpoints/[0-9]*/manifest.json"):
        manifest = json.loads(file.read_text())
        del manifest["format"]
        file.write_text(json.dumps(manifest | {"schema": 3}))


def take_encoder(name: str) -> Callable[[Path], None]:
    def apply(run: Path) -> None:
        text = (run / "config.toml").read_text()
        text = text.replace('\nencoder = "none"\n', f'\nencoder = "{name}"\n')
        text = text.replace('\nacting = "numpy"\n', '\nacting = "torch"\n')
        (run / "config.toml").write_text(text)

    return apply


GO_ON = "resume RUN --total-steps 1000"
FROM = "train --num-workers 0 --hidden-sizes 8 --init-from RUN --run-dir new"
RUNS: list[tuple[str, Callable[[Path], None] | None, list[str]]] = [
    ("evaluate nowhere", None, ["nowhere", "not a run directory"]),
    ("resume nowhere", None, ["nowhere", "not a run directory"]),
    ("evaluate RUN@best", None, ["RUN@best", "does not exist; ", "RUN with --checkpoint best"]),
    ("resume .", None, ["not a run directory"]),
    ("resume ''", None, ["not a run directory"]),
    ("resume " + "x" * 5000, None, ["not a run directory", "too long"]),
    ("evaluate " + "x" * 300, None, ["not a run directory", "too long"]),
    ("resume RUN/policy.safetensors", None, ["RUN/policy.safetensors", "not a run directory"]),
    ("evaluate RUN/policy.safetensors", None, ["RUN/policy.safetensors", "not a run directory"]),
    ("resume RUN/checkpoints", None, ["RUN/checkpoints", "not a run directory"]),
    ("train --run-dir RUN", None, ["--run-dir", "RUN", "--overwrite", "resume"]),
    ("train --run-dir RUN --num-workers 0 --overwrite", write("notes", "dear"), ["RUN", "notes"]),
    ("train --run-dir RUN/config.toml", None, ["--run-dir", "RUN/config.toml"]),
    (GO_ON, remove("config.toml"), ["RUN", "config.toml"]),
    (GO_ON, write("config.toml", "num_envz = 2"), ["RUN/config.toml", "num_envz"]),
    (GO_ON, write("config.toml", ""), ["RUN/checkpoints", "1 slots; 2"]),
    (GO_ON, remove("checkpoints"), ["RUN", "no checkpoint"]),
    (GO_ON, edit_manifest(format=0), ["RUN", "by distpg", "format 0", f"and {FORMAT}"]),
    (GO_ON, edit_manifest(format=99), ["RUN", "by distpg", "format 99"]),
    (GO_ON, of_format_3, ["RUN", "by distpg", "format 3", f"and {FORMAT}"]),
    (GO_ON, edit_manifest(files={}), ["manifest.json"]),
    (GO_ON, edit_manifest(files=None), ["manifest.json"]),
    (GO_ON, edit_manifest(progress=None), ["manifest.json"]),
    (GO_ON, edit_manifest(progress={"returns": 3}), ["manifest.json"]),
    (GO_ON, edit_manifest(counters={}), ["RUN/checkpoints", "no count of", "written by distpg"]),
    (GO_ON, edit_manifest(counters={"policy_version": "1"}), ["policy_version is '1'"]),
    ("evaluate RUN", cut("policy.safetensors"), ["RUN/policy.safetensors"]),
    ("evaluate RUN", write("policy.safetensors", ""), ["RUN/policy.safetensors"]),
    ("evaluate RUN", write("config.toml", 'env_id = "Acrobot-v1"'), ["RUN", "spaces that differ"]),
    ("evaluate RUN", write("config.toml", 'env_id = "Own-v0"'), ["--env-id", "Own-v0"]),
    ("evaluate RUN", write("config.toml", 'env_id = "<Own>"'), ["--env-id", "<Own>", "make_env"]),
    (
        "evaluate RUN --video x.gif",
        write("config.toml", 'env_id = "tests.environments:PaysOne"'),
        ["--video", "tests.environments:PaysOne", "render mode rgb_array", "none"],
    ),
    ("evaluate RUN", write("config.toml", 'env_wrapper = ["<Own>"]'), ["--env-wrapper: <Own>"]),
    ("evaluate RUN", remove("policy.safetensors", "checkpoints"), ["RUN", "no policy yet"]),
    ("export RUN", remove("policy.safetensors", "checkpoints"), ["RUN", "no policy yet"]),
    ("export RUN", cut("policy.safetensors"), ["RUN/policy.safetensors"]),
    ("export RUN/policy.safetensors", None, ["RUN/policy.safetensors", "not a run directory"]),
    ("imitate --expert RUN --run-dir new", cut("policy.safetensors"), ["RUN/policy.safetensors"]),
    ("imitate --expert RUN --run-dir RUN", None, ["--run-dir", "RUN", "--overwrite"]),
    ("evaluate RUN", take_encoder("no_such_module:Net"), ["trained without --encoder"]),
    (GO_ON, take_encoder("no_such_module:Net"), ["--encoder no_such_module:Net", "imported"]),
    (GO_ON, take_encoder("tests.faults.encoders:Fine"), ["RUN", "encoder.module.dense"]),
    (FROM + " --hidden-sizes 9", None, ["--init-from RUN", "[8]", "[9]"]),
    (FROM + " --env-id Acrobot-v1", None, ["--init-from RUN", "differs"]),
    (FROM, remove("policy.safetensors", "checkpoints"), ["RUN", "neither a checkpoint"]),
    (FROM, edit_manifest(format=99), ["RUN", "format 99"]),
]


@pytest.mark.parametrize("number", range(len(RUNS)))
def test_a_run_that_cannot_be_used(
    number: int, finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line, change, said = RUNS[number]
    run = Path(shutil.copytree(finished, "RUN", symlinks=True))
    if change:
        change(run)
    refuse(shlex.split(line), said, capsys)


def test_a_run_whose_folder_cannot_be_written(
    finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Path(shutil.copytree(finished, "RUN", symlinks=True))
    # no name can be opened for writing that is a folder's, not even by root
    (run / "lock").mkdir()
    refuse(shlex.split(GO_ON), ["--run-dir", "RUN", "cannot be written"], capsys)


MODULES = {
    "syntax": ("def f(:", ["SyntaxError", "syntax.py, line 1"]),
    "raising": ("\nraise RuntimeError('no GPU licence')", ["no GPU licence", "raising.py, line 2"]),
    "missing_key": ("{}['a']", ["KeyError", "missing_key.py, line 1"]),
    "exiting": ("import sys; sys.exit(3)", ["SystemExit", "exiting.py, line 1"]),
    "importing": ("import no_such_thing", ["No module named 'no_such_thing'", "importing.py"]),
    "registering_nothing": ("", ["not registered"]),
    "no_text": ("\0", ["null bytes"]),
}


@pytest.mark.parametrize("name", MODULES)
def test_a_module_of_environments_that_cannot_be_imported(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text, said = MODULES[name]
    Path(f"{name}.py").write_text(text)
    refuse(["train", "--env-id", f"{name}:Own-v0"], ["--env-id", f"{name}:Own-v0", *said], capsys)


@pytest.mark.parametrize("name", MODULES)
def test_a_module_of_encoders_that_cannot_be_imported(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text, said = MODULES[name]
    if not text:
        said = [f"{name} has no Own"]
    Path(f"{name}.py").write_text(text)
    refuse(["train", "--encoder", f"{name}:Own"], ["--encoder", f"{name}:Own", *said], capsys)


@pytest.mark.parametrize("command", ["train --num-workers 1", "bench"])
@pytest.mark.parametrize("name", WRONG)
def test_an_encoder_that_does_not_do_what_is_asked_of_it(
    command: str, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    encoder = f"tests.faults.encoders:{name}"
    words = [command.split()[0], *SMALL, *command.split()[1:], "--encoder", encoder]
    refuse(words, [f"--encoder {encoder}", *WRONG[name]], capsys)


def odd(env: str, **kwargs: str) -> list[str]:
    return ["--env-id", f"tests.faults.misbehaving:{env}", "--env-kwargs", json.dumps(kwargs)]


HARMLESS = [
    "",
    *(
        "reward array",
        "reward float16",
        "reward int",
        "terminated numpy",
        "terminated int",
        "both ends",
        "info None",
        "info list",
    ),
    "closes itself",
]
MISBEHAVING: list[tuple[str, dict[str, str], list[str]]] = [
    *(("Odd-v0", {"fault": fault}, []) for fault in RETURNED if fault not in HARMLESS),
    *(("OddState-v0", {"fault": fault}, ["get_state"]) for fault in STATES),
    ("OddState-v0", {"fault": "state raises"}, ["no licence", "misbehaving.py, line"]),
    ("Odd-v0", {"fault": "raises when made"}, ["no licence for this", "misbehaving.py, line"]),
    ("Odd-v0", {"fault": "exits when made"}, ["SystemExit: 7"]),
    ("Odd-v0", {"fault": "raises in reset"}, ["no licence", "misbehaving.py, line"]),
    ("Odd-v0", {"fault": "raises in step"}, ["no licence"]),
    ("Odd-v0", {"fault": "reset without info"}, ["reset() returned", "2: observation, info"]),
    ("Odd-v0", {"fault": "returns four"}, ["step() returned 4 values", "API has 5"]),
    ("Odd-v0", {"fault": "category out of range", "obs": "two"}, ["7", "out of range"]),
    ("Odd-v0", {"strange": "1"}, ["--env-kwargs", "strange"]),
    ("Odd-v0", {"fault": "x", "obs": "no such space"}, ["--env-kwargs", "no such space"]),
    ("NoSeed-v0", {}, ["seed"]),
    ("NoEnv-v0", {}, ["gymnasium.Env"]),
]


@pytest.mark.parametrize("command", ["train", "bench"])
@pytest.mark.parametrize(("env", "kwargs", "said"), MISBEHAVING)
def test_an_environment_that_does_not_do_what_gymnasium_asks_of_it(
    command: str,
    env: str,
    kwargs: dict[str, str],
    said: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    refuse([command, *odd(env, **kwargs), *SMALL], [env, *said], capsys)


def test_an_environment_that_hangs(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", *odd("Odd-v0", fault="hangs"), *SMALL, "--phase-timeout", "0.5"]
    refuse(words, ["Odd-v0", "--phase-timeout 0.5 s"], capsys)


def test_an_environment_that_cannot_be_sent_to_a_worker(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", *odd("Locked-v0"), *SMALL, "--num-workers", "1"]
    refuse(words, ["Locked-v0", "lock", "--num-workers 0"], capsys)


@pytest.mark.parametrize("kind", sorted(OBS_REFUSED))
def test_an_observation_space_that_is_not_supported(
    kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    refuse(["train", *odd("Odd-v0", obs=kind), *SMALL], ["Odd-v0"], capsys)


@pytest.mark.parametrize("kind", sorted(ACTIONS_REFUSED))
def test_an_action_space_that_is_not_supported(
    kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    refuse(["train", *odd("Odd-v0", action=kind), *SMALL], ["Odd-v0"], capsys)


PROCESSES: list[tuple[str, list[str]]] = [
    ("train --num-envs 0", ["--num-envs: 0"]),
    ("train --learning-rate nan", ["--learning-rate: nan"]),
    ("train --hidden-sizes 64,64", ["--hidden-sizes", "64,64"]),
    ("train --config .", ["--config", "'.'"]),
    ("train --env-id CartPol-v1", ["CartPol-v1", "CartPole-v1"]),
    ("train --num-workers 10000", ["--num-workers: 10000", "GB"]),
    ("train --address 127.0.0.1:1", ["--address", "127.0.0.1:1"]),
    ("imitate --expert nowhere", ["--expert", "nowhere"]),
    ("resume nowhere", ["nowhere"]),
    ("evaluate nowhere", ["nowhere"]),
    ("tran", ["did you mean train"]),
]


@pytest.mark.parametrize(("line", "said"), PROCESSES)
def test_as_a_process(line: str, said: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "launch.py"), *shlex.split(line)],
        env={name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert all(word in done.stderr + done.stdout for word in said), done.stderr
    assert "Traceback" not in done.stderr
    assert not written()


ACCEPTED: dict[str, tuple[list[str], str | bytes]] = {
    "CRLF": ([], b"gamma = 0.5\r\nseed = 3\r\n"),
    "BOM": ([], "\ufeffgamma = 0.5\n"),
    "empty": ([], ""),
    "comments alone": ([], "# nothing\n\n"),
    "a long comment": ([], "gamma = 0.5 # " + "x" * 10**6),
    "spaces in the name of a run": (["--run-dir", "my run"], ""),
    "emoji in the name of a run": (["--run-dir", "run 🚀 é"], ""),
    "a run below folders that are not there": (["--run-dir", "far/away/run"], ""),
    "a run above": (["--run-dir", "folder/../run"], ""),
    "spaces around a number": (["--learning-rate", "3e-4 "], ""),
    "an underscore in a number": (["--total-steps", "1_0"], ""),
    "the largest seed": (["--seed", str(2**63 - 1)], ""),
    "the edges of fractions": (["--gamma", "1", "--gae-lambda", "0"], ""),
    "no target": (["--stop-at-return", "none"], ""),
    "the last of several": (["--num-epochs", "0", "--num-epochs", "1"], ""),
    "more steps a batch than in all": (["--total-steps", "1", "--num-steps", "64"], ""),
}


@pytest.mark.parametrize("kind", ACCEPTED)
def test_what_is_odd_and_legal_trains(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    words, content = ACCEPTED[kind]
    Path("my.toml").write_bytes(content.encode() if isinstance(content, str) else content)
    words = ["train", "--config", "my.toml", *SMALL, *words, "--quiet"]
    assert run_main(words) == 0, capsys.readouterr().err


@pytest.mark.parametrize("fault", HARMLESS)
def test_an_environment_that_is_odd_and_legal_trains(
    fault: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", *odd("Odd-v0", fault=fault), *SMALL, "--quiet"]
    assert run_main(words) == 0, capsys.readouterr().err


@pytest.mark.parametrize("side", ["obs", "action"])
@pytest.mark.parametrize("kind", SPACES)
def test_a_space_that_is_supported_trains(
    kind: str, side: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if kind not in (OBS_REFUSED if side == "obs" else ACTIONS_REFUSED):
        words = ["train", *odd("Odd-v0", **{side: kind}), *SMALL, "--quiet"]
        assert run_main(words) == 0, capsys.readouterr().err
