"""`export`: write a policy as an ONNX file, which acts where distpg is not installed."""

import json
import sys
from contextlib import nullcontext
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from distpg.config.names import Importable, check_same_names
from distpg.config.values import check_new_file
from distpg.errors import RunError, prefix_errors
from distpg.run.directory import ONNX, RunDir, write_atomically
from distpg.run.loading import load_policy_file
from distpg.spaces import spaces_to_json

if TYPE_CHECKING:
    from distpg.onnx.interface import Interface
    from distpg.onnx.parity import Difference
    from distpg.policy.file import PolicyFile


@dataclass(frozen=True, kw_only=True)
class ExportFlags:
    """Write a policy as an ONNX file, after comparing both in onnxruntime."""

    run: tyro.conf.Positional[Path] = tyro.MISSING
    """The run directory."""
    checkpoint: str | None = None
    """Policy to export: best, latest, the env steps of a checkpoint, or the path of a policy file
    or a checkpoint. Default: the newest."""
    out: Path | None = None
    """The file, which ends in .onnx; an older one is replaced. Default: RUN/policy.onnx."""


@dataclass(frozen=True)
class Exported:
    """An ONNX file that was written."""

    path: Path
    interface: "Interface"
    """Its inputs and outputs."""
    difference: "Difference"
    """The largest from the policy, and in which output."""


def main(flags: ExportFlags, started: float) -> int:
    """Run the sub-command; return its exit code."""
    exported = export(flags.run, flags.out, checkpoint=flags.checkpoint)
    from distpg.onnx.parity import NUM_OBSERVATIONS

    print(f"{exported.path}: {exported.path.stat().st_size:,} bytes")
    for port in exported.interface.inputs:
        print(f"input   {port}")
    for port in exported.interface.outputs:
        print(f"output  {port}")
    print(
        f"compared over {NUM_OBSERVATIONS:,} observations in onnxruntime "
        f"{metadata.version('onnxruntime')}: it differs by at most {exported.difference}"
    )
    return 0


def export(
    run_dir: Path | str,
    out: Path | str | None = None,
    *,
    checkpoint: Path | str | None = None,
    encoder: Importable | None = None,
) -> Exported:
    """Write a policy of a run as an ONNX file, if it acts in onnxruntime as the policy does.

    Args:
        run_dir: The run directory.
        out: The file, which ends in .onnx; an older one is replaced. By default policy.onnx in the
            run directory.
        checkpoint: "best", "latest", the env steps of a checkpoint, or the path of a policy file or
            of a checkpoint; by default the newest policy.
        encoder: The object that this setting of the run was, if it cannot be imported.

    Returns:
        The path of the file, its inputs and outputs, and its largest difference from the policy.

    Raises:
        InputError: the run has no policy, the file cannot be written, its encoder cannot be
            exported, or a package is missing.
        RunError: the file differs from the policy by 1e-5 or more; it is not written.
    """
    run = RunDir.open(Path(run_dir))
    path = run.given / ONNX if out is None else Path(out)
    with prefix_errors("--out"):
        check_new_file(path, (".onnx",))
    config = run.read_config()
    if encoder is not None:
        check_same_names(vars(config), {"encoder": encoder})
        config = replace(config, encoder=encoder)
    with nullcontext() if checkpoint is None else prefix_errors("--checkpoint"):
        file, warnings = load_policy_file(run, None if checkpoint is None else str(checkpoint))
    if file.architecture.precision != "float32":
        warnings = [*warnings, "the file computes in float32; the run encoded images in bf16"]
        file = replace(file, architecture=replace(file.architecture, precision="float32"))
    for warning in warnings:
        print(warning, file=sys.stderr)
    from distpg.onnx.file import onnx_bytes
    from distpg.onnx.interface import interface_of
    from distpg.onnx.packages import import_runtime
    from distpg.onnx.parity import check_parity
    from distpg.policy.greedy import GreedyPolicy
    from distpg.policy.play import SavedPolicy

    import_runtime()
    greedy = GreedyPolicy(SavedPolicy(file, encoder=config.encoder).policy)
    interface = interface_of(greedy)
    content = onnx_bytes(greedy, interface, facts_of(file, str(config.env_id)))
    difference = check_parity(content, greedy.policy, interface)
    try:
        write_atomically(path, content)
    except OSError as error:
        raise RunError(f"{path} cannot be written: {error.strerror}") from error
    return Exported(path, interface, difference)


def facts_of(file: "PolicyFile", env_id: str) -> dict[str, str]:
    """Return what an ONNX file says of its policy beside inputs and outputs."""
    return {
        "distpg_version": metadata.version("distpg"),
        "env_id": env_id,
        "policy_version": str(file.weights.version),
        "action_distribution": file.architecture.action_distribution,
        "action_scale": file.architecture.action_scale,
        "spaces": json.dumps(spaces_to_json(file.obs_spec, file.action_spec)),
    }
