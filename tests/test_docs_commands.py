"""What the documentation tells to run does run, and prints what is beside it, up to the numbers."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from threading import Timer
from typing import Literal

import pytest
from platformdirs import user_cache_path

from tests.hub_server import TOKEN, Hub
from tests.results.short import write_events

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"^```(?P<kind>.*)\n(?P<text>(?:.*\n)*?)^```$", re.MULTILINE)
FILE = re.compile(r'"""(\w+\.py): ')
NUMBER = re.compile(r"-?\d[\d,]*(\.\d+)?(e[+-]?\d+)?( (us|ms|s|min|h)\b)?")
"""Also a duration, in whatever unit."""
COMMANDS = ("distpg ", "source ")
"""How a block of commands begins that names no language."""
DEADLINE_S = 600.0
"""Of one command."""
INTERRUPTED = 128 + signal.SIGINT
TRAINS = re.compile(r"^iteration \d|: training$")
"""What a command says when it trains."""
BY_CHANCE = re.compile(r": the curve ends where its shortest run ends, ")
"""Lines that other runs need not have."""
WRITTEN: dict[str, dict[str, str]] = {
    "docs/cli.md": {
        "ppo.yml": """
            HalfCheetah-v4: {n_timesteps: 10000, policy: MlpPolicy, n_envs: 1, n_steps: 512}
        """
    },
    "docs/training.md": {
        "my.toml": 'env_id = "CartPole-v1"\n',
        "my_module.py": """
import gymnasium as gym
from gymnasium.envs.classic_control import CartPoleEnv

class MyEnv(CartPoleEnv):
    def __init__(self, size, render_mode=None):
        super().__init__(render_mode=render_mode)

gym.register("MyEnv-v0", MyEnv, max_episode_steps=100)
""",
    },
}
"""Files of the reader that a page speaks of."""
CARTPOLE = "distpg train --config cartpole-ppo --num-workers 0 --quiet --total-steps"
LANDER = "distpg train --config lunarlander-ppo --quiet --total-steps 30000 --run-dir"
BEFORE = {
    "docs/after-training.md": """
        for algo in ppo a2c reinforce; do
            for seed in 0 1 2 3 4; do
                distpg train --config cartpole-$algo --seed $seed --total-steps 4000 \
                    --stop-at-return none --eval-every 2 --num-workers 0 --compile off \
                    --quiet --run-dir runs/CartPole-v1/$algo-s$seed
            done &
        done
        for job in $(jobs -p); do wait $job; done
        distpg train --config cartpole-ppo --total-steps 2000 --learning-rate 0.003 \
            --num-workers 0 --compile off --quiet --run-dir tried/fast
    """,
    "docs/export.md": f"""
        {CARTPOLE} 2000 --run-dir runs/cartpole
        ln -s runs/cartpole/policy.onnx policy.onnx
        distpg push runs/cartpole OWNER/NAME
    """,
    "docs/imitation.md": f"{LANDER} runs/expert",
    "docs/policies.md": f"{LANDER} runs/lander",
    "docs/training.md": f"{CARTPOLE} 2000 --run-dir runs/c2; cp -r runs/c2 RUN",
}
"""What the reader of a page has done before."""
WHOLE = (
    "docs/index.md",
    "docs/concepts.md",
    "docs/how-to.md",
    "docs/from-stable-baselines3.md",
    "docs/from-rllib.md",
    "docs/troubleshooting.md",
    "docs/after-training.md",
    "docs/cli.md",
    "docs/export.md",
    "docs/training.md",
    "docs/tuning.md",
    "docs/watchers.md",
)
"""Pages of which all is run but blocks of `text`, quoted functions, and what starts TensorBoard."""
TRANSCRIPTS = ("README.md", "docs/environments.md", "docs/imitation.md", "docs/policies.md")
"""Pages of which the commands with their output are run."""


@dataclass
class Command:
    """A command of a page, and the lines beside it.

    Attributes:
        kind: of "sh", "python" and "transcript" each runs to its end; a "start" is interrupted as
            soon as it trains.
    """

    kind: Literal["sh", "python", "transcript", "start"]
    text: str
    expected: list[str] = field(default_factory=list)


def transcript_of(text: str) -> list[Command]:
    """Take the commands after `$`, each with what it prints."""
    commands: list[Command] = []
    for line in text.splitlines():
        if line.startswith("$ "):
            commands.append(Command("transcript", line.removeprefix("$ ")))
        else:
            commands[-1].expected.append(line)
    return [command for command in commands if not command.text.startswith("tensorboard")]


