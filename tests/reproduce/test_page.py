"""docs/results.md is what its generator writes, and Stable-Baselines3 gets the same settings."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from benchmarks import sb3_reference, tables
from benchmarks.gaits import note_walker
from benchmarks.imitation_section import METHODS
from benchmarks.results import FOLDER
from distpg import Config, InputError
from distpg.reproduce.results import to_json
from distpg.reproduce.table import load_table
from distpg.reproduce.table import tables as shipped
from tests.reproduce.test_report import results_of

ROOT = Path(__file__).parents[2]


def test_the_page_is_what_the_data_says() -> None:
    assert (ROOT / "docs" / "results.md").read_text("utf-8") == tables.text()


def test_a_table_has_its_section_once_it_is_measured(tmp_path: Path) -> None:
    before = tables.text(tmp_path)
    assert before.count("\n## ") == 1
    assert "Not measured yet: ppo-mujoco, " in before
    assert set(shipped()) == set(tables.ORDER)
    ours, data = results_of({"Pong-v5": [20.0, 21.0]}), tmp_path / "tables"
    data.mkdir()
    (data / "pong.json").write_text(to_json(ours))
    (data / "pong-sb3.json").write_text(to_json(results_of({"Pong-v5": [1.0, 3.0]}, "a peer")))
    after = tables.text(tmp_path)
    line = "| [pong](#pong) | 1 of 1 | a peer | last 100 training episodes | 1 | 0 | 0 |"
    assert line in after.splitlines()
    assert "## pong\n" in after
    assert "(results/pong.png)" in after
    assert "| a peer |  | 2.0 (-10.7 to 14.7), n = 2 | 50.0 (50.0 to 50.0), n = 2 |" in after


def test_imitation_has_its_section_once_it_is_measured(tmp_path: Path) -> None:
    curves = ([[64, 100.0], [128, 190.0]], [[64, 50.0], [128, 170.0]])
    runs = [{"labels_to_goal": x, "curve": y} for x, y in zip((128, None), curves, strict=True)]
    found = {"runs": runs, "median_labels_to_goal": None}
    content = {
        "date": "2026-01-02",
        "cores": 2,
        "versions": {"torch": "2"},
        "expert": {"recipe": "a-recipe", "return_of_100_episodes": 200.0},
        "student": {"num_envs": 4, "num_steps": 16},
        **dict.fromkeys(METHODS, found),
    }
    (tmp_path / "imitation-lunarlander.json").write_text(json.dumps(content))
    lines = tables.text(tmp_path).splitlines()
    assert "## imitation" in lines
    assert "- `python -m benchmarks.imitation lunarlander`, 2026-01-02: torch 2, 2 cores" in lines
    # t of 1 degree is 12.706, the standard error 10
    row = "| a-recipe, 200.0 | 64 labels | DAgger | never | 128, never | 180.0 (52.9 to 307.1) |"
    assert row in lines


def test_how_each_seed_moves_has_its_section_once_it_is_measured(tmp_path: Path) -> None:
    walks = {"right_foot": 0.08, "left_foot": 0.38, "right_thigh": 0.78, "left_thigh": 0.07}
    walker = {"env_id": "Walker2d-v5", "length": 496.4, **walks}
    cheetah = {"env_id": "HalfCheetah-v5", "length": 1000.0}
    tasks = {
        "a/Walker2d-v5": [{"seed": 0, "return": 4000.0, **walker}],
        "b/Walker2d-v5": [{"seed": 3, "return": 1993.2, **walker}],
        "a/HalfCheetah-v5": [
            {"seed": 0, "return": 1900.4, "on_its_back": 0.9, **cheetah},
            {"seed": 1, "return": 5000.0, "on_its_back": 0.01, **cheetah},
        ],
    }
    (tmp_path / "tables").mkdir()
    content = {"command": "a command", "date": "2026-01-02", "tasks": tasks}
    (tmp_path / "gaits.json").write_text(json.dumps(content))
    lines = tables.text(tmp_path).splitlines()
    assert "| a/HalfCheetah-v5 | 1 of 2 | 1,900 (back); 5,000 |" in lines
    low = lines.index("| b/Walker2d-v5, seed 3 | 1,993 | 496 | 8%, 38% | 0.78, 0.07 |")
    assert lines[low + 1].startswith("| a/Walker2d-v5, seed 0 | 4,000 |")


def test_a_foot_of_walker2d_is_on_the_floor_or_not() -> None:
    env = gym.make("Walker2d-v5")
    env.reset(seed=0)
    simulation: Any = env.unwrapped
    position, velocity = simulation.data.qpos.copy(), simulation.data.qvel * 0
    cases = ((1.2, 0.0, (1.0, 1.0)), (1.2, -1.5, (0.0, 1.0)), (2.5, 0.0, (0.0, 0.0)))
    for height, right_knee, feet in cases:
        position[[1, 4]] = height, right_knee
        simulation.set_state(position, velocity)
        assert note_walker(env, np.arange(17.0)) == (*feet, 2.0, 5.0)
    env.close()


def test_data_files_are_of_tables_and_tasks_that_exist() -> None:
    for file in (FOLDER / "tables").glob("*.json"):
        content = json.loads(file.read_text())
        table = tables.table_named(content["table"])
        assert file.stem.removesuffix("-sb3") == table.name
        for name, task in content["tasks"].items():
            assert task["settings"] == table.written(name)
            assert {run["seed"] for run in task["runs"]} <= {*table.seeds_of(name)}


def test_the_peer_gets_the_settings_of_the_table() -> None:
    work = sb3_reference.work_of(load_table("classic").config("CartPole-v1"))
    expected = {
        "n_envs": 8,
        "steps": 100_000,
        "learning_rate": 1e-3,
        "learning_rate_schedule": "linear",
        "clip_range_schedule": "linear",
    }
    assert expected.items() <= work.items()
    assert not work["normalize"]["norm_obs"]
    assert not work["ppo"]["use_sde"]
    ppo = {"n_steps": 32, "batch_size": 256, "n_epochs": 20, "gae_lambda": 0.8, "vf_coef": 0.5}
    assert ppo.items() <= work["ppo"].items()
    explores = sb3_reference.work_of(load_table("classic").config("MountainCarContinuous-v0"))
    assert explores["policy"]["log_std_init"] == -3.29
    assert explores["ppo"]["use_sde"]
    assert explores["ppo"]["sde_sample_freq"] == -1
    whole = sb3_reference.work_of(Config(minibatch_size=None, num_slots=2))
    assert whole["ppo"]["batch_size"] == 2 * 4 * 256


@pytest.mark.parametrize(
    ("settings", "offender"),
    [
        ({"stop_at_return": 5.0}, "--stop-at-return 5.0"),
        ({"value_epochs": 3}, "--value-epochs 3"),
        ({"algo": "a2c"}, "--algo a2c"),
        ({"action_distribution": "beta"}, "--action-distribution beta"),
        ({"lr_schedule": "kl_adaptive", "kl_target": 0.01}, "--lr-schedule kl_adaptive"),
    ],
)
def test_what_the_peer_does_not_have_is_refused(settings: dict[str, Any], offender: str) -> None:
    with pytest.raises(InputError, match=f"{offender}: Stable-Baselines3's PPO has "):
        sb3_reference.work_of(Config(**settings))


def test_a_peer_that_remembers_gets_the_settings_of_the_table() -> None:
    table = load_table("recurrent")
    memory = {"lstm_hidden_size": 64, "n_lstm_layers": 1, "enable_critic_lstm": True}
    work = sb3_reference.work_of(table.config("PendulumNoVel-v1-lstm"))
    assert memory.items() <= work["policy"].items()
    assert work["ppo"]["batch_size"] == 128
    with pytest.raises(InputError, match=r"--recurrent gru: SB3-Contrib's RecurrentPPO has lstm"):
        sb3_reference.work_of(table.config("PendulumNoVel-v1-gru"))
    cut = replace(table.config("PendulumNoVel-v1-lstm"), sequence_length=64)
    with pytest.raises(InputError, match=r"--sequence-length 64: .* has 128"):
        sb3_reference.work_of(cut)


def test_a_seed_of_the_peer_that_is_finished_is_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "tiny.toml"
    settings = '[settings]\nnum_slots = 2\n[tasks.a]\nenv_id = "CartPole-v1"\nsteps = 100\n'
    file.write_text(f'title = "t"\nseeds = [0]\n{settings}')
    runs, output = tmp_path / "runs", tmp_path / "out.json"
    # a Python that is none: nothing can be trained
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nexit 3\n")
    python.chmod(0o755)
    places = {"--python": python, "--folder": runs, "--output": output}
    words = [str(file), *(str(x) for pair in places.items() for x in pair)]
    assert sb3_reference.main(words) == 1
    assert "a, seed 0: failed" in capsys.readouterr().err
    record = results_of({"a": [7.0]}).tasks["a"].runs[0]
    found = json.loads(to_json(results_of({"a": [7.0]})))["tasks"]["a"]["runs"][0]
    found["versions"] = {"stable-baselines3": "1.2"}
    (runs / "a" / "seed-0.json").write_text(json.dumps(found))
    assert sb3_reference.main(words) == 0
    content = json.loads(output.read_text())
    assert content["name"] == "Stable-Baselines3 1.2"
    assert content["tasks"]["a"]["runs"][0]["env_steps"] == record.env_steps
    file.write_text(file.read_text().replace("num_slots = 2", "num_slots = 4"))
    with pytest.raises(SystemExit):
        sb3_reference.main(words)
    assert "had other settings; remove that folder" in capsys.readouterr().err
