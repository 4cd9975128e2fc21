"""What a run must say of itself so that it can be told again: command, versions, machine, checksums."""

import hashlib
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from genomix import __version__

PACKAGES = ("torch", "numpy", "pysam", "safetensors", "lightning", "triton")


def run_record(command: Sequence[str] | None = None, **extra: Any) -> dict[str, Any]:
    """Return the versions, machine, time and command of this run, and whatever the caller adds.

    Args:
        command: The argv of the run; the process's own by default.
        extra: Further entries, e.g. ``seed=1`` or ``reference=genome.fingerprint()``; JSON-like values.
    """
    argv = list(command) if command is not None else ["genomix", *sys.argv[1:]]
    return {
        "genomix": __version__,
        "commit": source_commit(),
        "command": shlex.join(argv),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": processor_name(),
        "packages": package_versions(PACKAGES),
        **extra,
    }


def package_versions(names: Sequence[str]) -> dict[str, str]:
    """Return the installed version of each package that is installed."""
    found: dict[str, str] = {}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def source_commit() -> str | None:
    """Return the git commit of the clone that genomix runs from (``-dirty`` if changed); None when installed."""
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return None
    try:
        result = subprocess.run(
            ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"],
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return None
    return result.stdout.strip() or None


def processor_name() -> str:
    """Return the name of the CPU and how many of its cores this process may use."""
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                name = line.split(":", 1)[1].strip()
                break
    return f"{name}, {usable_cores()} cores"


def usable_cores() -> int:
    """Return how many cores this process may run on (a container or SLURM job may own fewer than the machine has)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def sha256_of(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a file, as hexadecimal digits."""
    with Path(path).open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