def commands_of(page: str) -> Iterator[Command]:
    for block in BLOCK.finditer((ROOT / page).read_text("utf-8")):
        kind, text = block["kind"], block["text"]
        if text.startswith("$ "):
            yield from transcript_of(text)
        elif page in TRANSCRIPTS:
            continue
        elif kind in ("sh", "python"):
            yield Command(kind, text)
        elif kind == "":
            assert text.startswith(COMMANDS), f"{page}: a block that is not run is `text`: {text}"
            for line in text.replace("\\\n", "").splitlines():
                yield Command("start", line)


def kinds_of(lines: list[str]) -> set[str]:
    """Return the lines that differ in more than numbers."""
    told = (line for line in lines if line.strip() and not BY_CHANCE.search(line))
    masked = (NUMBER.sub("#", line).replace("episodes", "episode") for line in told)
    return {" ".join(line.split()) for line in masked}


def differences(expected: list[str], printed: list[str]) -> list[str]:
    """Tell which kinds of lines are in one only; `...` stands for others and ends of lines."""
    told, found = kinds_of(expected), kinds_of(printed)
    missing = [
        kind
        for kind in sorted(told - {"..."})
        if not any(x.startswith(kind[:-3]) if kind.endswith("...") else x == kind for x in found)
    ]
    more = [] if "..." in told else sorted(found - told)
    return [f"not printed: {x}" for x in missing] + [f"not on the page: {x}" for x in more]


def run(command: Command, folder: Path, env: dict[str, str]) -> tuple[int, str]:
    """Run a command as in a terminal; return its exit code and all that it printed."""
    if command.kind == "python":
        words = [sys.executable, "-c", command.text]
    else:
        words = ["bash", "-euc", command.text]
    printed: list[str] = []
    with subprocess.Popen(
        words,
        cwd=folder,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        # it is killed at the deadline, which ends its output
        deadline = Timer(DEADLINE_S, os.killpg, (process.pid, signal.SIGKILL))
        deadline.start()
        trains = False
        for line in process.stdout:
            printed.append(line)
            if command.kind == "start" and not trains and TRAINS.search(line):
                trains = True
                os.killpg(process.pid, signal.SIGINT)
        deadline.cancel()
    done = process.returncode
    return 0 if trains and done == INTERRUPTED else done, "".join(printed)


def test_what_differs_between_a_page_and_a_command_is_told() -> None:
    page = ["seed 0: return 3.5", "...", "[2/3] done, 1,000 steps", '{"a": 1, "b": ...']
    printed = ["seed 1:  return -20", "", "more", "[3/3] done, 20 steps", '{"a": 2, "b": 3}']
    assert differences(page, printed) == []
    assert differences(page, printed[1:]) == ["not printed: seed #: return #"]
    assert differences(["a 1"], ["a 2", "b"]) == ["not on the page: b"]


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("page", [*WHOLE, *TRANSCRIPTS])
def test_the_commands_of_a_page_run_and_print_what_it_says(page: str, tmp_path: Path) -> None:
    (tmp_path / ".venv").symlink_to(sys.prefix)
    (tmp_path / "launch.py").symlink_to(ROOT / "launch.py")
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    for name, text in WRITTEN.get(page, {}).items():
        (tmp_path / name).write_text(text)
    write_events(tmp_path / "sb3/tensorboard/PPO_1", "rollout/ep_rew_mean", [(0, 20), (4000, 90)])
    with Hub() as hub:
        env = os.environ | {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "HOME": str(tmp_path),
            "XDG_CACHE_HOME": str(user_cache_path()),  # where compiled updates are
            "HF_ENDPOINT": hub.address,
            "HF_TOKEN": TOKEN,
            "WANDB_MODE": "offline",
        }
        code, printed = run(Command("sh", BEFORE.get(page, "")), tmp_path, env)
        assert code == 0, printed
        ran = 0
        for command in commands_of(page):
            if name := FILE.match(command.text):
                (tmp_path / name[1]).write_text(command.text)
                continue
            code, printed = run(command, tmp_path, env)
            assert code == 0, f"{command}\n{printed}"
            if command.expected:
                assert differences(command.expected, printed.splitlines()) == [], command.text
            ran += 1
        assert ran
