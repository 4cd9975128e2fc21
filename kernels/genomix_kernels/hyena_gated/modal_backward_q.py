"""Gated modal filters behind a featurizer, backward: the first of three passes, which needs the filtered signal.

It writes the gradient of q, and what the other two start from: ``df = dy z_q`` and ``m = z_k z_v``, in the dtype of
the inputs. `modal_backward_kernel` then makes ``dm`` of them as of a filter without gates, and `short_backward_kernel`
takes ``dm`` through the gates and the featurizers of k and v. One kernel for all of it does not fit the registers.

Tiles do not depend on each other: the state before each was saved by the forward pass, and the few outputs beyond a
tile that its last tokens hear from, through the featurizer's adjoint, follow from the state before the next one.
"""

import triton
import triton.language as tl

from genomix_kernels.hyena_gated.modal_tiles import (
    in_two,
    in_two_bf16,
    modes_of,
    plus_states,
    rows_there,
    states_before_rows,
    times,
    toeplitz,
)
from genomix_kernels.triton_tiles import (
    adjoint_fir_at,
    fir_at,
    first_lanes,
    join8,
    load_block,
    load_taps,
    next_lanes,
    rounded,
    split8,
    tokens_before,
)


@triton.jit
def modal_backward_q_kernel(
    q_ptr, k_ptr, v_ptr, dy_ptr, dq_ptr, df_ptr, m_ptr, featurizer_ptr, a_ptr, r_ptr, skip_ptr, saved_ptr, sums_ptr,
    channels, seqlen, n_splits, n_tiles,
    x_batch, x_channel, dy_batch, dy_channel, dx_batch, dx_channel, row_stream, row_channel,
    F: tl.constexpr, W: tl.constexpr, N_MODES: tl.constexpr, N: tl.constexpr, IS_FEATURIZER_REVERSED: tl.constexpr,
    HAS_SKIP: tl.constexpr, IS_SPLIT: tl.constexpr, IN_BF16: tl.constexpr, M: tl.constexpr, C: tl.constexpr,
    PRECISION: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """Write dq, df and m of ``n_tiles`` tiles of one channel, and F sums for q's taps.

    Grid: batch x channels x splits.
    """
    LANES: tl.constexpr = C // 8
    T: tl.constexpr = M * LANES
    TILE: tl.constexpr = M * C
    row = tl.program_id(0) // n_splits
    split = tl.program_id(0) % n_splits
    b = row // channels
    d = row % channels
    x_row = b.to(tl.int64) * x_batch + d.to(tl.int64) * x_channel
    q_row = q_ptr + x_row
    k_row = k_ptr + x_row
    v_row = v_ptr + x_row
    dy_row = dy_ptr + b.to(tl.int64) * dy_batch + d.to(tl.int64) * dy_channel
    dx_row = b.to(tl.int64) * dx_batch + d.to(tl.int64) * dx_channel
    stream_row = d * row_channel
    q_taps = load_taps(featurizer_ptr + stream_row * F, F, IS_FEATURIZER_REVERSED, True)
    k_taps = load_taps(featurizer_ptr + (stream_row + row_stream) * F, F, IS_FEATURIZER_REVERSED, True)
    v_taps = load_taps(featurizer_ptr + (stream_row + 2 * row_stream) * F, F, IS_FEATURIZER_REVERSED, True)
    skip = 0.0
    if HAS_SKIP:
        skip = tl.load(skip_ptr + d).to(tl.float32)

    n = tl.arange(0, N)
    is_mode = n < N_MODES
    a, r, a_column, r_column = modes_of(a_ptr, r_ptr, d, N_MODES, N)
    t_high, t_low = in_two(toeplitz(a, r, skip, C, False), dy_ptr)
    j = tl.arange(0, C).to(tl.float32)
    v_high, v_low = in_two(tl.exp(a[None, :] * (C - 1 - j)[:, None]), dy_ptr)
    e_table = r_column * tl.exp(a_column * (j + 1)[None, :])
    e_high, e_low = in_two_bf16(e_table)
    decay = tl.exp(a * C)
    if F > 1:
        near = toeplitz(a, r, skip, W, False)
        e_near = r_column * tl.exp(a_column * (tl.arange(0, W) + 1).to(tl.float32)[None, :])

    all_tiles = tl.cdiv(seqlen, TILE)
    rows = tl.arange(0, M)
    sums = ()
    for _ in tl.static_range(F):
        sums = sums + (tl.zeros((T,), tl.float32),)
    for index in tl.range(0, n_tiles, num_stages=STAGES):
        tile_index = split * n_tiles + index
        first = tile_index * TILE
        t = first + tl.arange(0, TILE)
        lane_t = first + 8 * tl.arange(0, T)
        is_there = t < seqlen
        raw_k = tl.load(k_row + t, mask=is_there, other=0.0)
        raw_v = tl.load(v_row + t, mask=is_there, other=0.0)
        raw_q = tl.load(q_row + t, mask=is_there, other=0.0)
        raw_dy = tl.load(dy_row + t, mask=is_there, other=0.0)
        k = tokens_before(k_row, lane_t, seqlen, True, k_row, T, F, W, False)
        v = tokens_before(v_row, lane_t, seqlen, True, v_row, T, F, W, False)
        q = tokens_before(q_row, lane_t, seqlen, True, q_row, T, F, W, False)
        place = (row * all_tiles + tile_index).to(tl.int64) * N_MODES
        is_saved = is_mode & (tile_index + tl.zeros_like(n) < all_tiles)
        state = tl.load(saved_ptr + place + n, mask=is_saved, other=0.0)
        beyond = ()
        if F > 1:
            is_next = is_mode[:, None] & (tile_index + 1 + tl.zeros_like(n)[:, None] < all_tiles)
            next_state = tl.load(saved_ptr + place + N_MODES + n[:, None], mask=is_next, other=0.0)
            beyond = _first_of_next_tile(
                k_row, v_row, dy_row, first + TILE, seqlen, next_state, e_near, near, k_taps, v_taps, dy_ptr, F, W,
            )  # fmt: skip

        k = k + split8(raw_k.to(tl.float32), T)
        v = v + split8(raw_v.to(tl.float32), T)
        q = q + split8(raw_q.to(tl.float32), T)
        dy = split8(raw_dy.to(tl.float32), T)
        m = ()
        df = ()
        for i in tl.static_range(8):
            m = m + (fir_at(k, k_taps, i + W, F) * fir_at(v, v_taps, i + W, F),)
            df = df + (fir_at(q, q_taps, i + W, F) * dy[i],)
        flat = join8(m, T).to(dy_ptr.dtype.element_ty)
        tl.store(m_ptr + dx_row + t, flat, mask=is_there)
        tl.store(df_ptr + dx_row + t, join8(df, T).to(df_ptr.dtype.element_ty), mask=is_there)
        tile = tl.reshape(flat, (M, C))
        x = times(tile, v_high, v_low, IS_SPLIT, PRECISION)
        states = states_before_rows(x, decay, state, rows_there(first, seqlen, C), M, N)
        y = times(tile, t_high, t_low, IS_SPLIT, PRECISION)
        y = plus_states(y, states, e_table, e_high, e_low, IN_BF16, "tf32x3")
        filtered = split8(tl.reshape(y, (TILE,)), T)

        dz = ()
        for i in tl.static_range(8):
            dz = dz + (filtered[i] * dy[i],)
        long = dz
        for i in tl.static_range(F - 1):
            # a row is followed by the next one, and the last row by the next tile
            after = tl.gather(first_lanes(dz[i], M, LANES), (rows + 1) % M, 0)
            after = tl.where(rows == M - 1, beyond[i], after)
            long = long + (next_lanes(dz[i], after[:, None] + tl.zeros((M, LANES), tl.float32), M, LANES),)
        dq = ()
        for i in tl.static_range(8):
            dq = dq + (adjoint_fir_at(long, q_taps, i, F),)
        tl.store(dq_ptr + dx_row + t, join8(dq, T).to(dq_ptr.dtype.element_ty), mask=is_there)
        # reading q again from the cache costs less than holding it across the products
        tl.debug_barrier()
        q = tokens_before(q_row, lane_t, seqlen, True, q_row, T, F, W, False)
        q = q + split8(load_block(q_row + t, t, seqlen, True), T)
        grown = ()
        for i in tl.static_range(F):
            total = sums[i]
            for e in tl.static_range(8):
                total += dz[e] * q[e + W - i]
            grown = grown + (total,)
        sums = grown

    for i in tl.static_range(F):
        tl.store(sums_ptr + tl.program_id(0).to(tl.int64) * F + i, tl.sum(sums[i], 0))


@triton.jit
def _first_of_next_tile(
    k_row, v_row, dy_row, first, seqlen, state, e_near, near, k_taps, v_taps, like, F: tl.constexpr, W: tl.constexpr
):  # fmt: skip
    """Return the gradients of z_q of the ``F - 1`` tokens from ``first`` on, given the state before them."""
    i = tl.arange(0, W)
    t = first + i[:, None]
    zk = load_block(k_row + t, t, seqlen, True) * k_taps[0]
    zv = load_block(v_row + t, t, seqlen, True) * v_taps[0]
    for lag in tl.static_range(1, F):
        zk += load_block(k_row + t - lag, t - lag, seqlen, True) * k_taps[lag]
        zv += load_block(v_row + t - lag, t - lag, seqlen, True) * v_taps[lag]
    filtered = tl.sum(e_near * state, 0) + tl.sum(near * rounded(zk * zv, like), 0)
    dz = filtered * load_block(dy_row + first + i, first + i, seqlen, True)
    each = ()
    for e in tl.static_range(F - 1):
        each = each + (tl.sum(tl.where(i == e, dz, 0.0), 0),)
    return each
