"""What every test may use: the devices there are, and the command line run as a process of its own."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

# pytest-xdist runs one worker a core: more threads would only get into each other's way. Read when torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

if not any(Path("/dev").glob("nvidia[0-9]*")):  # read when Triton is first imported, by whichever test does
    os.environ.setdefault("TRITON_INTERPRET", "1")

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = [".", "data", "kernels", "configs", "cli"]

RunGenomix = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> str:
    """Each device to test on; a skip says why."""
    import torch

    name: str = request.param
    if name == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device on this machine")
    return name


@pytest.fixture
def run_genomix(tmp_path: Path) -> RunGenomix:
    """Run ``genomix ARGS`` in a process of its own, in an empty folder; works from a bare clone."""

    def run(*args: str, cwd: Path = tmp_path, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        paths = [str(ROOT / package) for package in PACKAGES]
        env = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(paths),
            "COLUMNS": "100",
            "NO_COLOR": "1",
            "TERM": "dumb",
        }
        return subprocess.run(
            [sys.executable, "-m", "genomix_cli.main", *args],
            cwd=cwd,
            env=env,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )

    return run
