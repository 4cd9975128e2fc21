"""Pieces of Triton kernels over sequences: eight neighbouring tokens a thread, short filters among them, gates.

A block of ``8 T`` tokens is loaded with 16-byte accesses and taken apart into eight tensors of ``T`` lanes: lane ``l``
of tensor ``j`` is token ``8 l + j``. Together with the eight tokens before it (a second aligned load, which the cache
serves) a thread then holds all that a filter of up to nine taps reads: no shuffles and no unaligned access.
"""

import triton
import triton.language as tl


@triton.jit
def split8(x, T: tl.constexpr):
    """Return the eight tensors of ``T`` lanes of a block of ``8 T`` tokens; all of it stays in registers."""
    even, odd = tl.split(tl.reshape(x, (T, 4, 2)))
    even_low, even_high = tl.split(tl.reshape(even, (T, 2, 2)))
    odd_low, odd_high = tl.split(tl.reshape(odd, (T, 2, 2)))
    x0, x4 = tl.split(even_low)
    x2, x6 = tl.split(even_high)
    x1, x5 = tl.split(odd_low)
    x3, x7 = tl.split(odd_high)
    return (x0, x1, x2, x3, x4, x5, x6, x7)


@triton.jit
def join8(x, T: tl.constexpr):
    """Return the block of ``8 T`` tokens of eight tensors: `split8` backwards."""
    even = tl.join(tl.join(x[0], x[4]), tl.join(x[2], x[6]))
    odd = tl.join(tl.join(x[1], x[5]), tl.join(x[3], x[7]))
    return tl.reshape(tl.join(tl.reshape(even, (T, 4)), tl.reshape(odd, (T, 4))), (T * 8,))


@triton.jit
def load_block(pointers, t, seqlen, is_row):
    """Return the inputs at positions ``t`` in fp32; 0 outside the sequence."""
    return tl.load(pointers, mask=is_row & (t >= 0) & (t < seqlen), other=0.0).to(tl.float32)


@triton.jit
def load_taps(pointer, N_TAPS: tl.constexpr, IS_REVERSED: tl.constexpr, is_row):
    """Return the taps of one filter a lane (or of one filter), that of the current input first, in fp32."""
    taps = ()
    for i in tl.static_range(N_TAPS):
        at = N_TAPS - 1 - i if IS_REVERSED else i
        taps = taps + (tl.load(pointer + at, mask=is_row, other=0.0).to(tl.float32),)
    return taps


@triton.jit
def fir_at(x, taps, j: tl.constexpr, N_TAPS: tl.constexpr):
    """Return ``sum_i taps[i] x[j - i]``."""
    y = x[j] * taps[0]
    for i in tl.static_range(1, N_TAPS):
        y += x[j - i] * taps[i]
    return y


@triton.jit
def adjoint_fir_at(y, taps, j: tl.constexpr, N_TAPS: tl.constexpr):
    """Return ``sum_i taps[i] y[j + i]``: what input ``j`` gets of the gradients of its outputs."""
    x = y[j] * taps[0]
    for i in tl.static_range(1, N_TAPS):
        x += y[j + i] * taps[i]
    return x


