"""What a long command spares Python's garbage collector."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def settled_memory() -> Iterator[None]:
    """Keep the collector from looking through all that is loaded, PyTorch above all, every few thousand records."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
