"""How long a call takes: medians of CUDA events on a GPU, of the wall clock on a CPU.

On a GPU a scratch buffer of 256 MB is written before a measured call where it would otherwise find its operands in the
L2 cache, or where launching the call takes the host longer than running it takes the device: while the buffer is
written, the host runs ahead, and the events hold the device's work alone. What the host needs is reported beside it.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

_Event: Any = torch.cuda.Event  # untyped in torch

WARM_UP_MS, MEASURE_MS = 15.0, 60.0
FEWEST, MOST = 3, 200
VERY_LONG_MS = 500.0
"""A call that takes longer is measured once."""
_SCRATCH_BYTES = 256 << 20
_COPY_BYTES = {"cuda": 4 << 30, "cpu": 128 << 20}


@dataclass(frozen=True, kw_only=True, slots=True)
class Timing:
    """What one call takes.

    Args:
        ms: Median.
        repeats: How many calls that is the median of.
        host_ms: Until the call returns to Python; a GPU is then still at work. None on a CPU, where it is ``ms``.
        peak_mb: Memory at its highest above that before the call, in 10^6 bytes; None on a CPU.
    """

    ms: float
    repeats: int
    host_ms: float | None
    peak_mb: float | None


def time_call(
    call: Callable[[], object], device: str, *, working_set: int, budget_ms: float = MEASURE_MS
) -> Timing:
    """Return the time and memory of a call, after calls to warm up.

    Args:
        call: What is measured; its result is dropped.
        device: Where it runs.
        working_set: Bytes that the call reads and writes.
        budget_ms: About how long all measured calls may take together; at least three are made, one if very long.
    """
    if torch.device(device).type == "cpu":
        return _time_on_cpu(call, budget_ms)
    return _time_on_gpu(call, torch.device(device), working_set, budget_ms)


def copy_rate(device: str) -> float:
    """Return the rate of a large copy on the device in GB/s, bytes read and bytes written both counted."""
    kind = torch.device(device).type
    n_bytes = _COPY_BYTES[kind]
    if kind == "cuda":
        with torch.cuda.device(device):
            n_bytes = min(n_bytes, torch.cuda.mem_get_info()[0] // 4)
    source = torch.ones(n_bytes // 4, dtype=torch.float32, device=device)
    target = torch.empty_like(source)
    timing = time_call(
        lambda: target.copy_(source), device, working_set=2 * n_bytes, budget_ms=2 * MEASURE_MS
    )
    return 2 * source.numel() * 4 / timing.ms / 1e6


def _time_on_cpu(call: Callable[[], object], budget_ms: float) -> Timing:
    def once() -> float:
        started = time.perf_counter()
        call()
        return 1000 * (time.perf_counter() - started)

    once()
    estimate = once()
    times = [once() for _ in range(_n_repeats(estimate, budget_ms))]
    return Timing(ms=statistics.median(times), repeats=len(times), host_ms=None, peak_mb=None)


def _time_on_gpu(
    call: Callable[[], object], device: torch.device, working_set: int, budget_ms: float
) -> Timing:
    with torch.cuda.device(device):
        scratch = torch.empty(_SCRATCH_BYTES, dtype=torch.uint8, device=device)
        call()  # compiles, tunes, and fills caches of its own
        peak = _peak_bytes(call, device)
        estimate, host_ms = _estimate(call)
        for _ in range(min(MOST, int(WARM_UP_MS / max(estimate, 1e-3)))):
            call()
        n_writes = 0
        l2_bytes = torch.cuda.get_device_properties(device).L2_cache_size
        if working_set < 4 * l2_bytes:
            n_writes = 1
        if estimate < 2 * host_ms:
            n_writes = max(1, min(16, round(1.5 * host_ms / _write_ms(scratch))))
        times = _event_times(call, _n_repeats(estimate, budget_ms), scratch, n_writes)
    return Timing(ms=statistics.median(times), repeats=len(times), host_ms=host_ms, peak_mb=peak / 1e6)


def _n_repeats(estimate_ms: float, budget_ms: float) -> int:
    fewest = 1 if estimate_ms > VERY_LONG_MS else FEWEST
    return max(fewest, min(MOST, int(budget_ms / max(estimate_ms, 1e-3))))


def _peak_bytes(call: Callable[[], object], device: torch.device) -> int:
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    call()
    torch.cuda.synchronize(device)
    return torch.cuda.max_memory_allocated(device) - before


def _estimate(call: Callable[[], object]) -> tuple[float, float]:
    """Return the milliseconds of a call with and without waiting for the device, the best of up to three."""
    whole, host = [], []
    for _ in range(3):
        torch.cuda.synchronize()
        started = time.perf_counter()
        call()
        host.append(time.perf_counter() - started)
        torch.cuda.synchronize()
        whole.append(time.perf_counter() - started)
        if 1000 * sum(whole) > MEASURE_MS:
            break
    return 1000 * min(whole), 1000 * min(host)


def _write_ms(scratch: Tensor) -> float:
    start, end = _Event(enable_timing=True), _Event(enable_timing=True)
    scratch.zero_()
    start.record()
    scratch.zero_()
    end.record()
    torch.cuda.synchronize()
    return max(float(start.elapsed_time(end)), 1e-2)


def _event_times(call: Callable[[], object], repeats: int, scratch: Tensor, n_writes: int) -> list[float]:
    starts = [_Event(enable_timing=True) for _ in range(repeats)]
    ends = [_Event(enable_timing=True) for _ in range(repeats)]
    torch.cuda.synchronize()
    for start, end in zip(starts, ends, strict=True):
        for _ in range(n_writes):
            scratch.zero_()
        start.record()
        call()
        end.record()
    torch.cuda.synchronize()
    return [start.elapsed_time(end) for start, end in zip(starts, ends, strict=True)]
