"""Gated modal filters on tensor cores: ``y = q (h * m + skip m)``, ``m = k v``, ``h[t] = sum_n R_n exp(a_n t)``.

A tile of ``M C`` neighbouring tokens of one channel is the matrix ``[M chunks x C]``. With the state ``S_c`` before chunk c

    Y = M T + S E,   T[j, i] = h[i - j],   E[n, i] = R_n exp(a_n (i + 1)),
    S_{c+1} = exp(a C) S_c + X_c,   X = M V,   V[j, n] = exp(a_n (C - 1 - j)):

a scan over the M rows of X, tile after tile, in fp32. In 16 bits T and V are two terms each, high and low, which makes
their error that of 16 bits of mantissa; states and E are multiplied in tf32.

Backward, with the gradient F of the filtered signal and the gradient ``A_c`` of the state after chunk c:

    dM = F T^T + A V^T,   A_{c-1} = exp(a C) A_c + R P_c,   P = F E',   E'[i, n] = exp(a_n (i + 1)),
    dR_n = sum_l g_l exp(a_n l) + sum_c S_c P_c,   g_l = the diagonal sums of M^T F,
    da_n = sum_l g_l R_n l exp(a_n l) + sum_c R S_c Q_c + A_c (C exp(a C) S_c + X'_c),

where Q and X' are P and X with each weight multiplied by its lag. Tiles are walked backwards; the state before each of
them was saved by the forward pass (64 bytes for 16 modes and 4096 tokens).
"""

import triton
import triton.language as tl

from genomix_kernels.triton_tiles import (
    adjoint_fir_at,
    diagonal_sums,
    fir_at,
    first_lanes,
    gated_inputs,
    high_part,
    join8,
    load_block,
    load_taps,
    low_part,
    next_lanes_in_order,
    rounded,
    split8,
    window_before,
)


@triton.jit
def _then(decay, x, next_decay, next_x):
    return decay * next_decay, next_decay * x + next_x


@triton.jit
def _states_before(x, decay, at_chunk, start, M: tl.constexpr, N: tl.constexpr):
    """Return the state before each chunk, given what each chunk adds and the state before the first."""
    _, after = tl.associative_scan((tl.zeros((M, N), tl.float32) + decay[None, :], x), 0, _then)
    c = tl.arange(0, M)[:, None] + tl.zeros((1, N), tl.int32)
    before = tl.gather(after, tl.maximum(c - 1, 0), 0)
    return tl.where(c == 0, 0.0, before) + at_chunk * start[None, :]


@triton.jit
def _gradients_after(x, decay, from_end, end, M: tl.constexpr, N: tl.constexpr):
    """Return the gradient of the state after each chunk, given what each chunk adds and that after the last."""
    _, upto = tl.associative_scan((tl.zeros((M, N), tl.float32) + decay[None, :], x), 0, _then, reverse=True)
    c = tl.arange(0, M)[:, None] + tl.zeros((1, N), tl.int32)
    later = tl.gather(upto, tl.minimum(c + 1, M - 1), 0)
    return tl.where(c == M - 1, 0.0, later) + from_end * end[None, :]


@triton.jit
def _toeplitz(a, r, skip, C: tl.constexpr, TRANSPOSED: tl.constexpr):
    """Return ``T[j, i] = h[i - j]`` in fp32 with ``skip`` added to ``h[0]``, or its transpose.

    Each ``h`` is summed once and then looked up.
    """
    lags = tl.arange(0, C)
    h = tl.sum(r[None, :] * tl.exp(a[None, :] * lags.to(tl.float32)[:, None]), 1)
    h += tl.where(lags == 0, skip, 0.0)
    place = tl.arange(0, C * C)
    lag = place // C - place % C if TRANSPOSED else place % C - place // C
    values = tl.where(lag >= 0, tl.gather(h, tl.maximum(lag, 0), 0), 0.0)
    return tl.reshape(values, (C, C))


@triton.jit
def _times(tile, high, low, IS_SPLIT: tl.constexpr, PRECISION: tl.constexpr):
    """Return a tile of inputs times a table given as its high and low part."""
    y = tl.dot(tile, high, input_precision=PRECISION)
    if IS_SPLIT:
        y = tl.dot(tile, low, y)
    return y