@triton.jit
def tokens_before(
    rows, lane_t, seqlen, is_row, tail_rows, T: tl.constexpr, F: tl.constexpr, W: tl.constexpr, HAS_TAIL: tl.constexpr
):  # fmt: skip
    """Return the W tokens before each lane's own eight, in fp32: one access of ``2 W`` bytes in 16 bits.

    Args:
        rows: Pointer to token 0, one a lane, or one for all.
        lane_t: Position of the first token of each lane.
        seqlen: Of the sequence.
        is_row: Whether there is such a row, one a lane, or one for all.
        tail_rows: Pointer to the ``F - 1`` inputs before token 0, one a lane, or one for all.
        T: Lanes.
        F: Taps of the filter that reads them.
        W: 1, 2, 4 or 8, at least ``F - 1``.
        HAS_TAIL: Whether there are such inputs; else they are 0.
    """
    first = lane_t - W
    is_there = is_row & (first >= 0) & (first < seqlen)
    if W == 1:
        tokens = (tl.load(rows + first, mask=is_there, other=0.0).to(tl.float32),)
    else:
        place = tl.arange(0, W)[None, :]
        pointers = (rows + first)[:, None] + place
        pair = tl.load(pointers, mask=is_there[:, None] & (first[:, None] + place < seqlen), other=0.0)
        tokens = _split_columns(pair.to(tl.float32), T, W)
    if not HAS_TAIL:
        return tokens
    # lanes that begin at token 0 have the tail for their past
    filled = ()
    for j in tl.static_range(W):
        if j >= W + 1 - F:
            at = tail_rows + tl.zeros_like(lane_t) + (j - (W + 1 - F))
            past = tl.load(at, mask=is_row & (lane_t == 0), other=0.0).to(tl.float32)
            filled = filled + (tokens[j] + past,)
        else:
            filled = filled + (tokens[j],)
    return filled


@triton.jit
def _split_columns(x, T: tl.constexpr, W: tl.constexpr):
    if W == 2:
        x0, x1 = tl.split(x)
        return (x0, x1)
    elif W == 4:
        even, odd = tl.split(tl.reshape(x, (T, 2, 2)))
        x0, x2 = tl.split(even)
        x1, x3 = tl.split(odd)
        return (x0, x1, x2, x3)
    else:
        return split8(tl.reshape(x, (T * 8,)), T)


@triton.jit
def rounded(x, like):
    """Return ``x`` as it is after a trip through the dtype that a pointer points to, in fp32."""
    return x.to(like.dtype.element_ty).to(tl.float32)


@triton.jit
def next_lanes(own, following, ROWS: tl.constexpr, LANES: tl.constexpr):
    """Return what the next lane of a row holds; the last lane of a row gets lane 0 of ``following``."""
    lane = tl.arange(0, LANES)[None, :] + tl.zeros((ROWS, 1), tl.int32)
    merged = tl.where(lane == 0, tl.reshape(following, (ROWS, LANES)), tl.reshape(own, (ROWS, LANES)))
    return tl.reshape(tl.gather(merged, (lane + 1) % LANES, 1), (ROWS * LANES,))


@triton.jit
def first_lanes(x, ROWS: tl.constexpr, LANES: tl.constexpr):
    """Return lane 0 of each row."""
    lane = tl.arange(0, LANES)[None, :]
    return tl.sum(tl.where(lane == 0, tl.reshape(x, (ROWS, LANES)), 0.0), 1)


@triton.jit
def diagonal_sums(g, C: tl.constexpr):
    """Return ``sum_j g[j, j + l]`` for ``l = 0 .. C - 1``, and the same for ``l - C``."""
    j = tl.arange(0, C)[:, None]
    i = j + tl.arange(0, C)[None, :]
    skewed = tl.gather(g, i % C, 1)
    return tl.sum(tl.where(i < C, skewed, 0.0), 0), tl.sum(tl.where(i >= C, skewed, 0.0), 0)


@triton.jit
def high_part(x, like):
    """Return an operand of a matrix product, rounded to the dtype behind a pointer."""
    return x.to(like.dtype.element_ty)


@triton.jit
def low_part(x, like):
    """Return what `high_part` left out, rounded likewise: the sum of both has 16 bits of mantissa or more."""
    return (x - x.to(like.dtype.element_ty).to(tl.float32)).to(like.dtype.element_ty)


@triton.jit
def by_stretch(x, S: tl.constexpr, L: tl.constexpr):
    """Return lanes as (stretches, lanes of the channels)."""
    reshaped = ()
    for j in tl.static_range(len(x)):
        reshaped = reshaped + (tl.reshape(x[j], (S, L)),)
    return reshaped
