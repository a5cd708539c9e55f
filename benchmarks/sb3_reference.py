"""Stable-Baselines3 on the tasks of a table, with the same settings: what distpg is judged by.

Policies that remember are those of SB3-Contrib, which has an LSTM and no GRU.

    make peers
    python -m benchmarks.sb3_reference ppo-mujoco
    python -m benchmarks.sb3_reference ppo-mujoco --tasks Hopper-v5 --seeds 1 --parallel 1
    python -m benchmarks.sb3_reference recurrent --tasks CartPoleNoVel-v1-lstm PendulumNoVel-v1-lstm

Runs are side by side, each with one thread. Seeds that are finished are kept in runs/sb3/TABLE, so
the same command goes on after a stop. Keeps results/tables/TABLE-sb3.json: each seed's measures and
curve, by distpg's definitions.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from benchmarks.results import FOLDER, environment
from distpg.config.config import Config
from distpg.config.derived import DerivedSettings
from distpg.config.settings import Count
from distpg.config.values import check_value, flag
from distpg.doctor.facts import cores
from distpg.errors import InputError
from distpg.reproduce.measures import GREEDY_EPISODES, Measured, machine
from distpg.reproduce.results import (
    Results,
    TaskResults,
    add_to_file,
    check_can_grow,
    read_measured,
    write_measured,
)
from distpg.reproduce.table import OF_A_RUN, Table, load_table
from distpg.results.episodes import Episodes, last_training_episodes, learning_curve

PYTHON = Path(".venv-peers/rllib/bin/python")
SEEDS = 3
TRANSLATED = {
    *("env_id", "env_kwargs", "num_slots", "num_envs", "num_steps", "total_steps", "seed"),
    *("num_epochs", "minibatch_size", "learning_rate", "lr_schedule", "clip_coef"),
    *("clip_schedule", "gamma", "gae_lambda", "ent_coef", "vf_coef", "max_grad_norm", "target_kl"),
    *("normalize_advantages", "normalize_over", "normalize_obs", "normalize_rewards"),
    *("clip_obs", "clip_rewards"),
    *("hidden_sizes", "value_hidden_sizes", "activation", "orthogonal_init", "log_std_init"),
    *("action_distribution", "sde_sample_freq"),
    *("recurrent", "recurrent_size", "recurrent_layers", "recurrent_critic", "sequence_length"),
}
"""Settings that Stable-Baselines3's PPO, or SB3-Contrib's RecurrentPPO, has, too.

It normalizes advantages over minibatches only, whatever --normalize-over is.
"""
DISTRIBUTIONS = ("gaussian", "gsde")
SCHEDULES = ("constant", "linear")
ITS_OWN_WAY = {
    *("action_scale", "eval_every", "eval_episodes", "keep_checkpoints", "checkpoint_every"),
    *("compile", "acting", "gradient_stats_every", "histogram_every", *OF_A_RUN),
}
"""Settings that do not concern it: its Gaussian is always in the environment's unit."""


def work_of(config: Config) -> dict[str, Any]:
    """Return a run's settings in the terms of Stable-Baselines3.

    Raises:
        InputError: it has no such setting, so a run of it would be of something else.
    """
    defaults = DerivedSettings()
    for name, default in vars(defaults).items():
        value = getattr(config, name)
        if name not in TRANSLATED | ITS_OWN_WAY and value != default:
            raise InputError(f"{flag(name)} {value}: Stable-Baselines3's PPO has no such setting")
    for name, has in (
        ("action_distribution", DISTRIBUTIONS),
        ("lr_schedule", SCHEDULES),
        ("clip_schedule", SCHEDULES),
    ):
        if (value := getattr(config, name)) not in has:
            raise InputError(
                f"{flag(name)} {value}: Stable-Baselines3's PPO has {' and '.join(has)}"
            )
    sizes = config.hidden_sizes
    num_envs = config.slots * config.num_envs
    minibatch = config.minibatch_size or num_envs * config.num_steps
    return {
        "env_id": config.env_id,
        "env_kwargs": config.env_kwargs,
        "n_envs": num_envs,
        "steps": config.total_steps,
        "greedy_episodes": GREEDY_EPISODES,
        "normalize": {
            "norm_obs": config.normalize_obs,
            "norm_reward": config.normalize_rewards,
            "clip_obs": config.clip_obs,
            "clip_reward": config.clip_rewards,
            "gamma": config.gamma,
        },
        "learning_rate": config.learning_rate,
        "learning_rate_schedule": config.lr_schedule,
        "clip_range": config.clip_coef,
        "clip_range_schedule": config.clip_schedule,
        "activation": config.activation,
        "policy": {
            "net_arch": {
                "pi": sizes,
                "vf": sizes if config.value_hidden_sizes is None else config.value_hidden_sizes,
            },
            "ortho_init": config.orthogonal_init,
            "log_std_init": config.log_std_init,
            **memory_of(config, minibatch),
        },
        "ppo": {
            "n_steps": config.num_steps,
            "batch_size": minibatch,
            "n_epochs": config.num_epochs,
            "gamma": config.gamma,
            "gae_lambda": config.gae_lambda,
            "ent_coef": config.ent_coef,
            "vf_coef": config.vf_coef,
            "max_grad_norm": config.max_grad_norm,
            "target_kl": config.target_kl,
            "normalize_advantage": config.normalize_advantages,
            "use_sde": config.action_distribution == "gsde",
            "sde_sample_freq": config.sde_sample_freq or -1,
        },
    }


