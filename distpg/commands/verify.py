"""`verify`: check every policy-gradient estimator against its exact expectation."""

import json
import multiprocessing
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


@dataclass(frozen=True, kw_only=True)
class VerifyFlags:
    """Verify every policy-gradient estimator against its exact expectation."""

    quick: bool = False
    """Verify a subset that covers every Psi, baseline, surrogate and scaling at least once."""
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
    if not flags.json:
        print(f"{passed} of {len(estimators)} estimators PASS")
    return 0 if passed == len(estimators) else 1


def verify_all(estimators: Sequence[Estimator]) -> Iterator[EstimatorReport]:
    """Verify estimators on all cores; yield the rows in order."""
    processes = min(cores(), len(estimators))
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, context, torch.set_num_threads, (1,)) as pool:
        # consecutive estimators share cached gradients and advantages
        chunksize = len(SCALINGS) * len(SURROGATES) if len(estimators) > 100 else len(SCALINGS)
        yield from pool.map(verify, estimators, chunksize=chunksize)


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
