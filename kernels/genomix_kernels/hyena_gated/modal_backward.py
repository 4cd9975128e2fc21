"""Gated modal filters on tensor cores, backward.

With the gradient F of the filtered signal and the gradient A of the state after a chunk (see `modal_tiles` for the rest):

    dM = F T^T + A V^T,   A_before = exp(a C) A + R P,   P = F E',   E'[i, n] = exp(a_n (i + 1)),
    dR_n = sum_l g_l exp(a_n l) + sum S P,   g_l = the diagonal sums of sum M^T F over all chunks,
    da_n = sum_l g_l R_n l exp(a_n l) + sum R S Q + A (C exp(a C) S + X'),

where Q and X' are P and X with each weight multiplied by its lag. Tiles are walked backwards; the state before each of
them was saved by the forward pass (64 bytes for 16 modes and thousands of tokens).
"""

import triton
import triton.language as tl

from genomix_kernels.hyena_gated.modal_tiles import (
    gradients_after_rows,
    in_two,
    modes_of,
    plus_states,
    states_before_rows,
    times,
    toeplitz,
)
from genomix_kernels.triton_tiles import (
    adjoint_fir_at,
    diagonal_sums,
    fir_at,
    first_lanes,
    gated_inputs,
    high_part,
    join8,
    last_lanes,
    load_block,
    load_taps,
    next_lanes,
    split8,
    tokens_before,
)