@triton.jit
def modal_forward_kernel(
    q_ptr, k_ptr, v_ptr, y_ptr, featurizer_ptr, a_ptr, r_ptr, skip_ptr, tail_ptr, start_ptr, final_ptr, saved_ptr,
    channels, seqlen, n_splits, n_tiles,
    q_batch, q_channel, k_batch, k_channel, v_batch, v_channel, row_stream, row_channel,
    F: tl.constexpr, N_MODES: tl.constexpr, N: tl.constexpr, IS_FEATURIZER_REVERSED: tl.constexpr,
    HAS_FEATURIZER: tl.constexpr, HAS_Q: tl.constexpr, HAS_V: tl.constexpr, HAS_SKIP: tl.constexpr,
    HAS_TAIL: tl.constexpr, HAS_START: tl.constexpr, HAS_FINAL: tl.constexpr, IS_WHOLE: tl.constexpr,
    HAS_SAVED: tl.constexpr, ROUNDS: tl.constexpr, IS_SPLIT: tl.constexpr, M: tl.constexpr, C: tl.constexpr, PRECISION: tl.constexpr,
    STAGES: tl.constexpr,
):  # fmt: skip
    """Write ``n_tiles`` tiles of one channel, and the state after the last token. Grid: (batch x channels x splits)."""
    T: tl.constexpr = M * C // 8
    row = tl.program_id(0) // n_splits
    split = tl.program_id(0) % n_splits
    b = row // channels
    d = row % channels
    q_row = q_ptr + b.to(tl.int64) * q_batch + d.to(tl.int64) * q_channel
    k_row = k_ptr + b.to(tl.int64) * k_batch + d.to(tl.int64) * k_channel
    v_row = v_ptr + b.to(tl.int64) * v_batch + d.to(tl.int64) * v_channel
    y_row = y_ptr + row.to(tl.int64) * seqlen
    stream_row = d * row_channel
    tails = tail_ptr + (b * 3 * channels + stream_row).to(tl.int64) * (F - 1)
    stream = row_stream * (F - 1)
    if HAS_FEATURIZER:
        q_taps = load_taps(featurizer_ptr + stream_row * F, F, IS_FEATURIZER_REVERSED, True)
        k_taps = load_taps(featurizer_ptr + (stream_row + row_stream) * F, F, IS_FEATURIZER_REVERSED, True)
        v_taps = load_taps(featurizer_ptr + (stream_row + 2 * row_stream) * F, F, IS_FEATURIZER_REVERSED, True)
    skip = 0.0
    if HAS_SKIP:
        skip = tl.load(skip_ptr + d).to(tl.float32)

    n = tl.arange(0, N)
    is_mode = n < N_MODES
    a = tl.load(a_ptr + d * N_MODES + n, mask=is_mode, other=-1.0)
    r = tl.load(r_ptr + d * N_MODES + n, mask=is_mode, other=0.0)
    a_rows = tl.load(a_ptr + d * N_MODES + n[:, None], mask=is_mode[:, None], other=-1.0)
    r_rows = tl.load(r_ptr + d * N_MODES + n[:, None], mask=is_mode[:, None], other=0.0)
    # a skip term of its own is needed only where the filtered part is rounded first
    t_table = _toeplitz(a, r, 0.0 if ROUNDS else skip, C, False)
    t_high = high_part(t_table, y_ptr)
    t_low = low_part(t_table, y_ptr)
    j = tl.arange(0, C).to(tl.float32)
    v_table = tl.exp(a[None, :] * (C - 1 - j)[:, None])
    v_high = high_part(v_table, y_ptr)
    v_low = low_part(v_table, y_ptr)
    e_table = r_rows * tl.exp(a_rows * (j + 1)[None, :])
    c = tl.arange(0, M).to(tl.float32)[:, None]
    decay = tl.exp(a * C)
    at_chunk = tl.exp(a[None, :] * (C * c))
    to_end = tl.exp(a[None, :] * (C * (M - 1 - c)))
    whole = tl.exp(a * (C * M))
    state = tl.zeros((N,), tl.float32)
    if HAS_START:
        place = (row * n_splits + split).to(tl.int64) * N_MODES
        state = tl.load(start_ptr + place + n, mask=is_mode, other=0.0)

    all_tiles = tl.cdiv(seqlen, M * C)
    for index in tl.range(0, n_tiles, num_stages=STAGES):
        tile_index = split * n_tiles + index
        t = tile_index * (M * C) + tl.arange(0, M * C)
        k = split8(load_block(k_row + t, t, seqlen, True), T)
        if HAS_V:
            v = split8(load_block(v_row + t, t, seqlen, True), T)
            if HAS_FEATURIZER:
                k = window_before(k_row, t, seqlen, True, T, tails + stream, F, HAS_TAIL) + k
                v = window_before(v_row, t, seqlen, True, T, tails + 2 * stream, F, HAS_TAIL) + v
            m = ()
            for i in tl.static_range(8):
                if HAS_FEATURIZER:
                    m = m + (rounded(fir_at(k, k_taps, i + 8, F) * fir_at(v, v_taps, i + 8, F), y_ptr),)
                else:
                    m = m + (rounded(k[i] * v[i], y_ptr),)
        else:
            m = k
        tile = tl.reshape(join8(m, T), (M, C)).to(y_ptr.dtype.element_ty)
        x = _times(tile, v_high, v_low, IS_SPLIT, PRECISION)
        states = _states_before(x, decay, at_chunk, state, M, N)
        if HAS_SAVED:
            place = (row * all_tiles + tile_index).to(tl.int64) * N_MODES
            tl.store(saved_ptr + place + n, state, mask=is_mode & (tile_index + tl.zeros_like(n) < all_tiles))
        state = whole * state + tl.sum(to_end * x, 0)
        y = _times(tile, t_high, t_low, IS_SPLIT, PRECISION)
        y = tl.dot(states, e_table, y, input_precision="tf32" if IS_SPLIT else PRECISION)

        if HAS_FINAL and not IS_WHOLE:
            if tile_index == all_tiles - 1:  # the last token may stand anywhere in a chunk
                remaining = seqlen - tile_index * (M * C)
                last_chunk = (remaining - 1) // C
                within = (remaining - last_chunk * C).to(tl.float32)
                since = within - 1 - j
                weights = tl.exp(a[None, :] * tl.maximum(since, 0.0)[:, None])
                weights = tl.where(since[:, None] >= 0, weights, 0.0)
                high = high_part(weights, y_ptr)
                added = _times(tile, high, low_part(weights, y_ptr), IS_SPLIT, PRECISION)
                there = tl.exp(a * within)[None, :] * states + added
                final = tl.sum(tl.where(tl.arange(0, M)[:, None] == last_chunk, there, 0.0), 0)
                tl.store(final_ptr + row.to(tl.int64) * N_MODES + n, final, mask=is_mode)

        filtered = split8(tl.reshape(y, (M * C,)), T)
        if HAS_Q:
            q = split8(load_block(q_row + t, t, seqlen, True), T)
            if HAS_FEATURIZER:
                q = window_before(q_row, t, seqlen, True, T, tails, F, HAS_TAIL) + q
        outputs = ()
        for i in tl.static_range(8):
            out = filtered[i]
            if ROUNDS:
                out = rounded(out, y_ptr) + skip * m[i]
            if HAS_FEATURIZER:
                out *= fir_at(q, q_taps, i + 8, F)
            elif HAS_Q:
                out *= q[i]
            outputs = outputs + (out,)
        tl.store(y_row + t, join8(outputs, T).to(y_ptr.dtype.element_ty), mask=t < seqlen)

    if HAS_FINAL and IS_WHOLE:
        is_last = is_mode & (split + tl.zeros_like(n) == n_splits - 1)
        tl.store(final_ptr + row.to(tl.int64) * N_MODES + n, state, mask=is_last)


