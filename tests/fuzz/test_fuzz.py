"""Damaged files of every kind: read, or refused with a message; never a crash, a hang, or another exception.

``GENOMIX_FUZZ_SECONDS`` sets the time in all (default 20), ``GENOMIX_FUZZ_SEED`` the first case. Each target runs in a
process of its own, so that a fault in htslib is seen too. A file that fails belongs into ``regressions/TARGET/``, where
it is tried for good.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import PACKAGES, ROOT
from tests.fuzz.targets import TARGETS

SECONDS = float(os.environ.get("GENOMIX_FUZZ_SECONDS", "20")) / len(TARGETS)
FIRST_SEED = int(os.environ.get("GENOMIX_FUZZ_SEED", "0"))
REGRESSIONS = Path(__file__).parent / "regressions"
ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": os.pathsep.join([str(ROOT), *(str(ROOT / package) for package in PACKAGES)]),
    "OMP_NUM_THREADS": "1",
}


def run_child(target: str, seconds: float, folder: Path, *files: Path) -> int:
    """Return how many inputs were tried; fail with the input that made a fault."""
    command = [sys.executable, "-m", "tests.fuzz.child", target, str(FIRST_SEED), str(seconds), str(folder)]
    try:
        ran = subprocess.run(
            [*command, *map(str, files)],
            cwd=ROOT,
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds + 120,
        )
    except subprocess.TimeoutExpired:
        pytest.fail(f"{target}: hangs at {culprit(folder)}")
    told = [json.loads(line) for line in ran.stdout.splitlines() if line.startswith("{")]
    faults = [row for row in told if "reason" in row]
    if faults:
        pytest.fail(f"{target}: {len(faults)} inputs failed, the first of them {faults[0]}")
    if ran.returncode != 0:
        pytest.fail(
            f"{target}: the process died ({ran.returncode}) at {culprit(folder)}: {ran.stderr[-2000:]}"
        )
    return int(told[-1]["done"])


def culprit(folder: Path) -> str:
    seed = folder / "seed"
    return f"seed {seed.read_text()}, kept in {folder}" if seed.exists() else f"the file kept in {folder}"


@pytest.mark.parametrize("target", TARGETS)
def test_damaged_files_are_read_or_refused(tmp_path: Path, target: str) -> None:
    assert run_child(target, SECONDS, tmp_path) > 0


@pytest.mark.parametrize("target", sorted(path.name for path in REGRESSIONS.iterdir()))
def test_what_once_failed_never_fails_again(tmp_path: Path, target: str) -> None:
    files = sorted((REGRESSIONS / target).iterdir())
    assert run_child(target, 0, tmp_path, *files) == len(files) > 0
