"""Gated filters of medium length on tensor cores: the geometry and the products that three kernels share.

A row is a stretch of one channel, cut into chunks of C tokens; the R rows of a program share one filter (the channels
of a group, and several stretches of each). With ``T_b[j, i] = h[b C + i - j]`` the chunks of all rows follow
``Y_c = sum_b M_{c-b} T_b``, b up to ``ceil((K - 1) / C)``. A program walks along its stretches and carries the sums
that later chunks have already received, so that each chunk is loaded, featurized, gated and multiplied once. NS chunks
are loaded at a time: a row of memory is then read 128 NS bytes at a time, and all of them are on their way together.
"""

import triton
import triton.language as tl


@triton.jit
def toeplitz_tables(
    h_row, NB: tl.constexpr, K: tl.constexpr, C: tl.constexpr, IS_REVERSED: tl.constexpr, like,
    IS_TRANSPOSED: tl.constexpr,
):  # fmt: skip
    """Return ``T_b[j, i] = h[b C + i - j]`` for ``b = 0 .. NB``, 0 where the filter is not, or their transposes."""
    tables = ()
    for b in tl.static_range(NB + 1):
        if IS_TRANSPOSED:
            lag = b * C + tl.arange(0, C)[:, None] - tl.arange(0, C)[None, :]
        else:
            lag = b * C + tl.arange(0, C)[None, :] - tl.arange(0, C)[:, None]
        at = K - 1 - lag if IS_REVERSED else lag
        table = tl.load(h_row + at, mask=(lag >= 0) & (lag < K), other=0.0).to(like.dtype.element_ty)
        tables = tables + (table,)
    return tables


@triton.jit
def advance(tile, tables, carries, NB: tl.constexpr, PRECISION: tl.constexpr):
    """Return what a chunk and those before it give, and what the next NB chunks have received so far."""
    y = tl.dot(tile, tables[0], carries[0], input_precision=PRECISION)
    after = ()
    for b in tl.static_range(1, NB + 1):
        if b < NB:
            after = after + (tl.dot(tile, tables[b], carries[b], input_precision=PRECISION),)
        else:
            after = after + (tl.dot(tile, tables[b], input_precision=PRECISION),)
    return y, after


@triton.jit
def row_of(place, group_size, n_parts, n_tokens, GP: tl.constexpr):
    """Return channel within the program's part of its group, whether there is such a channel, and stretch of each row.

    Rows ``0 .. GP - 1`` are channels of the group in the first of a program's stretches, and so on.
    """
    channel = place % GP
    is_row = (tl.program_id(1) % n_parts) * GP + channel < group_size
    return tl.where(is_row, channel, 0), is_row, place // GP


@triton.jit
def first_channel(group_size, n_parts, GP: tl.constexpr):
    """Return the first channel of a program."""
    return tl.program_id(1) // n_parts * group_size + tl.program_id(1) % n_parts * GP
