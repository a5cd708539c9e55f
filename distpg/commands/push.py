"""`push`: publish a policy on the Hugging Face Hub."""

import sys
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import tyro

from distpg.config.config import Config
from distpg.config.files import to_toml
from distpg.errors import InputError, prefix_errors
from distpg.hub.card import model_card
from distpg.hub.repository import POLICY, check_repository, import_hub, send
from distpg.policy.file import policy_bytes
from distpg.run.directory import RunDir
from distpg.run.loading import load_policy_file
from distpg.spaces import spaces_to_json


@dataclass(frozen=True, kw_only=True)
class PushFlags:
    """Publish a policy with its settings and a model card on the Hugging Face Hub."""

    run: tyro.conf.Positional[Path] = tyro.MISSING
    """The run directory."""
    repository: tyro.conf.Positional[str] = tyro.MISSING
    """OWNER/NAME. It is made, for everyone to read, if it does not exist."""
    checkpoint: str | None = None
    """Policy to publish: best, latest, the env steps of a checkpoint, or the path of a policy file
    or a checkpoint. Default: the newest."""


def main(flags: PushFlags, started: float) -> int:
    """Run the sub-command; return its exit code."""
    print(push(flags.run, flags.repository, checkpoint=flags.checkpoint))
    return 0


def push(
    run_dir: Path | str,
    repository: str,
    *,
    checkpoint: Path | str | None = None,
    private: bool = False,
) -> str:
    """Publish a policy of a run, its settings and a model card on the Hugging Face Hub.

    The token is that of huggingface_hub: HF_TOKEN, or what `hf auth login` has stored. HF_ENDPOINT
    names another server than huggingface.co.

    Args:
        run_dir: The run directory.
        repository: OWNER/NAME.
        checkpoint: "best", "latest", the env steps of a checkpoint, or the path of a policy file or
            of a checkpoint; by default the newest policy.
        private: If the repository is made, make it private.

    Returns:
        The address of the repository in a browser.

    Raises:
        InputError: the run has no policy, or the repository's name has another form.
        RunError: the Hub refuses the files, or is not reached.
    """
    check_repository(repository)
    run = RunDir.open(Path(run_dir))
    config = run.read_config()
    with nullcontext() if checkpoint is None else prefix_errors("--checkpoint"):
        file, warnings = load_policy_file(run, None if checkpoint is None else str(checkpoint))
    for warning in warnings:
        print(warning, file=sys.stderr)
    import_hub()
    spaces = spaces_to_json(file.obs_spec, file.action_spec)
    card = card_of(run, repository, config, file.weights.version, best=checkpoint == "best")
    files = {
        "README.md": card.encode(),
        "config.toml": to_toml(config).encode(),
        POLICY: policy_bytes(file.weights, spaces, file.architecture),
    }
    message = f"{config.algo} on {config.env_id}, policy of update {file.weights.version}"
    return send(repository, files, message, private=private)


def card_of(run: RunDir, repository: str, config: Config, version: int, *, best: bool) -> str:
    """Return the model card of a policy, with what the run's result says of it.

    That is of the policy at the run's end, and of the best evaluation.

    Args:
        run: The run.
        repository: OWNER/NAME.
        config: The run's settings.
        version: Which of the run's policies it is.
        best: Whether it is that of the best evaluation.

    Raises:
        InputError: the result cannot be read.
    """
    result = run.read_result()
    try:
        if best:
            result = {"best_evaluation": result.get("best_evaluation")}
        elif result.get("policy_version") != version:
            result = {}
        return model_card(repository, config, result)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{run.result} is not the result of a run: {error!r}") from error
