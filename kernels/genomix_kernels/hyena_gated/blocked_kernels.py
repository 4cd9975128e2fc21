"""Gated filters of medium length on tensor cores: ``y = q (h * m + skip m + bias)``, ``m = k v``.

A row is a stretch of one channel, cut into chunks of C tokens; the R rows of a program share one filter (the channels of
a group, and several stretches of each). With ``T_b[j, i] = h[b C + i - j]`` the chunks of all rows follow
``Y_c = sum_b M_{c-b} T_b``, b up to ``ceil((K - 1) / C)``. The program walks along its stretches and carries the sums
that later chunks have already received, so that each chunk is loaded, featurized, gated and multiplied once.

Backward: ``dM_c = sum_b dF_{c+b} T_b^T`` likewise, walking backwards, and the taps' gradients are the diagonal sums of
``G_b = sum_c M_c^T dF_{c+b}``. The gradient of q needs the filtered signal again, which runs forwards: a second kernel.
"""

import triton
import triton.language as tl

from genomix_kernels.triton_tiles import (
    adjoint_fir_at,
    diagonal_sums,
    fir_at,
    gated_inputs,
    join8,
    load_block,
    load_taps,
    next_lanes,
    rounded,
    split8,
    window_before,
)


@triton.jit
def _toeplitz(
    h_ptr, BLOCK: tl.constexpr, K: tl.constexpr, C: tl.constexpr, IS_REVERSED: tl.constexpr, like, TRANSPOSED: tl.constexpr
):
    """Return ``T[j, i] = h[BLOCK C + i - j]``, 0 where the filter is not, or its transpose."""
    if TRANSPOSED:
        lag = BLOCK * C + tl.arange(0, C)[:, None] - tl.arange(0, C)[None, :]
    else:
        lag = BLOCK * C + tl.arange(0, C)[None, :] - tl.arange(0, C)[:, None]
    at = K - 1 - lag if IS_REVERSED else lag
    return tl.load(h_ptr + at, mask=(lag >= 0) & (lag < K), other=0.0).to(like.dtype.element_ty)


