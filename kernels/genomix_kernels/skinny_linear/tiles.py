"""How a matrix is cut among programs: the arithmetic of keeping memory busy, and a table.

By Little's law an H200 needs 4.8 TB/s x 0.7 us = 3.4 MB of loads on their way, 26 KB for each of its 132
multiprocessors; twice that leaves room for programs that start or end. In bf16, per program:

``multiply`` (`block_n` rows, loads straight to registers): ``2 block_n block_k`` bytes. 256 columns a warp, 8 a thread,
is the one width at which x, loaded as a row, already lies in the threads that need it; at any other it goes through
shared memory in each step. One row of 1024 columns is one load of 16 bytes for each of 128 threads: small programs,
many of them.

``dot`` (tiles through shared memory, ``num_stages - 1`` buffers): 64 x 128 with 5 stages are 4 buffers of 16 KB of the
weight and 4 KB for 16 rows of x, 80 KB in all, so 2 programs a multiprocessor. Each program reads all of x, from L2:
``M / block_n`` of what it reads of weights.

The sum over K is never split among programs: an output is one program's sum in one order, so that neither atomics nor
a second pass are needed, and a row's result does not depend on the other rows.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

MAX_ROWS = 16
"""Rows of x, at most; the tensor cores' tile is padded to this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tiles:
    """How one program works.

    Attributes:
        kernel: ``multiply`` sums products without tensor cores, for one or two rows of x; ``dot`` is for any number.
        block_n: Rows of the weight a program; for ``dot`` a multiple of 16.
        block_k: Columns a step; a power of two, for ``multiply`` best ``256 num_warps``.
        num_warps: 32 threads each.
        num_stages: Tiles in shared memory; ``dot`` only.
    """

    kernel: Literal["multiply", "dot"]
    block_n: int
    block_k: int
    num_warps: int
    num_stages: int = 1


Table = Mapping[int, Tiles]
"""Tiles by the greatest number of rows of x that they serve."""

# 1 and 8 rows: the fastest of some dozens on an H200 (2026-11-26), summed over the matrices of a 7B model; 2: not tuned
LINEAR: Table = {
    1: Tiles(kernel="multiply", block_n=1, block_k=1024, num_warps=4),
    2: Tiles(kernel="multiply", block_n=4, block_k=1024, num_warps=4),
    16: Tiles(kernel="dot", block_n=64, block_k=128, num_warps=4, num_stages=5),
}
PAIR: Table = {
    1: Tiles(kernel="multiply", block_n=2, block_k=2048, num_warps=8),
    2: Tiles(kernel="multiply", block_n=4, block_k=1024, num_warps=4),
    16: Tiles(kernel="dot", block_n=32, block_k=128, num_warps=2, num_stages=4),
}


def tiles_for(n_rows: int, table: Table) -> Tiles:
    """Return the tiles of the smallest bucket that holds ``n_rows``."""
    return table[min(bucket for bucket in table if bucket >= n_rows)]
