"""Watchers that send a run's scalars to Weights & Biases or MLflow, or ask an Optuna trial."""

import math
from collections.abc import Mapping
from typing import Any

from distpg.extras import import_extra
from distpg.iteration import Iteration, Response
from distpg.report.watcher import RunStart, Watcher

PARAMETER_LENGTH = 500
"""Characters of a setting that MLflow stores."""


class WandbLogger(Watcher):
    """Logs every scalar to Weights & Biases; a resumed run continues its curve there.

    `WANDB_MODE=offline` in the environment writes files that `wandb sync` uploads.
    """

    def __init__(self, project: str = "distpg", *, required: bool = False, **options: Any) -> None:
        """Initialize.

        Args:
            project: Name of the project.
            required: Whether an error of Weights & Biases ends the run.
            options: Further arguments of `wandb.init`, such as `entity` or `tags`.

        Raises:
            InputError: the package is not installed.
        """
        self.wandb: Any = import_extra("wandb", "wandb", needed_by="--log wandb")
        self.project = project
        self.required = required
        self.options = options
        self.run: Any = None
        self.run_id: str | None = None

    def begin(self, run: RunStart) -> None:
        """Start the run there, or continue it."""
        known = {"id": self.run_id, "resume": "allow"} if self.run_id else {}
        self.run = self.wandb.init(
            project=self.project,
            name=run.run_dir.name,
            dir=str(run.run_dir),
            config=dict(vars(run.config)),
            # not one that is under way in this process
            reinit="create_new",
            **{**known, **self.options},
        )
        self.run_id = self.run.id
        # a resumed run repeats env steps, which wandb's own step may not
        self.run.define_metric("*", step_metric="time/total_timesteps")

    def on_iteration(self, iteration: Iteration) -> None:
        """Log the scalars of the watchers before this one."""
        self.run.log(dict(iteration.scalars))

    def end(self, result: Mapping[str, Any]) -> None:
        """Write the outcome into the summary, and wait until all is sent."""
        names = ("stop_reason", "env_steps", "episodes", "episode_return_mean")
        self.run.summary.update({name: result[name] for name in names if name in result})
        self.run.finish(exit_code=int(result["stop_reason"] == "error"))

    def state(self) -> Mapping[str, Any]:
        """Return the id of the run there."""
        return {"run_id": self.run_id} if self.run_id else {}

    def load(self, state: Mapping[str, Any]) -> None:
        """Continue that run."""
        self.run_id = str(state["run_id"])


class MLflowLogger(Watcher):
    """Logs settings and every scalar to MLflow; a resumed run continues its curve there.

    `MLFLOW_TRACKING_URI` in the environment says where; by default it is MLflow's own.
    """

    def __init__(self, experiment: str = "distpg", *, required: bool = False) -> None:
        """Initialize.

        Args:
            experiment: Name of the experiment.
            required: Whether an error of MLflow ends the run.

        Raises:
            InputError: the package is not installed.
        """
        self.mlflow: Any = import_extra("mlflow", "mlflow", needed_by="--log mlflow")
        self.experiment = experiment
        self.required = required
        self.client: Any = None
        self.run_id: str | None = None

    def begin(self, run: RunStart) -> None:
        """Start the run there, or continue it."""
        self.client = self.mlflow.MlflowClient()
        if self.run_id is None:
            experiment = self.mlflow.set_experiment(self.experiment)
            started = self.client.create_run(experiment.experiment_id, run_name=run.run_dir.name)
            self.run_id = started.info.run_id
            for name, value in vars(run.config).items():
                self.client.log_param(self.run_id, name, str(value)[:PARAMETER_LENGTH])
        else:
            self.client.update_run(self.run_id, status="RUNNING")

    def on_iteration(self, iteration: Iteration) -> None:
        """Log the scalars of the watchers before this one."""
        step, now = iteration.progress.env_steps, int(iteration.updated_at * 1000)
        metrics = [
            self.mlflow.entities.Metric(tag, value, now, step)
            for tag, value in iteration.scalars.items()
            if math.isfinite(value)
        ]
        self.client.log_batch(self.run_id, metrics=metrics)

    def end(self, result: Mapping[str, Any]) -> None:
        """Write why the run ended."""
        self.client.set_tag(self.run_id, "stop_reason", result["stop_reason"])
        failed = result["stop_reason"] == "error"
        self.client.set_terminated(self.run_id, "FAILED" if failed else "FINISHED")

    def state(self) -> Mapping[str, Any]:
        """Return the id of the run there."""
        return {"run_id": self.run_id} if self.run_id else {}

    def load(self, state: Mapping[str, Any]) -> None:
        """Continue that run."""
        self.run_id = str(state["run_id"])


class OptunaPruner(Watcher):
    """Reports a scalar to an Optuna trial, and ends the run when the trial is to be pruned.

    `stop_reason` is then "pruned"; raise `optuna.TrialPruned` in the objective.
    """

    def __init__(self, trial: Any, tag: str = "rollout/ep_rew_mean", every: int = 1) -> None:
        """Initialize.

        Args:
            trial: The `optuna.Trial`.
            tag: The scalar; iterations without it, or where it is NaN, are not reported.
            every: Iterations between two reports.
        """
        self.trial = trial
        self.tag = tag
        self.every = every

    def on_iteration(self, iteration: Iteration) -> Response | None:
        """Report the scalar, and ask the trial.

        By iteration, since pruners compare trials at equal numbers, and env steps vary with resets.
        """
        value = iteration.scalars.get(self.tag, math.nan)
        if iteration.progress.iteration % self.every or math.isnan(value):
            return None
        self.trial.report(value, iteration.progress.iteration)
        return Response(stop="pruned") if self.trial.should_prune() else None