@triton.jit
def _row_of(place, group_size, n_parts, n_tokens, GP: tl.constexpr, S: tl.constexpr):
    """Return batch row, channel, whether there is such a channel, and first token of the row of each place."""
    group = tl.program_id(1) // n_parts
    within = (tl.program_id(1) % n_parts) * GP + place % GP
    is_row = within < group_size
    channel = group * group_size + tl.where(is_row, within, 0)
    start = (tl.program_id(0) * S + place // GP) * n_tokens
    return channel, is_row, start


@triton.jit
def blocked_forward_kernel(
    q_ptr, k_ptr, v_ptr, y_ptr, featurizer_ptr, h_ptr, skip_ptr, bias_ptr, tail_ptr, inner_ptr,
    channels, seqlen, group_size, n_parts, n_chunks,
    q_batch, q_channel, k_batch, k_channel, v_batch, v_channel, row_stream, row_channel,
    F: tl.constexpr, K: tl.constexpr, IS_FEATURIZER_REVERSED: tl.constexpr, IS_REVERSED: tl.constexpr,
    HAS_FEATURIZER: tl.constexpr, HAS_Q: tl.constexpr, HAS_V: tl.constexpr, HAS_SKIP: tl.constexpr,
    HAS_BIAS: tl.constexpr, HAS_STATE: tl.constexpr, NB: tl.constexpr, GP: tl.constexpr, R: tl.constexpr,
    C: tl.constexpr, PRECISION: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """Write ``n_chunks`` chunks of R rows. Grid: (stretches, groups x parts of a group, batch)."""
    S: tl.constexpr = R // GP
    T: tl.constexpr = R * C // 8
    b = tl.program_id(2)
    group = tl.program_id(1) // n_parts
    place = tl.arange(0, R * C)
    d, is_row, start = _row_of(place // C, group_size, n_parts, n_chunks * C, GP, S)
    lane_d, is_lane, lane_start = _row_of(tl.arange(0, T) // (C // 8), group_size, n_parts, n_chunks * C, GP, S)
    column = place % C
    lane_column = tl.arange(0, T) % (C // 8) * 8

    q_row = q_ptr + b.to(tl.int64) * q_batch + d.to(tl.int64) * q_channel
    k_row = k_ptr + b.to(tl.int64) * k_batch + d.to(tl.int64) * k_channel
    v_row = v_ptr + b.to(tl.int64) * v_batch + d.to(tl.int64) * v_channel
    y_row = y_ptr + (b * channels + d).to(tl.int64) * seqlen
    lane_row = lane_d * row_channel
    tails = tail_ptr + (b * 3 * channels + lane_row).to(tl.int64) * (F - 1)
    stream = row_stream * (F - 1)
    if HAS_FEATURIZER:
        q_taps = load_taps(featurizer_ptr + lane_row * F, F, IS_FEATURIZER_REVERSED, is_lane)
        k_taps = load_taps(featurizer_ptr + (lane_row + row_stream) * F, F, IS_FEATURIZER_REVERSED, is_lane)
        v_taps = load_taps(featurizer_ptr + (lane_row + 2 * row_stream) * F, F, IS_FEATURIZER_REVERSED, is_lane)
    if HAS_SKIP:
        skip = tl.load(skip_ptr + lane_d).to(tl.float32)
    if HAS_BIAS:
        bias = tl.load(bias_ptr + lane_d).to(tl.float32)

    h_row = h_ptr + group * K
    t0 = _toeplitz(h_row, 0, K, C, IS_REVERSED, y_ptr, False)
    t1 = _toeplitz(h_row, 1, K, C, IS_REVERSED, y_ptr, False)
    if NB >= 2:
        t2 = _toeplitz(h_row, 2, K, C, IS_REVERSED, y_ptr, False)
    if NB >= 3:
        t3 = _toeplitz(h_row, 3, K, C, IS_REVERSED, y_ptr, False)
    if NB >= 4:
        t4 = _toeplitz(h_row, 4, K, C, IS_REVERSED, y_ptr, False)
    carry1 = tl.zeros((R, C), tl.float32)
    carry2 = tl.zeros((R, C), tl.float32)
    carry3 = tl.zeros((R, C), tl.float32)
    carry4 = tl.zeros((R, C), tl.float32)

    for c in tl.range(-NB, n_chunks, num_stages=STAGES):
        t = start + c * C + column
        lane_t = lane_start + c * C + lane_column
        if HAS_V:
            k = split8(load_block(k_row + t, t, seqlen, is_row), T)
            v = split8(load_block(v_row + t, t, seqlen, is_row), T)
            if HAS_FEATURIZER:
                k = window_before(k_row, t, seqlen, is_row, T, tails + stream, F, HAS_STATE) + k
                v = window_before(v_row, t, seqlen, is_row, T, tails + 2 * stream, F, HAS_STATE) + v
            m = ()
            for j in tl.static_range(8):
                if HAS_FEATURIZER:
                    gated = fir_at(k, k_taps, j + 8, F) * fir_at(v, v_taps, j + 8, F)
                else:
                    gated = k[j] * v[j]
                m = m + (rounded(gated, y_ptr),)
        else:
            m = split8(load_block(k_row + t, t, seqlen, is_row), T)
        if HAS_STATE:
            inner = inner_ptr + (b * channels + lane_d).to(tl.int64) * (K - 1) + (lane_t + K - 1)
            joined = ()
            for j in tl.static_range(8):
                is_past = is_lane & (lane_t + j < 0) & (lane_t + j >= 1 - K)
                past = tl.load(inner + j, mask=is_past, other=0.0).to(tl.float32)
                joined = joined + (tl.where(lane_t + j < 0, past, m[j]),)
            m = joined
        tile = tl.reshape(join8(m, T), (R, C)).to(y_ptr.dtype.element_ty)
        y = tl.dot(tile, t0, carry1, input_precision=PRECISION)
        if NB >= 2:
            carry1 = tl.dot(tile, t1, carry2, input_precision=PRECISION)
        else:
            carry1 = tl.dot(tile, t1, input_precision=PRECISION)
        if NB >= 3:
            carry2 = tl.dot(tile, t2, carry3, input_precision=PRECISION)
        elif NB == 2:
            carry2 = tl.dot(tile, t2, input_precision=PRECISION)
        if NB >= 4:
            carry3 = tl.dot(tile, t3, carry4, input_precision=PRECISION)
            carry4 = tl.dot(tile, t4, input_precision=PRECISION)
        elif NB == 3:
            carry3 = tl.dot(tile, t3, input_precision=PRECISION)

        if HAS_Q or HAS_SKIP or HAS_BIAS:
            filtered = split8(tl.reshape(y, (R * C,)), T)
            if HAS_Q:
                q = split8(load_block(q_row + t, t, seqlen, is_row), T)
                if HAS_FEATURIZER:
                    q = window_before(q_row, t, seqlen, is_row, T, tails, F, HAS_STATE) + q
            outputs = ()
            for j in tl.static_range(8):
                out = filtered[j]
                if HAS_SKIP:
                    out += skip * m[j]
                if HAS_BIAS:
                    out += bias
                if HAS_FEATURIZER:
                    out *= fir_at(q, q_taps, j + 8, F)
                elif HAS_Q:
                    out *= q[j]
                outputs = outputs + (out,)
            flat = join8(outputs, T)
        else:
            flat = tl.reshape(y, (R * C,))
        tl.store(y_row + t, flat.to(y_ptr.dtype.element_ty), mask=is_row & (t < seqlen) & (c >= 0))


@triton.jit
def blocked_backward_q_kernel(
    q_ptr, k_ptr, v_ptr, dy_ptr, dq_ptr, sums_ptr, featurizer_ptr, h_ptr, skip_ptr, bias_ptr,
    channels, seqlen, group_size, n_parts, n_chunks,
    q_batch, q_channel, k_batch, k_channel, v_batch, v_channel, dy_batch, dy_channel, dq_batch, dq_channel,
    row_stream, row_channel,
    F: tl.constexpr, K: tl.constexpr, IS_FEATURIZER_REVERSED: tl.constexpr, IS_REVERSED: tl.constexpr,
    HAS_FEATURIZER: tl.constexpr, HAS_V: tl.constexpr, HAS_SKIP: tl.constexpr, HAS_BIAS: tl.constexpr,
    NB: tl.constexpr, GP: tl.constexpr, R: tl.constexpr, C: tl.constexpr, PRECISION: tl.constexpr,
    STAGES: tl.constexpr,
):  # fmt: skip
    """Write the gradient of q, ``dy (h * m + skip m + bias)`` behind its featurizer; of that filter F sums a row."""
    S: tl.constexpr = R // GP
    LANES: tl.constexpr = C // 8
    T: tl.constexpr = R * LANES
    b = tl.program_id(2)
    group = tl.program_id(1) // n_parts
    place = tl.arange(0, R * C)
    d, is_row, start = _row_of(place // C, group_size, n_parts, n_chunks * C, GP, S)
    lane_d, is_lane, lane_start = _row_of(tl.arange(0, T) // LANES, group_size, n_parts, n_chunks * C, GP, S)
    column = place % C

    q_row = q_ptr + b.to(tl.int64) * q_batch + d.to(tl.int64) * q_channel
    k_row = k_ptr + b.to(tl.int64) * k_batch + d.to(tl.int64) * k_channel
    v_row = v_ptr + b.to(tl.int64) * v_batch + d.to(tl.int64) * v_channel
    dy_row = dy_ptr + b.to(tl.int64) * dy_batch + d.to(tl.int64) * dy_channel
    dq_row = dq_ptr + b.to(tl.int64) * dq_batch + d.to(tl.int64) * dq_channel
    lane_row = lane_d * row_channel
    if HAS_FEATURIZER:
        q_taps = load_taps(featurizer_ptr + lane_row * F, F, IS_FEATURIZER_REVERSED, is_lane)
        k_taps = load_taps(featurizer_ptr + (lane_row + row_stream) * F, F, IS_FEATURIZER_REVERSED, is_lane)
        v_taps = load_taps(featurizer_ptr + (lane_row + 2 * row_stream) * F, F, IS_FEATURIZER_REVERSED, is_lane)
    if HAS_SKIP:
        skip = tl.load(skip_ptr + lane_d).to(tl.float32)
    if HAS_BIAS:
        bias = tl.load(bias_ptr + lane_d).to(tl.float32)
    h_row = h_ptr + group * K
    t0 = _toeplitz(h_row, 0, K, C, IS_REVERSED, dy_ptr, False)
    t1 = _toeplitz(h_row, 1, K, C, IS_REVERSED, dy_ptr, False)
    if NB >= 2:
        t2 = _toeplitz(h_row, 2, K, C, IS_REVERSED, dy_ptr, False)
    if NB >= 3:
        t3 = _toeplitz(h_row, 3, K, C, IS_REVERSED, dy_ptr, False)
    if NB >= 4:
        t4 = _toeplitz(h_row, 4, K, C, IS_REVERSED, dy_ptr, False)
    carry1 = tl.zeros((R, C), tl.float32)
    carry2 = tl.zeros((R, C), tl.float32)
    carry3 = tl.zeros((R, C), tl.float32)
    carry4 = tl.zeros((R, C), tl.float32)
    zero = tl.zeros((T,), tl.float32)
    held = (zero, zero, zero, zero, zero, zero, zero, zero)  # gradients of z_q of the chunk before
    sums = ()
    for _ in tl.static_range(F):
        sums = sums + (zero,)

    # behind a featurizer a chunk's gradient is complete once the first tokens of the next one are known
    LATE: tl.constexpr = 1 if HAS_FEATURIZER else 0
    for c in tl.range(-NB, n_chunks + LATE, num_stages=STAGES):
        t = start + c * C + column
        k = split8(load_block(k_row + t, t, seqlen, is_row), T)
        if HAS_V:
            v = split8(load_block(v_row + t, t, seqlen, is_row), T)
        if HAS_FEATURIZER:
            k = split8(load_block(k_row + t - 8, t - 8, seqlen, is_row), T) + k
            v = split8(load_block(v_row + t - 8, t - 8, seqlen, is_row), T) + v
        m = ()
        for j in tl.static_range(8):
            if HAS_FEATURIZER:
                m = m + (rounded(fir_at(k, k_taps, j + 8, F) * fir_at(v, v_taps, j + 8, F), dy_ptr),)
            elif HAS_V:
                m = m + (rounded(k[j] * v[j], dy_ptr),)
            else:
                m = m + (k[j],)
        tile = tl.reshape(join8(m, T), (R, C)).to(dy_ptr.dtype.element_ty)
        y = tl.dot(tile, t0, carry1, input_precision=PRECISION)
        if NB >= 2:
            carry1 = tl.dot(tile, t1, carry2, input_precision=PRECISION)
        else:
            carry1 = tl.dot(tile, t1, input_precision=PRECISION)
        if NB >= 3:
            carry2 = tl.dot(tile, t2, carry3, input_precision=PRECISION)
        elif NB == 2:
            carry2 = tl.dot(tile, t2, input_precision=PRECISION)
        if NB >= 4:
            carry3 = tl.dot(tile, t3, carry4, input_precision=PRECISION)
            carry4 = tl.dot(tile, t4, input_precision=PRECISION)
        elif NB == 3:
            carry3 = tl.dot(tile, t3, input_precision=PRECISION)

        filtered = split8(tl.reshape(y, (R * C,)), T)
        dy = split8(load_block(dy_row + t, t, seqlen, is_row), T)
        dz = ()
        for j in tl.static_range(8):
            out = filtered[j]
            if HAS_SKIP:
                out += skip * m[j]
            if HAS_BIAS:
                out += bias
            dz = dz + (out * dy[j],)
        if HAS_FEATURIZER:
            after = held
            for i in tl.static_range(F - 1):
                after = after + (next_lanes(held[i], dz[i], R, LANES),)
            dq = ()
            for j in tl.static_range(8):
                dq = dq + (adjoint_fir_at(after, q_taps, j, F),)
            is_own = is_row & (t - C < seqlen) & (c >= 1)
            tl.store(dq_row + t - C, join8(dq, T).to(dq_ptr.dtype.element_ty), mask=is_own)
            q = split8(load_block(q_row + t - 8, t - 8, seqlen, is_row), T)
            q = q + split8(load_block(q_row + t, t, seqlen, is_row), T)
            is_counted = (c >= 0) & (c < n_chunks)
            grown = ()
            for i in tl.static_range(F):
                total = dz[0] * q[8 - i]
                for j in tl.static_range(1, 8):
                    total += dz[j] * q[j + 8 - i]
                grown = grown + (sums[i] + tl.where(is_counted, total, 0.0),)
            sums = grown
            held = dz
        else:
            is_own = is_row & (t < seqlen) & (c >= 0)
            tl.store(dq_row + t, join8(dz, T).to(dq_ptr.dtype.element_ty), mask=is_own)

    if HAS_FEATURIZER:
        r = tl.arange(0, R)
        row_d, is_there, _ = _row_of(r, group_size, n_parts, n_chunks * C, GP, S)
        stretch = tl.program_id(0) * S + r // GP
        at = ((b * channels + row_d).to(tl.int64) * (tl.num_programs(0) * S) + stretch) * F
        for i in tl.static_range(F):
            tl.store(sums_ptr + at + i, tl.sum(tl.reshape(sums[i], (R, LANES)), 1), mask=is_there)


@triton.jit
def blocked_backward_kv_kernel(
    q_ptr, k_ptr, v_ptr, dy_ptr, dk_ptr, dv_ptr, sums_ptr, dh_ptr, featurizer_ptr, h_ptr, skip_ptr,
    channels, seqlen, group_size, n_parts, n_chunks,
    q_batch, q_channel, k_batch, k_channel, v_batch, v_channel, dy_batch, dy_channel,
    dk_batch, dk_channel, dv_batch, dv_channel, row_stream, row_channel,
    F: tl.constexpr, K: tl.constexpr, IS_FEATURIZER_REVERSED: tl.constexpr, IS_REVERSED: tl.constexpr,
    HAS_FEATURIZER: tl.constexpr, HAS_Q: tl.constexpr, HAS_V: tl.constexpr, HAS_SKIP: tl.constexpr,
    HAS_SUMS: tl.constexpr, NB: tl.constexpr, GP: tl.constexpr, R: tl.constexpr, C: tl.constexpr,
    PRECISION: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """Write the gradients of k and v, of each row the sums for skip, bias and two featurizers, and of h its lags.

    ``dh`` of a program: for each b the sums over the diagonals ``i - j = l`` and ``l - C`` of ``G_b``.
    """
    S: tl.constexpr = R // GP
    LANES: tl.constexpr = C // 8
    T: tl.constexpr = R * LANES
    b = tl.program_id(2)
    group = tl.program_id(1) // n_parts
    place = tl.arange(0, R * C)
    d, is_row, start = _row_of(place // C, group_size, n_parts, n_chunks * C, GP, S)
    lane_d, is_lane, lane_start = _row_of(tl.arange(0, T) // LANES, group_size, n_parts, n_chunks * C, GP, S)
    column = place % C

    q_row = q_ptr + b.to(tl.int64) * q_batch + d.to(tl.int64) * q_channel
    k_row = k_ptr + b.to(tl.int64) * k_batch + d.to(tl.int64) * k_channel
    v_row = v_ptr + b.to(tl.int64) * v_batch + d.to(tl.int64) * v_channel
    dy_row = dy_ptr + b.to(tl.int64) * dy_batch + d.to(tl.int64) * dy_channel
    dk_row = dk_ptr + b.to(tl.int64) * dk_batch + d.to(tl.int64) * dk_channel
    dv_row = dv_ptr + b.to(tl.int64) * dv_batch + d.to(tl.int64) * dv_channel
    lane_row = lane_d * row_channel
    k_taps = ()
    v_taps = ()
    if HAS_FEATURIZER:
        q_taps = load_taps(featurizer_ptr + lane_row * F, F, IS_FEATURIZER_REVERSED, is_lane)
        k_taps = load_taps(featurizer_ptr + (lane_row + row_stream) * F, F, IS_FEATURIZER_REVERSED, is_lane)
        v_taps = load_taps(featurizer_ptr + (lane_row + 2 * row_stream) * F, F, IS_FEATURIZER_REVERSED, is_lane)
    if HAS_SKIP:
        skip = tl.load(skip_ptr + lane_d).to(tl.float32)
    h_row = h_ptr + group * K
    t0 = _toeplitz(h_row, 0, K, C, IS_REVERSED, dy_ptr, True)
    t1 = _toeplitz(h_row, 1, K, C, IS_REVERSED, dy_ptr, True)
    if NB >= 2:
        t2 = _toeplitz(h_row, 2, K, C, IS_REVERSED, dy_ptr, True)
    if NB >= 3:
        t3 = _toeplitz(h_row, 3, K, C, IS_REVERSED, dy_ptr, True)
    if NB >= 4:
        t4 = _toeplitz(h_row, 4, K, C, IS_REVERSED, dy_ptr, True)
    carry1 = tl.zeros((R, C), tl.float32)
    carry2 = tl.zeros((R, C), tl.float32)
    carry3 = tl.zeros((R, C), tl.float32)
    carry4 = tl.zeros((R, C), tl.float32)
    later1 = tl.zeros((R, C), dy_ptr.dtype.element_ty)  # dF of the chunks after this one
    later2 = tl.zeros((R, C), dy_ptr.dtype.element_ty)
    later3 = tl.zeros((R, C), dy_ptr.dtype.element_ty)
    later4 = tl.zeros((R, C), dy_ptr.dtype.element_ty)
    g0 = tl.zeros((C, C), tl.float32)
    g1 = tl.zeros((C, C), tl.float32)
    g2 = tl.zeros((C, C), tl.float32)
    g3 = tl.zeros((C, C), tl.float32)
    g4 = tl.zeros((C, C), tl.float32)
    zero = tl.zeros((T,), tl.float32)
    N_SUMS: tl.constexpr = 2 + 2 * F
    sums = ()
    for _ in tl.static_range(N_SUMS):
        sums = sums + (zero,)
    next_dzk = ()
    next_dzv = ()
    for _ in tl.static_range(F):
        next_dzk = next_dzk + (zero,)
        next_dzv = next_dzv + (zero,)

    LATE: tl.constexpr = 1 if HAS_FEATURIZER else 0
    for back in tl.range(0, n_chunks + NB + LATE, num_stages=STAGES):
        c = n_chunks + NB + LATE - 1 - back
        t = start + c * C + column
        dy = split8(load_block(dy_row + t, t, seqlen, is_row), T)
        if HAS_Q:
            q = split8(load_block(q_row + t, t, seqlen, is_row), T)
            if HAS_FEATURIZER:
                q = split8(load_block(q_row + t - 8, t - 8, seqlen, is_row), T) + q
            df = ()
            for j in tl.static_range(8):
                if HAS_FEATURIZER:
                    df = df + (dy[j] * fir_at(q, q_taps, j + 8, F),)
                else:
                    df = df + (dy[j] * q[j],)
        else:
            df = dy
        tile = tl.reshape(join8(df, T), (R, C)).to(dy_ptr.dtype.element_ty)
        dm_tile = tl.dot(tile, t0, carry1, input_precision=PRECISION)
        if NB >= 2:
            carry1 = tl.dot(tile, t1, carry2, input_precision=PRECISION)
        else:
            carry1 = tl.dot(tile, t1, input_precision=PRECISION)
        if NB >= 3:
            carry2 = tl.dot(tile, t2, carry3, input_precision=PRECISION)
        elif NB == 2:
            carry2 = tl.dot(tile, t2, input_precision=PRECISION)
        if NB >= 4:
            carry3 = tl.dot(tile, t3, carry4, input_precision=PRECISION)
            carry4 = tl.dot(tile, t4, input_precision=PRECISION)
        elif NB == 3:
            carry3 = tl.dot(tile, t3, input_precision=PRECISION)

        zk, zv, m, k, v = gated_inputs(
            k_row, v_row, t, seqlen, is_row, k_taps, v_taps, dy_ptr, F, T, HAS_FEATURIZER, HAS_V
        )

        # a chunk's inputs are counted by the program that owns it
        is_counted = c < n_chunks
        own = tl.reshape(join8(m, T), (R, C))
        own = tl.trans(tl.where(is_counted, own, 0.0).to(dy_ptr.dtype.element_ty))
        g0 = tl.dot(own, tile, g0, input_precision=PRECISION)
        g1 = tl.dot(own, later1, g1, input_precision=PRECISION)
        if NB >= 2:
            g2 = tl.dot(own, later2, g2, input_precision=PRECISION)
        if NB >= 3:
            g3 = tl.dot(own, later3, g3, input_precision=PRECISION)
        if NB >= 4:
            g4 = tl.dot(own, later4, g4, input_precision=PRECISION)
            later4 = later3
        if NB >= 3:
            later3 = later2
        if NB >= 2:
            later2 = later1
        later1 = tile

        dm = split8(tl.reshape(dm_tile, (R * C,)), T)
        if HAS_FEATURIZER:
            # reading these again from the cache costs less than holding them in registers across the products
            tl.debug_barrier()
            zk, zv, m, k, v = gated_inputs(
                k_row, v_row, t, seqlen, is_row, k_taps, v_taps, dy_ptr, F, T, HAS_FEATURIZER, HAS_V
            )
        if HAS_SKIP:
            whole = ()
            for j in tl.static_range(8):
                whole = whole + (dm[j] + skip * df[j],)
            dm = whole
        is_own = is_row & (t < seqlen) & (c * C + column < n_chunks * C)
        if HAS_FEATURIZER:
            dzk = ()
            dzv = ()
            for j in tl.static_range(8):
                dzk = dzk + (dm[j] * zv[j],)
                dzv = dzv + (dm[j] * zk[j],)
            long_k = dzk
            long_v = dzv
            for i in tl.static_range(F - 1):
                long_k = long_k + (next_lanes(dzk[i], next_dzk[i], R, LANES),)
                long_v = long_v + (next_lanes(dzv[i], next_dzv[i], R, LANES),)
            dk = ()
            dv = ()
            for j in tl.static_range(8):
                dk = dk + (adjoint_fir_at(long_k, k_taps, j, F),)
                dv = dv + (adjoint_fir_at(long_v, v_taps, j, F),)
            first_k = ()
            first_v = ()
            for i in tl.static_range(F):
                first_k = first_k + (dzk[i],)
                first_v = first_v + (dzv[i],)
            next_dzk = first_k
            next_dzv = first_v
        elif HAS_V:
            dk = ()
            dv = ()
            for j in tl.static_range(8):
                dk = dk + (dm[j] * zv[j],)
                dv = dv + (dm[j] * zk[j],)
        else:
            dk = dm
        tl.store(dk_row + t, join8(dk, T).to(dk_ptr.dtype.element_ty), mask=is_own)
        if HAS_V:
            tl.store(dv_row + t, join8(dv, T).to(dv_ptr.dtype.element_ty), mask=is_own)

        if HAS_SUMS:
            of_skip = df[0] * m[0]
            of_bias = df[0]
            for j in tl.static_range(1, 8):
                of_skip += df[j] * m[j]
                of_bias += df[j]
            grown = (sums[0] + tl.where(is_counted, of_skip, 0.0), sums[1] + tl.where(is_counted, of_bias, 0.0))
            for i in tl.static_range(F):
                total = zero
                if HAS_FEATURIZER:
                    for j in tl.static_range(8):
                        total += dzk[j] * k[j + 8 - i]
                grown = grown + (sums[2 + i] + tl.where(is_counted, total, 0.0),)
            for i in tl.static_range(F):
                total = zero
                if HAS_FEATURIZER:
                    for j in tl.static_range(8):
                        total += dzv[j] * v[j + 8 - i]
                grown = grown + (sums[2 + F + i] + tl.where(is_counted, total, 0.0),)
            sums = grown

    if HAS_SUMS:
        r = tl.arange(0, R)
        row_d, is_there, _ = _row_of(r, group_size, n_parts, n_chunks * C, GP, S)
        stretch = tl.program_id(0) * S + r // GP
        at = ((b * channels + row_d).to(tl.int64) * (tl.num_programs(0) * S) + stretch) * N_SUMS
        for i in tl.static_range(N_SUMS):
            tl.store(sums_ptr + at + i, tl.sum(tl.reshape(sums[i], (R, LANES)), 1), mask=is_there)
    program = (b * tl.num_programs(1) + tl.program_id(1)) * tl.num_programs(0) + tl.program_id(0)
    place_h = dh_ptr + program.to(tl.int64) * ((NB + 1) * 2 * C) + tl.arange(0, C)
    _store_lags(place_h, g0, C)
    _store_lags(place_h + 2 * C, g1, C)
    if NB >= 2:
        _store_lags(place_h + 4 * C, g2, C)
    if NB >= 3:
        _store_lags(place_h + 6 * C, g3, C)
    if NB >= 4:
        _store_lags(place_h + 8 * C, g4, C)


@triton.jit
def _store_lags(place, g, C: tl.constexpr):
    at_or_after, before = diagonal_sums(g, C)
    tl.store(place, at_or_after)
    tl.store(place + C, before)
