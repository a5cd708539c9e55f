"""Draw the learning curves of runs from their TensorBoard events.

python -m benchmarks.curves runs/CartPole-v1/* --output curve.png
"""

import argparse
from pathlib import Path

import matplotlib as mpl
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from distpg.run.directory import RunDir

mpl.use("agg")


def main() -> None:
    """Draw one line for each run: mean return of the last 100 episodes over env steps."""
    from matplotlib import pyplot as plt

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    figure, axes = plt.subplots(figsize=(7, 3.6), layout="constrained")
    for path in options.runs:
        config = RunDir.open(path).read_config()
        events = EventAccumulator(str(path)).Reload().Scalars("rollout/ep_rew_mean")
        label = f"{config.algo}, seed {config.seed}"
        axes.plot([event.step for event in events], [event.value for event in events], label=label)
        axes.set_title(str(config.env_id))
    axes.set_xlabel("env steps")
    axes.set_ylabel("mean return of 100 episodes")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    figure.savefig(options.output, dpi=120)


if __name__ == "__main__":
    main()