@triton.jit
def _through_featurizer(dz, next_dz, sums, x, taps, F: tl.constexpr, M: tl.constexpr, T: tl.constexpr):
    """Return the gradient of a featurizer's input, what the tile before needs of it, and the sums for its taps."""
    long = dz
    first = ()
    for i in tl.static_range(F - 1):
        first = first + (first_lanes(dz[i], M, T // M),)
        long = long + (next_lanes_in_order(dz[i], first[i], next_dz[i], M, T // M),)
    dx = ()
    for i in tl.static_range(8):
        dx = dx + (adjoint_fir_at(long, taps, i, F),)
    grown = ()
    for i in tl.static_range(F):
        total = sums[i]
        for e in tl.static_range(8):
            total += dz[e] * x[e + 8 - i]
        grown = grown + (total,)
    return dx, first, grown


@triton.jit
def modal_backward_kernel(
    q_ptr, k_ptr, v_ptr, dy_ptr, dq_ptr, dk_ptr, dv_ptr, featurizer_ptr, a_ptr, r_ptr, skip_ptr, saved_ptr, end_ptr,
    dstart_ptr, da_ptr, dr_ptr, sums_ptr,
    channels, seqlen, n_splits, n_tiles,
    q_batch, q_channel, k_batch, k_channel, v_batch, v_channel, dy_batch, dy_channel,
    dq_batch, dq_channel, dk_batch, dk_channel, dv_batch, dv_channel, row_stream, row_channel,
    F: tl.constexpr, N_MODES: tl.constexpr, N: tl.constexpr, IS_FEATURIZER_REVERSED: tl.constexpr,
    HAS_FEATURIZER: tl.constexpr, HAS_Q: tl.constexpr, HAS_V: tl.constexpr, HAS_SKIP: tl.constexpr,
    HAS_END: tl.constexpr, RELOADS: tl.constexpr, IS_SPLIT: tl.constexpr, M: tl.constexpr, C: tl.constexpr,
    PRECISION: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """Write the gradients of one channel's streams, and its split's part of those of poles, residues, skip, featurizer.

    ``sums``: skip, then F of each stream's featurizer. Grid: (batch x channels x splits).
    """
    T: tl.constexpr = M * C // 8
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
    a = tl.load(a_ptr + d * N_MODES + n, mask=is_mode, other=-1.0)
    r = tl.load(r_ptr + d * N_MODES + n, mask=is_mode, other=0.0)
    a_rows = tl.load(a_ptr + d * N_MODES + n[:, None], mask=is_mode[:, None], other=-1.0)
    r_rows = tl.load(r_ptr + d * N_MODES + n[:, None], mask=is_mode[:, None], other=0.0)
    back_table = _toeplitz(a, r, skip, C, True)
    back_high = high_part(back_table, dy_ptr)
    back_low = low_part(back_table, dy_ptr)
    if HAS_Q:
        t_table = _toeplitz(a, r, skip, C, False)
        t_high = high_part(t_table, dy_ptr)
        t_low = low_part(t_table, dy_ptr)
        e_table = r_rows * tl.exp(a_rows * (tl.arange(0, C).to(tl.float32) + 1)[None, :])
    j = tl.arange(0, C).to(tl.float32)
    v_table = tl.exp(a[None, :] * (C - 1 - j)[:, None])
    v_high = high_part(v_table, dy_ptr)
    v_low = low_part(v_table, dy_ptr)
    v_lag = high_part((C - 1 - j)[:, None] * v_table, dy_ptr)
    v_rows = tl.exp(a_rows * (C - 1 - j)[None, :])
    p_table = tl.exp(a[None, :] * (j + 1)[:, None])
    p_high = high_part(p_table, dy_ptr)
    p_low = low_part(p_table, dy_ptr)
    p_lag = high_part((j + 1)[:, None] * p_table, dy_ptr)
    c = tl.arange(0, M).to(tl.float32)[:, None]
    decay = tl.exp(a * C)
    at_chunk = tl.exp(a[None, :] * (C * c))
    to_end = tl.exp(a[None, :] * (C * (M - 1 - c)))
    whole = tl.exp(a * (C * M))
    later = tl.zeros((N,), tl.float32)
    if HAS_END:
        place = (row * n_splits + split).to(tl.int64) * N_MODES
        later = tl.load(end_ptr + place + n, mask=is_mode, other=0.0)
    da = tl.zeros((N,), tl.float32)
    dr = tl.zeros((N,), tl.float32)
    g = tl.zeros((C, C), tl.float32)
    zero = tl.zeros((T,), tl.float32)
    next_dzq = ()
    next_dzk = ()
    next_dzv = ()
    of_q = ()
    of_k = ()
    of_v = ()
    for _ in tl.static_range(F - 1):
        next_dzq = next_dzq + (tl.zeros((M,), tl.float32),)
        next_dzk = next_dzk + (tl.zeros((M,), tl.float32),)
        next_dzv = next_dzv + (tl.zeros((M,), tl.float32),)
    for _ in tl.static_range(F):
        of_q = of_q + (zero,)
        of_k = of_k + (zero,)
        of_v = of_v + (zero,)

    all_tiles = tl.cdiv(seqlen, M * C)
    for back in tl.range(0, n_tiles, num_stages=STAGES):
        tile_index = split * n_tiles + n_tiles - 1 - back
        t = tile_index * (M * C) + tl.arange(0, M * C)
        dy = split8(load_block(dy_row + t, t, seqlen, True), T)
        df = dy
        if HAS_FEATURIZER:
            q = split8(load_block(q_row + t - 8, t - 8, seqlen, True), T)
            q = q + split8(load_block(q_row + t, t, seqlen, True), T)
            df = ()
            for i in tl.static_range(8):
                df = df + (dy[i] * fir_at(q, q_taps, i + 8, F),)
        elif HAS_Q:
            q = split8(load_block(q_row + t, t, seqlen, True), T)
            df = ()
            for i in tl.static_range(8):
                df = df + (dy[i] * q[i],)
        grad = tl.reshape(join8(df, T), (M, C)).to(dy_ptr.dtype.element_ty)
        zk, zv, m, k, v = gated_inputs(
            k_row, v_row, t, seqlen, True, k_taps, v_taps, dy_ptr, F, T, HAS_FEATURIZER, HAS_V
        )
        tile = tl.reshape(join8(m, T), (M, C)).to(dy_ptr.dtype.element_ty)

        place = (row * all_tiles + tile_index).to(tl.int64) * N_MODES
        state = tl.load(saved_ptr + place + n, mask=is_mode & (tile_index + tl.zeros_like(n) < all_tiles), other=0.0)
        x = _times(tile, v_high, v_low, IS_SPLIT, PRECISION)
        states = _states_before(x, decay, at_chunk, state, M, N)
        p = _times(grad, p_high, p_low, IS_SPLIT, PRECISION)
        pulls = r[None, :] * p
        afters = _gradients_after(pulls, decay, to_end, later, M, N)
        later = whole * later + tl.sum(at_chunk * pulls, 0)
        dr += tl.sum(states * p, 0)
        lagged = tl.dot(grad, p_lag, input_precision=PRECISION)
        moved = C * decay[None, :] * states + tl.dot(tile, v_lag, input_precision=PRECISION)
        da += tl.sum(r[None, :] * states * lagged + afters * moved, 0)
        g = tl.dot(tl.trans(tile), grad, g, input_precision=PRECISION)

        is_there = t < seqlen
        if HAS_Q:
            y = _times(tile, t_high, t_low, IS_SPLIT, PRECISION)
            y = tl.dot(states, e_table, y, input_precision="tf32" if IS_SPLIT else PRECISION)
            filtered = split8(tl.reshape(y, (M * C,)), T)
            if RELOADS:
                tl.debug_barrier()
                dy = split8(load_block(dy_row + t, t, seqlen, True), T)
            dzq = ()
            for i in tl.static_range(8):
                dzq = dzq + (dy[i] * filtered[i],)
            dq = dzq
            if HAS_FEATURIZER:
                if RELOADS:
                    q = split8(load_block(q_row + t - 8, t - 8, seqlen, True), T)
                    q = q + split8(load_block(q_row + t, t, seqlen, True), T)
                dq, next_dzq, of_q = _through_featurizer(dzq, next_dzq, of_q, q, q_taps, F, M, T)
            tl.store(dq_row + t, join8(dq, T).to(dq_ptr.dtype.element_ty), mask=is_there)

        dm_tile = _times(grad, back_high, back_low, IS_SPLIT, PRECISION)
        dm_tile = tl.dot(afters, v_rows, dm_tile, input_precision="tf32" if IS_SPLIT else PRECISION)
        dm = split8(tl.reshape(dm_tile, (M * C,)), T)
        dk = dm
        if HAS_V:
            if RELOADS:
                tl.debug_barrier()
                zk, zv, _m, k, v = gated_inputs(
                    k_row, v_row, t, seqlen, True, k_taps, v_taps, dy_ptr, F, T, HAS_FEATURIZER, HAS_V
                )
            dk = ()
            dv = ()
            for i in tl.static_range(8):
                dk = dk + (dm[i] * zv[i],)
                dv = dv + (dm[i] * zk[i],)
            if HAS_FEATURIZER:
                dk, next_dzk, of_k = _through_featurizer(dk, next_dzk, of_k, k, k_taps, F, M, T)
                dv, next_dzv, of_v = _through_featurizer(dv, next_dzv, of_v, v, v_taps, F, M, T)
            tl.store(dv_row + t, join8(dv, T).to(dv_ptr.dtype.element_ty), mask=is_there)
        tl.store(dk_row + t, join8(dk, T).to(dk_ptr.dtype.element_ty), mask=is_there)

    of_lag, _ = diagonal_sums(g, C)
    lag = tl.arange(0, C).to(tl.float32)[:, None]
    reach = of_lag[:, None] * tl.exp(a[None, :] * lag)
    dr += tl.sum(reach, 0)
    da += r * tl.sum(lag * reach, 0)
    program = tl.program_id(0).to(tl.int64)
    tl.store(da_ptr + program * N_MODES + n, da, mask=is_mode)
    tl.store(dr_ptr + program * N_MODES + n, dr, mask=is_mode)
    tl.store(dstart_ptr + program * N_MODES + n, later, mask=is_mode)
    N_SUMS: tl.constexpr = 1 + 3 * F
    tl.store(sums_ptr + program * N_SUMS, tl.sum(tl.where(tl.arange(0, C) == 0, of_lag, 0.0), 0))
    for i in tl.static_range(F):
        tl.store(sums_ptr + program * N_SUMS + 1 + i, tl.sum(of_q[i], 0))
        tl.store(sums_ptr + program * N_SUMS + 1 + F + i, tl.sum(of_k[i], 0))
        tl.store(sums_ptr + program * N_SUMS + 1 + 2 * F + i, tl.sum(of_v[i], 0))


@triton.jit
def modal_states_kernel(
    x_ptr, gate_ptr, out_ptr, featurizer_ptr, a_ptr, r_ptr, tail_ptr,
    channels, seqlen, n_splits, n_tiles,
    x_batch, x_channel, gate_batch, gate_channel, row_stream, row_channel, gate_stream,
    F: tl.constexpr, N_MODES: tl.constexpr, N: tl.constexpr, IS_FEATURIZER_REVERSED: tl.constexpr,
    HAS_X_FEATURIZER: tl.constexpr, HAS_GATE_FEATURIZER: tl.constexpr, HAS_GATE: tl.constexpr,
    HAS_TAIL: tl.constexpr, IS_BACKWARD: tl.constexpr, IS_SPLIT: tl.constexpr, M: tl.constexpr, C: tl.constexpr,
    PRECISION: tl.constexpr, STAGES: tl.constexpr, like_ptr,
):  # fmt: skip
    """Write what the tokens of a split add to the state after it, or to the gradient of the state before it."""
    T: tl.constexpr = M * C // 8
    row = tl.program_id(0) // n_splits
    split = tl.program_id(0) % n_splits
    b = row // channels
    d = row % channels
    x_row = x_ptr + b.to(tl.int64) * x_batch + d.to(tl.int64) * x_channel
    gate_row = gate_ptr + b.to(tl.int64) * gate_batch + d.to(tl.int64) * gate_channel
    stream_row = d * row_channel
    tails = tail_ptr + (b * 3 * channels + stream_row).to(tl.int64) * (F - 1)
    if HAS_X_FEATURIZER:
        x_taps = load_taps(featurizer_ptr + (stream_row + row_stream) * F, F, IS_FEATURIZER_REVERSED, True)
    if HAS_GATE_FEATURIZER:
        gate_taps = load_taps(
            featurizer_ptr + (stream_row + gate_stream * row_stream) * F, F, IS_FEATURIZER_REVERSED, True
        )
    n = tl.arange(0, N)
    is_mode = n < N_MODES
    a = tl.load(a_ptr + d * N_MODES + n, mask=is_mode, other=-1.0)
    r = tl.load(r_ptr + d * N_MODES + n, mask=is_mode, other=0.0)
    j = tl.arange(0, C).to(tl.float32)
    c = tl.arange(0, M).to(tl.float32)[:, None]
    if IS_BACKWARD:
        table = tl.exp(a[None, :] * (j + 1)[:, None])
        weights = r[None, :] * tl.exp(a[None, :] * (C * c))
    else:
        table = tl.exp(a[None, :] * (C - 1 - j)[:, None])
        weights = tl.exp(a[None, :] * (C * (M - 1 - c)))
    high = high_part(table, like_ptr)
    low = low_part(table, like_ptr)
    whole = tl.exp(a * (C * M))
    total = tl.zeros((N,), tl.float32)
    for index in tl.range(0, n_tiles, num_stages=STAGES):
        tile_index = split * n_tiles + (n_tiles - 1 - index if IS_BACKWARD else index)
        t = tile_index * (M * C) + tl.arange(0, M * C)
        x = split8(load_block(x_row + t, t, seqlen, True), T)
        if HAS_X_FEATURIZER:
            x = window_before(x_row, t, seqlen, True, T, tails + row_stream * (F - 1), F, HAS_TAIL) + x
        if HAS_GATE:
            gate = split8(load_block(gate_row + t, t, seqlen, True), T)
            if HAS_GATE_FEATURIZER:
                gate_tails = tails + gate_stream * row_stream * (F - 1)
                gate = window_before(gate_row, t, seqlen, True, T, gate_tails, F, HAS_TAIL) + gate
        m = ()
        for i in tl.static_range(8):
            one = x[i]
            if HAS_X_FEATURIZER:
                one = fir_at(x, x_taps, i + 8, F)
            if HAS_GATE_FEATURIZER:
                one = one * fir_at(gate, gate_taps, i + 8, F)
            elif HAS_GATE:
                one = one * gate[i]
            m = m + (one,)
        tile = tl.reshape(join8(m, T), (M, C)).to(like_ptr.dtype.element_ty)
        total = whole * total + tl.sum(weights * _times(tile, high, low, IS_SPLIT, PRECISION), 0)
    tl.store(out_ptr + tl.program_id(0).to(tl.int64) * N_MODES + n, total, mask=is_mode)


@triton.jit
def modal_chain_kernel(
    added_ptr, first_ptr, out_ptr, a_ptr, channels, n_modes, n_splits, length, n_values,
    HAS_FIRST: tl.constexpr, IS_BACKWARD: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Write the state before each split, or the gradient of the state after it, from what each split adds."""
    place = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    is_there = place < n_values
    row = place // n_modes
    n = place % n_modes
    a = tl.load(a_ptr + row % channels * n_modes + n, mask=is_there, other=0.0)
    decay = tl.exp(a * length)
    state = tl.zeros((BLOCK,), tl.float32)
    if HAS_FIRST:
        state = tl.load(first_ptr + place, mask=is_there, other=0.0)
    for index in range(n_splits):
        split = n_splits - 1 - index if IS_BACKWARD else index
        at = (row * n_splits + split).to(tl.int64) * n_modes + n
        tl.store(out_ptr + at, state, mask=is_there)
        state = decay * state + tl.load(added_ptr + at, mask=is_there, other=0.0)