def memory_of(config: Config, minibatch: int) -> dict[str, Any]:
    """Return the settings of SB3-Contrib's recurrent policy; none for a policy without memory.

    Its hidden layers come after the recurrent ones. A minibatch of it is a part of the rollouts
    laid end to end, so that a sequence is as long as a rollout or, if that is shorter, a minibatch.

    Raises:
        InputError: it has no such recurrent layers or sequences.
    """
    if config.recurrent == "none":
        return {}
    has = {
        "recurrent": "lstm",
        "recurrent_critic": "own",
        "sequence_length": min(config.num_steps, minibatch),
    }
    for name, value in has.items():
        if getattr(config, name) != value:
            raise InputError(
                f"{flag(name)} {getattr(config, name)}: SB3-Contrib's RecurrentPPO has {value}"
            )
    return {
        "lstm_hidden_size": config.recurrent_size,
        "n_lstm_layers": config.recurrent_layers,
        "enable_critic_lstm": True,
    }


def train(work: dict[str, Any], seed: int, folder: Path, python: Path) -> Measured:
    """Train a seed, unless its record is in the task's folder; return what it reached."""
    record = folder / f"seed-{seed}.json"
    known = read_measured(record)
    if known is not None:
        return known
    with tempfile.TemporaryDirectory() as temporary:
        files = [Path(temporary) / name for name in ("work.json", "output.json")]
        files[0].write_text(json.dumps({**work, "seed": seed}))
        command = [str(python), "-m", "benchmarks.peers.sb3_table", *map(str, files)]
        subprocess.run(command, env={**environment(), "OMP_NUM_THREADS": "1"}, check=True)
        found = json.loads(files[1].read_text())
    episodes = Episodes(**found["episodes"])
    greedy = found["greedy_returns"]
    measured = Measured(
        seed=seed,
        measures={
            "last_100_training_episodes": last_training_episodes(episodes),
            "final_greedy": sum(greedy) / len(greedy),
        },
        greedy_returns=tuple(greedy),
        curve=learning_curve(episodes, work["steps"]),
        env_steps=found["env_steps"],
        stop_reason="total_steps",
        train_s=found["train_s"],
        date=time.strftime("%Y-%m-%d"),
        machine=machine(),
        versions=found["versions"],
    )
    write_measured(record, measured)
    return measured


def prepare(table: Table, folder: Path) -> dict[str, dict[str, Any]]:
    """Return the work of each task, and check that the runs so far had the same.

    Raises:
        InputError: they had other work.
    """
    found = {name: work_of(table.config(name)) for name in table.tasks}
    for name, work in found.items():
        file, text = folder / name / "work.json", json.dumps(work, indent=1)
        if file.exists() and file.read_text() != text:
            raise InputError(f"the runs in {file.parent} had other settings; remove that folder")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return found


def reached(table: Table, task: str, found: Measured) -> Results:
    """Return one run as results of the table."""
    tasks = {task: TaskResults(table.written(task), {found.seed: found})}
    name = f"Stable-Baselines3 {found.versions['stable-baselines3']}"
    return Results(table.name, name, f"python -m benchmarks.sb3_reference {table.name}", tasks)


def main(arguments: Sequence[str] | None = None) -> int:
    """Train what is not finished; return 1 if a run failed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("table")
    parser.add_argument("--tasks", nargs="*", default=[])
    parser.add_argument("--seeds", type=int, default=SEEDS, help="number of the table's seeds")
    parser.add_argument("--parallel", type=int, default=cores(), help="runs at a time")
    parser.add_argument("--python", type=Path, default=PYTHON, help="that has the library")
    parser.add_argument("--folder", type=Path, help="of finished seeds; default: runs/sb3/TABLE")
    parser.add_argument("--output", type=Path, help="default: results/tables/TABLE-sb3.json")
    options = parser.parse_args(arguments)
    if not options.python.exists():
        parser.error(f"--python: there is no {options.python}; make peers creates it")
    try:
        check_value("parallel", options.parallel, Count)
        check_value("seeds", options.seeds, Count)
        table = load_table(options.table)
        table = table.part(options.tasks, min(options.seeds, table.num_seeds))
        folder = options.folder or Path("runs") / "sb3" / table.name
        work = prepare(table, folder)
        output = options.output or FOLDER / "tables" / f"{table.name}-sb3.json"
        check_can_grow(output, table)
    except InputError as error:
        parser.error(str(error))
    failed = False
    with ThreadPoolExecutor(options.parallel) as pool:
        futures = {
            pool.submit(train, work[task], seed, folder / task, options.python): (task, seed)
            for task, seed in table.in_turn()
        }
        for future in as_completed(futures):
            task, seed = futures[future]
            try:
                found = future.result()
                add_to_file(output, reached(table, task, found))
            except (subprocess.CalledProcessError, InputError) as error:
                failed = True
                print(f"{task}, seed {seed}: failed: {error}", file=sys.stderr, flush=True)
                continue
            print(f"{task}, seed {seed}: {dict(found.measures)}, {found.train_s:.0f} s", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
