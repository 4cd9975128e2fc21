"""What the Triton backends share: whether one can serve tensors, and what it is launched on."""

import importlib.util
from contextlib import AbstractContextManager, nullcontext
from functools import cache

import torch
from torch import Tensor

OLDEST_CAPABILITY = (8, 0)
"""Compute capability from which bf16 is arithmetic of the hardware (Ampere)."""

ROW_ELEMENTS = 2048
"""Of rows that one program of a norm holds, at least."""


@cache
def why_no_triton() -> str | None:
    """Return what this machine lacks for Triton, or None."""
    if importlib.util.find_spec("triton") is None:
        return "Triton is not installed"
    return None


def why_unavailable() -> str | None:
    """Return what this machine lacks for Triton kernels to be chosen, or None."""
    return why_no_triton() or (None if torch.cuda.is_available() else "no CUDA device on this machine")


def why_not_triton(*tensors: Tensor) -> str | None:
    """Return why a Triton kernel cannot take these tensors, or None.

    Tensors on the CPU are refused even under Triton's interpreter, which is for tests: they call a backend directly.
    """
    for tensor in tensors:
        if not tensor.is_cuda:
            return f"the tensors are on the {tensor.device.type.upper()}"
        if tensor.device != tensors[0].device:
            return f"the tensors are on different devices, {tensors[0].device} and {tensor.device}"
        if tensor.dtype not in (torch.float32, torch.bfloat16, torch.float16):
            return f"the kernel does not compute in {tensor.dtype}"
    return why_no_triton() or _why_not_device(tensors[0].device)


@cache
def _why_not_device(device: torch.device) -> str | None:
    if torch.version.hip is None and torch.cuda.get_device_capability(device) < OLDEST_CAPABILITY:
        return f"{torch.cuda.get_device_name(device)} is older than compute capability {OLDEST_CAPABILITY}"
    return None


def launched_on(tensor: Tensor) -> AbstractContextManager[object]:
    """Return a context in which kernels are launched on the device of this tensor."""
    return torch.cuda.device(tensor.device) if tensor.is_cuda else nullcontext()


@cache
def n_processors(device: torch.device) -> int:
    """Return the number of multiprocessors of a device."""
    if device.type != "cuda":
        return 1  # the interpreter runs one program after the other
    return torch.cuda.get_device_properties(device).multi_processor_count


def next_power_of_two(n: int) -> int:
    """Return the smallest power of two that is at least ``n``."""
    return 1 << max(n - 1, 0).bit_length()


def with_unit_stride(x: Tensor) -> Tensor:
    """Return a tensor whose last axis is contiguous: itself, or a copy."""
    return x if x.stride(-1) == 1 else x.contiguous()


def rows_of(x: Tensor) -> tuple[int, int, dict[str, int]]:
    """Return the rows of a tensor, the programs that they are dealt out to, and what a program holds.

    A program holds whole rows in registers, of at least `ROW_ELEMENTS` elements together: short rows share one.
    """
    d = x.shape[-1]
    block = next_power_of_two(d)
    n_rows = x.numel() // d
    rows = max(1, ROW_ELEMENTS // block)
    n_warps = min(max(rows * block // 512, 1), 16)  # 16 elements a thread, two loads of 16 bytes in bf16
    return n_rows, -(-n_rows // rows), {"D": d, "BLOCK_D": block, "ROWS": rows, "num_warps": n_warps}
