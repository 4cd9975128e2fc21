"""What a long command spares Python's garbage collector, and the kernel."""

import ctypes
import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager

KEPT_BLOCK = 256 << 20
"""Bytes of the largest block that the process keeps when it is freed; larger ones go back at once."""

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""Parameters of mallopt(3)."""


def keep_freed_memory() -> bool:
    """Keep freed memory for the next tensor rather than hand it back to the kernel; glibc only, elsewhere False.

    By default glibc gives every block of more than some megabytes back when it is freed, and the next layer's tensor of
    the same size is filled with fresh pages again: on a CPU up to two thirds of the time of a forward pass went there.
    What was set in the environment (``MALLOC_TRIM_THRESHOLD_``, ``MALLOC_MMAP_THRESHOLD_``) is left as it is.
    """
    if os.environ.keys() & {"MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES"}:
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # no glibc: musl, macOS; on Windows None names no library
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, KEPT_BLOCK)) and bool(mallopt(_M_TRIM_THRESHOLD, 2**31 - 1))


def settle_process() -> None:
    """Begin a process that does nothing else but long work: both of what this module does, until its end."""
    keep_freed_memory()
    gc.freeze()


@contextmanager
def settled_memory() -> Iterator[None]:
    """Keep the collector from looking through all that is loaded, PyTorch above all, every few thousand records."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
