"""What this machine can use, and for what it cannot, why not and what to do: the facts behind ``genomix doctor``."""

import importlib.util
import shutil
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from genomix import __version__
from genomix.provenance import processor_name, source_commit

Status = Literal["ok", "absent", "broken"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One line of the doctor's report.

    ``absent`` is not a fault: something optional is not there, and ``remedy`` says how to get it.
    ``broken`` is one: something is there and does not work.
    """

    group: str
    name: str
    status: Status
    found: str
    remedy: str = ""


def examine() -> list[Check]:
    """Look at Python, memory, disk, devices, packages and kernel backends; importing torch, nothing else heavy."""
    return [*_machine(), *_core_packages(), *_models(), *_devices(), *_kernels(), *_extras()]


def _machine() -> list[Check]:
    source = source_commit()
    where = f"clone at {source}" if source else "installed package"
    memory = _memory_gib()
    free = shutil.disk_usage(Path.cwd()).free / 2**30
    python_ok = sys.version_info >= (3, 11)
    return [
        Check(group="machine", name="genomix", status="ok", found=f"{__version__} ({where})"),
        Check(
            group="machine",
            name="python",
            status="ok" if python_ok else "broken",
            found=sys.version.split()[0],
            remedy="" if python_ok else "genomix needs Python 3.11 or newer",
        ),
        Check(group="machine", name="processor", status="ok", found=processor_name()),
        Check(group="machine", name="memory", status="ok", found=memory),
        Check(group="machine", name="disk here", status="ok", found=f"{free:.0f} GiB free"),
    ]


def _memory_gib() -> str:
    meminfo = Path("/proc/meminfo")
    if not meminfo.exists():
        return "unknown on this system"
    fields = dict(line.split(":", 1) for line in meminfo.read_text().splitlines() if ":" in line)
    total, free = (int(fields[key].split()[0]) / 2**20 for key in ("MemTotal", "MemAvailable"))
    return f"{total:.0f} GiB, {free:.0f} GiB available"


CORE = {
    "torch": "torch",
    "numpy": "numpy",
    "pysam": "pysam",
    "biopython": "Bio",
    "safetensors": "safetensors",
    "lightning": "lightning",
    "hydra-core": "hydra",
    "matplotlib": "matplotlib",
    "jinja2": "jinja2",
}

EXTRAS = {
    "pyarrow": ("pyarrow", "parquet", "Parquet tables"),
    "py2bit": ("py2bit", "twobit", ".2bit genomes"),
    "huggingface-hub": ("huggingface_hub", "hub", "downloads of published weights"),
    "ray": ("ray", "ray", "scoring on many hosts"),
    "tensorboard": ("tensorboard", "tensorboard", "trainer.tensorboard, the log of a training run"),
    "wandb": ("wandb", "wandb", "trainer.wandb, the log of a training run"),
}


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _core_packages() -> list[Check]:
    checks = []
    for distribution, module in CORE.items():
        version = _version(distribution)
        found = importlib.util.find_spec(module) is not None
        checks.append(
            Check(
                group="packages",
                name=distribution,
                status="ok" if found else "broken",
                found=version or ("present" if found else "missing"),
                remedy="" if found else "install again: pip install --force-reinstall genomix-fm",
            )
        )
    return checks


def _models() -> list[Check]:
    from genomix.checkpoint.shards import WEIGHTS_FILE, weights_sha256
    from genomix.checkpoint.shipped import located, shipped_models, shipped_row

    checks = []
    for name in shipped_models():
        row = shipped_row(name)
        is_whole = (located(name) / WEIGHTS_FILE).is_file() and weights_sha256(located(name)) == row.sha256
        checks.append(
            Check(
                group="models that ship",
                name=name,
                status="ok" if is_whole else "broken",
                found=f"{row.n_parameters:,} parameters, context {row.context_len:,}"
                if is_whole
                else "its weights are missing or changed",
                remedy="" if is_whole else "install again: pip install --force-reinstall genomix-fm",
            )
        )
    return checks


def _devices() -> list[Check]:
    import torch

    threads = f"fp32 and fp64, {torch.get_num_threads()} threads"
    checks = [Check(group="devices", name="cpu", status="ok", found=threads)]
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            about = torch.cuda.get_device_properties(index)
            bf16 = "bf16" if about.major >= 8 else "no bf16 (needs compute capability 8.0)"
            checks.append(
                Check(
                    group="devices",
                    name=f"cuda:{index}",
                    status="ok",
                    found=f"{about.name}, {about.total_memory / 2**30:.0f} GiB, sm_{about.major}{about.minor}, {bf16}",
                )
            )
    else:
        checks.append(_why_no_cuda())
    mps = getattr(torch.backends, "mps", None)
    if mps is not None and mps.is_available():
        checks.append(
            Check(
                group="devices",
                name="mps",
                status="absent",
                found="present, not used yet",
                remedy="genomix runs on the CPU of this Mac for now",
            )
        )
    return checks


def _why_no_cuda() -> Check:
    import torch

    if torch.version.cuda is None:
        why = f"torch {torch.__version__} is a build without CUDA"
        remedy = "if there is an NVIDIA GPU here, pip install torch from PyPI (its Linux build has CUDA)"
    elif shutil.which("nvidia-smi") is None:
        why, remedy = "no NVIDIA driver found", "install the driver; genomix itself needs no CUDA toolkit"
    else:
        why = "the driver is there, but torch sees no device"
        remedy = (
            f"torch was built for CUDA {torch.version.cuda}: update the driver, or check CUDA_VISIBLE_DEVICES"
        )
    return Check(group="devices", name="cuda", status="absent", found=why, remedy=remedy)


def _kernels() -> list[Check]:
    from genomix_kernels.dispatch import implementations, operations

    checks = []
    for operation in operations():
        for backend in implementations(operation):
            checks.append(
                Check(
                    group="kernels",
                    name=f"{operation}/{backend.name}",
                    status="ok" if backend.unavailable is None else "absent",
                    found="usable" if backend.unavailable is None else backend.unavailable,
                )
            )
    return checks


def _extras() -> list[Check]:
    checks = []
    for distribution, (module, extra, what_for) in EXTRAS.items():
        found = importlib.util.find_spec(module) is not None
        checks.append(
            Check(
                group="extras",
                name=distribution,
                status="ok" if found else "absent",
                found=(_version(distribution) or "present") if found else f"not installed: {what_for}",
                remedy="" if found else f"pip install 'genomix-fm[{extra}]'",
            )
        )
    return checks
