"""Gated modal filters on tensor cores: tables, scans and products that the kernels share.

``y = q (h * m + skip m)``, ``m = k v``, ``h[t] = sum_n R_n exp(a_n t)``. A tile of M rows holds ``M NS C`` neighbouring
tokens of one channel; a row is NS chunks of C tokens. With the state ``S`` before a chunk,

    Y = M T + S E,   T[j, i] = h[i - j],   E[n, i] = R_n exp(a_n (i + 1)),
    S' = exp(a C) S + X,   X = M V,   V[j, n] = exp(a_n (C - 1 - j)):

the chunks of a row follow one after the other, all rows at once, and what a row starts from is a scan over the M rows,
one for ``M NS C`` tokens. In 16 bits T and V are two terms each, high and low, which makes their error that of 16 bits
of mantissa; S and E are three products of such terms in bf16 (a state may be beyond what fp16 holds), and in fp32 tf32
is taken three times. The skip gain is added to ``h[0]``.

Nothing keeps a pole that is being trained from becoming positive. Over a short sequence such a mode is as good as any,
but over the rest of a tile it would grow beyond fp32, and infinity times what is not there, 0, is NaN: rows beyond the
sequence forget.
"""

import triton
import triton.language as tl

from genomix_kernels.triton_tiles import high_part, low_part


@triton.jit
def _then(decay, x, next_decay, next_x):
    return decay * next_decay, next_decay * x + next_x


@triton.jit
def rows_there(first, seqlen, ROW: tl.constexpr):
    """Return how many rows of ``ROW`` tokens begin within the sequence, the first of them at token ``first``."""
    return tl.cdiv(tl.maximum(seqlen - first, 0), ROW)


@triton.jit
def states_before_rows(x, decay, start, n_rows, M: tl.constexpr, N: tl.constexpr):
    """Return the state before each row, 0 beyond the sequence.

    Args:
        x: What each row adds; 0 beyond the sequence.
        decay: Of a row.
        start: State before the first row.
        n_rows: Rows that begin within the sequence; M asks for nothing of those that do not.
        M: Rows.
        N: Modes.
    """
    r = tl.arange(0, M)[:, None] + tl.zeros((1, N), tl.int32)
    is_there = r < n_rows
    # the state before the first row comes in with what the first row adds
    added = x + tl.where(r == 0, 1.0, 0.0) * (decay * start)[None, :]
    _, after = tl.associative_scan((tl.where(is_there, decay[None, :], 0.0), added), 0, _then)
    before = tl.gather(after, tl.maximum(r - 1, 0), 0)
    return tl.where(is_there, tl.where(r == 0, start[None, :], before), 0.0)


@triton.jit
def gradients_after_rows(x, decay, end, n_rows, M: tl.constexpr, N: tl.constexpr):
    """Return the gradient of the state after each row, given what each row adds and that after the last.

    The others are as in `states_before_rows`; where the sequence ends before the last row, ``end`` is 0.
    """
    r = tl.arange(0, M)[:, None] + tl.zeros((1, N), tl.int32)
    added = x + tl.where(r == M - 1, 1.0, 0.0) * (decay * end)[None, :]
    _, upto = tl.associative_scan((tl.where(r < n_rows, decay[None, :], 0.0), added), 0, _then, reverse=True)
    later = tl.gather(upto, tl.minimum(r + 1, M - 1), 0)
    return tl.where(r == M - 1, end[None, :], later)


@triton.jit
def toeplitz(a, r, skip, C: tl.constexpr, IS_TRANSPOSED: tl.constexpr):
    """Return ``T[j, i] = h[i - j]`` in fp32 with ``skip`` added to ``h[0]``, or its transpose.

    Each ``h`` is summed once and then looked up.
    """
    lags = tl.arange(0, C)
    h = tl.sum(r[None, :] * tl.exp(a[None, :] * lags.to(tl.float32)[:, None]), 1)
    h += tl.where(lags == 0, skip, 0.0)
    place = tl.arange(0, C * C)
    lag = place // C - place % C if IS_TRANSPOSED else place % C - place // C
    values = tl.where(lag >= 0, tl.gather(h, tl.maximum(lag, 0), 0), 0.0)
    return tl.reshape(values, (C, C))


@triton.jit
def times(tile, high, low, IS_SPLIT: tl.constexpr, PRECISION: tl.constexpr):
    """Return a tile of inputs times a table given as its high and low part."""
    y = tl.dot(tile, high, input_precision=PRECISION)
    if IS_SPLIT:
        y = tl.dot(tile, low, y)
    return y


@triton.jit
def plus_states(y, states, table, high, low, IN_BF16: tl.constexpr, PRECISION: tl.constexpr):
    """Return ``y + states table``, both factors with 16 bits of mantissa or more.

    Args:
        y: What is added to; fp32, as are ``states`` and ``table``.
        states: Modes before each row.
        table: What they are multiplied by.
        high: The table in bf16.
        low: What that left out, in bf16.
        IN_BF16: Multiply the halves; Triton's interpreter cannot, and takes fp32.
        PRECISION: Of fp32 products.
    """
    if IN_BF16:
        high_states = states.to(tl.bfloat16)
        low_states = (states - high_states.to(tl.float32)).to(tl.bfloat16)
        y = tl.dot(high_states, high, y)
        y = tl.dot(low_states, high, y)
        return tl.dot(high_states, low, y)
    else:
        return tl.dot(states, table, y, input_precision=PRECISION)


@triton.jit
def modes_of(a_ptr, r_ptr, d, N_MODES: tl.constexpr, N: tl.constexpr):
    """Return poles and residues of a channel, as vectors and as columns; missing modes weigh nothing."""
    n = tl.arange(0, N)
    is_mode = n < N_MODES
    a = tl.load(a_ptr + d * N_MODES + n, mask=is_mode, other=-1.0)
    r = tl.load(r_ptr + d * N_MODES + n, mask=is_mode, other=0.0)
    a_column = tl.load(a_ptr + d * N_MODES + n[:, None], mask=is_mode[:, None], other=-1.0)
    r_column = tl.load(r_ptr + d * N_MODES + n[:, None], mask=is_mode[:, None], other=0.0)
    return a, r, a_column, r_column


@triton.jit
def in_two(table, like):
    """Return a table as its high and low part."""
    return high_part(table, like), low_part(table, like)


@triton.jit
def in_two_bf16(table):
    """Return a table as two terms in bf16, whatever the dtype of the activations."""
    high = table.to(tl.bfloat16)
    return high, (table - high.to(tl.float32)).to(tl.bfloat16)
