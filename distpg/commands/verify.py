"""`verify`: check every policy-gradient estimator, and whole updates, against theory."""

import json
import multiprocessing
import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from itertools import chain

import torch

from distpg.doctor.facts import cores
from distpg.proof.estimators import (
    SCALINGS,
    SURROGATES,
    Estimator,
    combinations,
    quick,
    variations,
)
from distpg.proof.updates import UpdateReport, cases, verify_update
from distpg.proof.verify import EstimatorReport, verify

HEAD = """\
Each row is an estimator of the policy gradient on DiamondHill, with batches of 4 episodes.
bias: relative distance of its exact expectation from the true gradient. theory: the bias predicted
by theory, or the cosine of the two gradients if batch statistics scale the estimate. z: largest
z-score of the mean gradient sampled by rollout workers and learner. var: exact and sampled
variance. snr: signal-to-noise ratio of a batch. gain: relative variance of plain REINFORCE over
that of the estimator.
"""
COLUMNS = f"{'estimator':56} {'bias':>8} {'theory':>10} {'z':>5} {'var':>15} {'snr':>5} {'gain':>5}"

UPDATES_HEAD = """
Each row is an update of three optimizer steps, compared with the same update in tables: the largest
difference of a parameter, and how far the furthest one moved.
"""
UPDATE_COLUMNS = f"{'update':56} {'policy':>8} {'moved':>6} {'critic':>8} {'moved':>6}"


@dataclass(frozen=True, kw_only=True)
class VerifyFlags:
    """Verify policy-gradient estimators and whole updates against theory."""

    quick: bool = False
    """Verify a subset of the estimators that covers every Psi, baseline, surrogate and scaling at
    least once."""
    json: bool = False
    """Print one JSON object per row."""


def main(flags: VerifyFlags, started: float) -> int:
    """Run the sub-command; return its exit code."""
    estimators = list(quick() if flags.quick else chain(combinations(), variations()))
    if not flags.json:
        print(HEAD)
        print(COLUMNS)
    passed = 0
    for row in verify_all(estimators):
        passed += row.verdict == "PASS"
        print(json.dumps(asdict(row)) if flags.json else format_row(row), flush=True)
    updates = [verify_update(case) for case in cases()]
    if not flags.json:
        print(UPDATES_HEAD)
        print(UPDATE_COLUMNS)
    for row in updates:
        print(json.dumps(asdict(row)) if flags.json else format_update(row))
    passed_too = sum(row.verdict == "PASS" for row in updates)
    if not flags.json:
        print(
            f"{passed} of {len(estimators)} estimators and {passed_too} of {len(updates)} updates "
            "PASS"
        )
    return 0 if (passed, passed_too) == (len(estimators), len(updates)) else 1


def verify_all(estimators: Sequence[Estimator]) -> Iterator[EstimatorReport]:
    """Verify estimators on all cores; yield the rows in order."""
    processes = min(cores(), len(estimators))
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, context, _begin_process) as pool:
        # consecutive estimators share cached gradients and advantages
        chunksize = len(SCALINGS) * len(SURROGATES) if len(estimators) > 100 else len(SCALINGS)
        yield from pool.map(verify, estimators, chunksize=chunksize)


def _begin_process() -> None:
    torch.set_num_threads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    # it was killed, and nobody waits for what is computed here
    os._exit(1)


def format_row(row: EstimatorReport) -> str:
    """Format a row as one line of text."""
    bias = "0" if row.bias < 1e-10 else f"{row.bias:.4f}"
    if row.theory is None:
        theory = f"cos {row.cosine:.4f}"
    else:
        theory = "unbiased" if row.theory < 1e-10 else f"{row.theory:.4f}"
    variance = f"{row.variance:.3f} {row.sampled_variance:.3f}"
    numbers = (
        f"{bias:>8} {theory:>10} {row.z:5.2f} {variance:>15} {row.snr:5.2f} {row.reduction:5.2f}"
    )
    return f"{row.estimator:56} {numbers} {row.verdict}{''.join(f'; {x}' for x in row.reasons)}"


def format_update(row: UpdateReport) -> str:
    """Format a row as one line of text."""
    numbers = f"{row.policy:8.1e} {row.policy_moved:6.3f} {row.critic:8.1e} {row.critic_moved:6.3f}"
    return f"{row.update:56} {numbers} {row.verdict}"
