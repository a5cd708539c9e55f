"""`verify` as a whole: every legal combination of Psi, baseline, surrogate and scaling."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_every_estimator_passes() -> None:
    command = [sys.executable, "launch.py", "verify"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    assert done.stdout.rstrip().endswith("578 of 578 estimators and 9 of 9 updates PASS")
