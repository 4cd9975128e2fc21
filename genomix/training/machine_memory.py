"""How much memory this process holds and may have: of a GPU as PyTorch counts it, of the machine as its kernel does."""

import resource
import sys
from pathlib import Path

import torch

_STATUS, _CLEAR_REFS = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_PEAK_OF_RESIDENT_SET = "5"  # what clear_refs takes to begin the peak anew

_HOST_SAYS = "DefaultCPUAllocator: can't allocate memory"
"""What PyTorch says where the machine has no memory left; the error is a plain RuntimeError."""

_CGROUPS = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)
"""Limit and use of a container or job, in the second and the first version of control groups."""


def held_bytes(device: torch.device) -> int:
    """Return what this process holds: tensors on a GPU, or its resident set on a CPU."""
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device)
    return _of_status("VmRSS") or _largest_resident_set()


def peak_bytes(device: torch.device) -> int:
    """Return the most that `held_bytes` was since `reset_peak`."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return _of_status("VmHWM") or _largest_resident_set()


def reset_peak(device: torch.device) -> None:
    """Begin the peak anew, where that is possible; else it is that of the whole process, and only grows."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    elif _CLEAR_REFS.exists():
        try:
            _CLEAR_REFS.write_text(_PEAK_OF_RESIDENT_SET)
        except OSError:
            return  # a kernel without it; peaks of growing sizes are right all the same


def available_bytes(device: torch.device) -> int | None:
    """Return what this process may have in all, with what it holds already; None where the system does not say."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device)
    meminfo = Path("/proc/meminfo")
    if not meminfo.exists():
        return None
    fields = dict(line.split(":", 1) for line in meminfo.read_text().splitlines() if ":" in line)
    free = int(fields["MemAvailable"].split()[0]) * 1024
    for limit, used in _CGROUPS:
        allowed = Path(limit).read_text().strip() if Path(limit).exists() else "max"
        if allowed != "max":
            free = min(free, max(0, int(allowed) - int(Path(used).read_text())))
    return free + held_bytes(device)


def is_out_of_memory(error: BaseException | None) -> bool:
    """Return whether an error says that there is no memory, of a GPU or of the machine, or came of one that does."""
    while error is not None:
        if isinstance(error, torch.OutOfMemoryError | MemoryError) or _HOST_SAYS in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def _of_status(key: str) -> int | None:
    if not _STATUS.exists():
        return None
    for line in _STATUS.read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) * 1024
    return None


def _largest_resident_set() -> int:
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