@triton.jit
def modal_backward_kernel(
    q_ptr, k_ptr, v_ptr, dy_ptr, dq_ptr, dk_ptr, dv_ptr, featurizer_ptr, a_ptr, r_ptr, skip_ptr, saved_ptr, end_ptr,
    dstart_ptr, da_ptr, dr_ptr, sums_ptr,
    channels, seqlen, n_splits, n_tiles,
    q_batch, q_channel, k_batch, k_channel, v_batch, v_channel, dy_batch, dy_channel,
    dq_batch, dq_channel, dk_batch, dk_channel, dv_batch, dv_channel, row_stream, row_channel,
    F: tl.constexpr, W: tl.constexpr, N_MODES: tl.constexpr, N: tl.constexpr, IS_FEATURIZER_REVERSED: tl.constexpr,
    HAS_FEATURIZER: tl.constexpr, HAS_Q: tl.constexpr, HAS_V: tl.constexpr, HAS_SKIP: tl.constexpr,
    HAS_END: tl.constexpr, RELOADS: tl.constexpr, IS_SPLIT: tl.constexpr, IS_BF16: tl.constexpr, M: tl.constexpr,
    C: tl.constexpr, NS: tl.constexpr, PRECISION: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """Write the gradients of one channel's streams, and its split's part of those of poles, residues, skip, featurizer.

    ``sums``: skip, then F of each stream's featurizer. Grid: batch x channels x splits.
    """
    T: tl.constexpr = M * C // 8
    TILE: tl.constexpr = M * NS * C
    row = tl.program_id(0) // n_splits
    split = tl.program_id(0) % n_splits
    b = row // channels
    d = row % channels
    q_row = q_ptr + b.to(tl.int64) * q_batch + d.to(tl.int64) * q_channel
    k_row = k_ptr + b.to(tl.int64) * k_batch + d.to(tl.int64) * k_channel
    v_row = v_ptr + b.to(tl.int64) * v_batch + d.to(tl.int64) * v_channel
    dy_row = dy_ptr + b.to(tl.int64) * dy_batch + d.to(tl.int64) * dy_channel
    dq_row = dq_ptr + b.to(tl.int64) * dq_batch + d.to(tl.int64) * dq_channel
    dk_row = dk_ptr + b.to(tl.int64) * dk_batch + d.to(tl.int64) * dk_channel
    dv_row = dv_ptr + b.to(tl.int64) * dv_batch + d.to(tl.int64) * dv_channel
    stream_row = d * row_channel
    k_taps = ()
    v_taps = ()
    if HAS_FEATURIZER:
        q_taps = load_taps(featurizer_ptr + stream_row * F, F, IS_FEATURIZER_REVERSED, True)
        k_taps = load_taps(featurizer_ptr + (stream_row + row_stream) * F, F, IS_FEATURIZER_REVERSED, True)
        v_taps = load_taps(featurizer_ptr + (stream_row + 2 * row_stream) * F, F, IS_FEATURIZER_REVERSED, True)
    skip = 0.0
    if HAS_SKIP:
        skip = tl.load(skip_ptr + d).to(tl.float32)

    n = tl.arange(0, N)
    is_mode = n < N_MODES
    a, r, a_column, r_column = modes_of(a_ptr, r_ptr, d, N_MODES, N)
    back_high, back_low = in_two(toeplitz(a, r, skip, C, True), dy_ptr)
    j = tl.arange(0, C).to(tl.float32)
    if HAS_Q:
        t_high, t_low = in_two(toeplitz(a, r, skip, C, False), dy_ptr)
        e_table = r_column * tl.exp(a_column * (j + 1)[None, :])
        e_high, e_low = in_two(e_table, dy_ptr)
    v_table = tl.exp(a[None, :] * (C - 1 - j)[:, None])
    v_high, v_low = in_two(v_table, dy_ptr)
    v_lag = high_part((C - 1 - j)[:, None] * v_table, dy_ptr)
    v_rows = tl.exp(a_column * (C - 1 - j)[None, :])
    v_rows_high, v_rows_low = in_two(v_rows, dy_ptr)
    p_table = tl.exp(a[None, :] * (j + 1)[:, None])
    p_high, p_low = in_two(p_table, dy_ptr)
    p_lag = high_part((j + 1)[:, None] * p_table, dy_ptr)
    rows = tl.arange(0, M).to(tl.float32)[:, None]
    decay = tl.exp(a * C)
    row_decay = tl.exp(a * (NS * C))
    from_start = tl.exp(a[None, :] * (NS * C * rows))
    whole = tl.exp(a * TILE)
    later = tl.zeros((N,), tl.float32)
    if HAS_END:
        place = (row * n_splits + split).to(tl.int64) * N_MODES
        later = tl.load(end_ptr + place + n, mask=is_mode, other=0.0)
    da = tl.zeros((M, N), tl.float32)
    dr = tl.zeros((M, N), tl.float32)
    g = tl.zeros((C, C), tl.float32)
    zero = tl.zeros((T,), tl.float32)
    next_q = ()
    next_k = ()
    next_v = ()
    of_q = ()
    of_k = ()
    of_v = ()
    for _ in tl.static_range(F - 1):
        next_q = next_q + (tl.zeros((M,), tl.float32),)
        next_k = next_k + (tl.zeros((M,), tl.float32),)
        next_v = next_v + (tl.zeros((M,), tl.float32),)
    for _ in tl.static_range(F):
        of_q = of_q + (zero,)
        of_k = of_k + (zero,)
        of_v = of_v + (zero,)

    all_tiles = tl.cdiv(seqlen, TILE)
    place = tl.arange(0, M * C)
    within = place // C * (NS * C) + place % C
    lane_within = tl.arange(0, T) // (C // 8) * (NS * C) + tl.arange(0, T) % (C // 8) * 8
    for back in tl.range(0, n_tiles, num_stages=STAGES):
        tile_index = split * n_tiles + n_tiles - 1 - back
        tiles = ()
        grads = ()
        added = ()
        pulled = ()
        for s in tl.static_range(NS):
            t = tile_index * TILE + s * C + within
            lane_t = tile_index * TILE + s * C + lane_within
            of_matrix = tile_index * TILE + s * C + tl.arange(0, M)[:, None] * (NS * C) + tl.arange(0, C)[None, :]
            if HAS_Q:
                dy = split8(load_block(dy_row + t, t, seqlen, True), T)
                q = split8(load_block(q_row + t, t, seqlen, True), T)
                if HAS_FEATURIZER:
                    q = tokens_before(q_row, lane_t, seqlen, True, q_row, T, F, W, False) + q
                df = ()
                for i in tl.static_range(8):
                    if HAS_FEATURIZER:
                        df = df + (dy[i] * fir_at(q, q_taps, i + W, F),)
                    else:
                        df = df + (dy[i] * q[i],)
                grad = tl.reshape(join8(df, T).to(dy_ptr.dtype.element_ty), (M, C))
            else:
                grad = tl.load(dy_row + of_matrix, mask=of_matrix < seqlen, other=0.0)
            grads = grads + (grad,)
            if HAS_V:
                _zk, _zv, m, _k, _v = gated_inputs(
                    k_row, v_row, t, k_row, v_row, lane_t, seqlen, True, True, k_taps, v_taps, dy_ptr,
                    F, W, T, HAS_FEATURIZER, HAS_V,
                )
                tile = tl.reshape(join8(m, T).to(dy_ptr.dtype.element_ty), (M, C))
            else:
                tile = tl.load(k_row + of_matrix, mask=of_matrix < seqlen, other=0.0)
            tiles = tiles + (tile,)
        for s in tl.static_range(NS):
            added = added + (times(tiles[s], v_high, v_low, IS_SPLIT, PRECISION),)
            pulled = pulled + (times(grads[s], p_high, p_low, IS_SPLIT, PRECISION),)
        total = added[0]
        for s in tl.static_range(1, NS):
            total = decay[None, :] * total + added[s]
        back_total = pulled[NS - 1]
        for e in tl.static_range(1, NS):
            back_total = decay[None, :] * back_total + pulled[NS - 1 - e]
        back_total = r[None, :] * back_total
        place_saved = (row * all_tiles + tile_index).to(tl.int64) * N_MODES
        is_saved = is_mode & (tile_index + tl.zeros_like(n) < all_tiles)
        state = tl.load(saved_ptr + place_saved + n, mask=is_saved, other=0.0)
        row_states = states_before_rows(total, row_decay, state, M, N)
        afters = gradients_after_rows(back_total, row_decay, later, M, N)
        later = whole * later + tl.sum(from_start * back_total, 0)
        states = (row_states,)
        for s in tl.static_range(1, NS):
            states = states + (decay[None, :] * states[s - 1] + added[s - 1],)

        for s in tl.static_range(NS - 1, -1, -1):
            t = tile_index * TILE + s * C + within
            lane_t = tile_index * TILE + s * C + lane_within
            is_there = t < seqlen
            dr += states[s] * pulled[s]
            lagged = tl.dot(grads[s], p_lag, input_precision=PRECISION)
            moved = C * decay[None, :] * states[s] + tl.dot(tiles[s], v_lag, input_precision=PRECISION)
            da += r[None, :] * states[s] * lagged + afters * moved
            g = tl.dot(tl.trans(tiles[s]), grads[s], g, input_precision=PRECISION)
            if HAS_Q:
                y = times(tiles[s], t_high, t_low, IS_SPLIT, PRECISION)
                y = plus_states(y, states[s], e_table, e_high, e_low, IS_BF16, "tf32" if IS_SPLIT else PRECISION)
                filtered = split8(tl.reshape(y, (M * C,)), T)
                if RELOADS:
                    tl.debug_barrier()
                dy = split8(load_block(dy_row + t, t, seqlen, True), T)
                dq = ()
                for i in tl.static_range(8):
                    dq = dq + (dy[i] * filtered[i],)
                if HAS_FEATURIZER:
                    q = tokens_before(q_row, lane_t, seqlen, True, q_row, T, F, W, False)
                    q = q + split8(load_block(q_row + t, t, seqlen, True), T)
                    if s == NS - 1:
                        dq, following_q, of_q = _through_featurizer(dq, (), of_q, q, q_taps, F, W, M, T)
                        end_q = _at_row_ends(dq, F, M, T // M)
                    else:
                        dq, following_q, of_q = _through_featurizer(dq, following_q, of_q, q, q_taps, F, W, M, T)
                tl.store(dq_row + t, join8(dq, T).to(dq_ptr.dtype.element_ty), mask=is_there)

            dm_tile = times(grads[s], back_high, back_low, IS_SPLIT, PRECISION)
            dm_tile = plus_states(
                dm_tile, afters, v_rows, v_rows_high, v_rows_low, IS_BF16, "tf32" if IS_SPLIT else PRECISION
            )
            if s > 0:
                afters = decay[None, :] * afters + r[None, :] * pulled[s]
            if HAS_V:
                dm = split8(tl.reshape(dm_tile, (M * C,)), T)
                if RELOADS:
                    tl.debug_barrier()
                zk, zv, _m, k, v = gated_inputs(
                    k_row, v_row, t, k_row, v_row, lane_t, seqlen, True, True, k_taps, v_taps, dy_ptr,
                    F, W, T, HAS_FEATURIZER, HAS_V,
                )
                dk = ()
                dv = ()
                for i in tl.static_range(8):
                    dk = dk + (dm[i] * zv[i],)
                    dv = dv + (dm[i] * zk[i],)
                if HAS_FEATURIZER:
                    if s == NS - 1:
                        dk, following_k, of_k = _through_featurizer(dk, (), of_k, k, k_taps, F, W, M, T)
                        dv, following_v, of_v = _through_featurizer(dv, (), of_v, v, v_taps, F, W, M, T)
                        end_k = _at_row_ends(dk, F, M, T // M)
                        end_v = _at_row_ends(dv, F, M, T // M)
                    else:
                        dk, following_k, of_k = _through_featurizer(dk, following_k, of_k, k, k_taps, F, W, M, T)
                        dv, following_v, of_v = _through_featurizer(dv, following_v, of_v, v, v_taps, F, W, M, T)
                tl.store(dk_row + t, join8(dk, T).to(dk_ptr.dtype.element_ty), mask=is_there)
                tl.store(dv_row + t, join8(dv, T).to(dv_ptr.dtype.element_ty), mask=is_there)
            else:
                of_matrix = tile_index * TILE + s * C + tl.arange(0, M)[:, None] * (NS * C) + tl.arange(0, C)[None, :]
                tl.store(dk_row + of_matrix, dm_tile.to(dk_ptr.dtype.element_ty), mask=of_matrix < seqlen)

        if HAS_FEATURIZER:  # the last tokens of each row hear from the first of the next one only now
            tl.debug_barrier()
            row_end = tile_index * TILE + (tl.arange(0, M) + 1) * (NS * C) - 1
            next_q = _finish_rows(dq_row, row_end, seqlen, end_q, following_q, next_q, q_taps, F, M, T // M, dq_ptr)
            next_k = _finish_rows(dk_row, row_end, seqlen, end_k, following_k, next_k, k_taps, F, M, T // M, dk_ptr)
            next_v = _finish_rows(dv_row, row_end, seqlen, end_v, following_v, next_v, v_taps, F, M, T // M, dv_ptr)

    of_lag, _ = diagonal_sums(g, C)
    lag = tl.arange(0, C).to(tl.float32)[:, None]
    reach = of_lag[:, None] * tl.exp(a[None, :] * lag)
    program = tl.program_id(0).to(tl.int64)
    total_a = tl.sum(da, 0) + r * tl.sum(lag * reach, 0)
    total_r = tl.sum(dr, 0) + tl.sum(reach, 0)
    tl.store(da_ptr + program * N_MODES + n, total_a, mask=is_mode)
    tl.store(dr_ptr + program * N_MODES + n, total_r, mask=is_mode)
    tl.store(dstart_ptr + program * N_MODES + n, later, mask=is_mode)
    N_SUMS: tl.constexpr = 1 + 3 * F
    tl.store(sums_ptr + program * N_SUMS, tl.sum(tl.where(tl.arange(0, C) == 0, of_lag, 0.0), 0))
    for i in tl.static_range(F):
        tl.store(sums_ptr + program * N_SUMS + 1 + i, tl.sum(of_q[i], 0))
        tl.store(sums_ptr + program * N_SUMS + 1 + F + i, tl.sum(of_k[i], 0))
        tl.store(sums_ptr + program * N_SUMS + 1 + 2 * F + i, tl.sum(of_v[i], 0))


@triton.jit
def _through_featurizer(
    dz, following, sums, x, taps, F: tl.constexpr, W: tl.constexpr, M: tl.constexpr, T: tl.constexpr
):  # fmt: skip
    """Return the gradient of a featurizer's input, ``dz`` itself for the chunk before, and the sums for its taps.

    ``following``: the same of the next chunk of the rows; empty for the last chunk, whose end then lacks what comes
    after it.
    """
    zero = tl.zeros((T,), tl.float32)
    long = dz
    for i in tl.static_range(F - 1):
        if len(following) == 0:
            long = long + (next_lanes(dz[i], zero, M, T // M),)
        else:
            long = long + (next_lanes(dz[i], following[i], M, T // M),)
    dx = ()
    for i in tl.static_range(8):
        dx = dx + (adjoint_fir_at(long, taps, i, F),)
    grown = ()
    first = ()
    for i in tl.static_range(F):
        total = sums[i]
        for e in tl.static_range(8):
            total += dz[e] * x[e + W - i]
        grown = grown + (total,)
    for i in tl.static_range(F - 1):
        first = first + (dz[i],)
    return dx, first, grown


@triton.jit
def _at_row_ends(dx, F: tl.constexpr, M: tl.constexpr, LANES: tl.constexpr):
    """Return the last F - 1 tokens of each row, the last one first."""
    ends = ()
    for e in tl.static_range(F - 1):
        ends = ends + (last_lanes(dx[7 - e], M, LANES),)
    return ends


@triton.jit
def _finish_rows(
    dx_row, row_end, seqlen, ends, firsts, next_first, taps, F: tl.constexpr, M: tl.constexpr, LANES: tl.constexpr, like
):  # fmt: skip
    """Write the last F - 1 tokens of each row again, with what the first of the next row adds to them.

    Returns the first tokens' gradients of this tile, for the tile before.
    """
    r = tl.arange(0, M)
    own_first = ()
    after = ()
    for i in tl.static_range(F - 1):
        own = first_lanes(firsts[i], M, LANES)
        own_first = own_first + (own,)
        after = after + (tl.gather(tl.where(r == 0, next_first[i], own), (r + 1) % M, 0),)
    for e in tl.static_range(F - 1):
        dx = ends[e]
        for i in tl.static_range(e + 1, F):
            dx += taps[i] * after[i - e - 1]
        tl.store(dx_row + row_end - e, dx.to(like.dtype.element_ty), mask=row_end - e < seqlen)
    return own_first
