"""What `--action-scale` changes: learning curves with unit and with bounds.

    python -m benchmarks.action_scale --jobs 2
    python -m benchmarks.action_scale humanoid

Keeps results/action-scale.json; tasks that are not named keep the figures that they have there.
"""

import argparse
import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from benchmarks.results import FOLDER, hardware, save, trained

TASKS = {
    "pendulum": "--config pendulum-ppo --total-steps 60000",
    "inverted-pendulum": "--config hopper-ppo --env-id InvertedPendulum-v5 --total-steps 20000",
    "humanoid": "--config hopper-ppo --env-id Humanoid-v5 --minibatch-size 256 --total-steps 25000",
}
"""Flags of the runs; the bounds are 2 (Pendulum-v1), 3 and 0.4."""
SCALES = ("unit", "bounds")
POINTS = 10
"""Points of a curve."""


def curve(task: str, scale: str, seed: int) -> dict[str, Any]:
    """Train once; return the mean return of the last 100 episodes at equal parts of the run."""
    flags = f"{TASKS[task]} --stop-at-return none --num-workers 0 --action-scale {scale}"
    with trained([*flags.split(), "--seed", str(seed)]) as run:
        events = EventAccumulator(str(run)).Reload().Scalars("rollout/ep_rew_mean")
        result = json.loads((run / "result.json").read_text())
    kept = [events[len(events) * part // POINTS - 1] for part in range(1, POINTS + 1)]
    row = {
        "seed": seed,
        "env_steps": [event.step for event in kept],
        "returns": [round(event.value, 1) for event in kept],
        "wall_s": round(result["wall_s"], 1),
    }
    print(json.dumps({"task": task, "action_scale": scale, **row}), flush=True)
    return row


def main() -> None:
    """Train each task with both scales on every seed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tasks", nargs="*", metavar="TASK", help=f"of {', '.join(TASKS)}")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time")
    options = parser.parse_args()
    tasks: list[str] = options.tasks or [*TASKS]
    with ThreadPoolExecutor(options.jobs) as pool:
        runs = {
            task: {
                scale: [pool.submit(curve, task, scale, seed) for seed in options.seeds]
                for scale in SCALES
            }
            for task in tasks
        }
        for task, scales in runs.items():
            rows = {
                scale: [future.result() for future in futures] for scale, futures in scales.items()
            }
            file = FOLDER / "action-scale.json"
            cells = json.loads(file.read_text()) if file.exists() else {}
            cells[task] = {**hardware(), "train": f"launch.py train {TASKS[task]}", **rows}
            save("action-scale", {name: cells[name] for name in TASKS if name in cells})


if __name__ == "__main__":
    main()
