"""Gated filters of medium length on tensor cores, backward; see `blocked_tiles` for the algebra.

``dM_c = sum_b dF_{c+b} T_b^T`` is the forward sum run backwards, and the taps' gradients are the diagonal sums of
``G_b = sum_c M_c^T dF_{c+b}``. The gradient of q needs the filtered signal again, which runs forwards: a kernel of its own.
"""

import triton
import triton.language as tl

from genomix_kernels.hyena_gated.blocked_tiles import advance, first_channel, row_of, toeplitz_tables
from genomix_kernels.triton_tiles import (
    adjoint_fir_at,
    diagonal_sums,
    fir_at,
    gated_inputs,
    join8,
    load_block,
    load_taps,
    next_lanes,
    split8,
    tokens_before,
)


@triton.jit
def blocked_backward_q_kernel(
    q_ptr, k_ptr, v_ptr, dy_ptr, dq_ptr, sums_ptr, featurizer_ptr, h_ptr, skip_ptr, bias_ptr,
    channels, seqlen, group_size, n_parts, n_tiles,
    x_batch, x_channel, dy_batch, dy_channel, dx_batch, dx_channel, row_stream, row_channel,
    F: tl.constexpr, W: tl.constexpr, K: tl.constexpr, IS_FEATURIZER_REVERSED: tl.constexpr, IS_REVERSED: tl.constexpr,
    HAS_FEATURIZER: tl.constexpr, HAS_V: tl.constexpr, HAS_SKIP: tl.constexpr, HAS_BIAS: tl.constexpr,
    NB: tl.constexpr, GP: tl.constexpr, R: tl.constexpr, C: tl.constexpr, NS: tl.constexpr,
    PRECISION: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """Write the gradient of q, ``dy (h * m + skip m + bias)`` behind its featurizer; of that filter F sums a row."""
    S: tl.constexpr = R // GP
    LANES: tl.constexpr = C // 8
    T: tl.constexpr = R * LANES
    HALO: tl.constexpr = (NB + NS - 1) // NS
    b = tl.program_id(2)
    group = tl.program_id(1) // n_parts
    n_tokens = n_tiles * (NS * C)
    # bases are scalars of 64 bits; within a program 32 bits are enough
    d0 = first_channel(group_size, n_parts, GP)
    start0 = tl.program_id(0) * S * n_tokens
    base = b.to(tl.int64) * x_batch + d0.to(tl.int64) * x_channel + start0
    dy_base = b.to(tl.int64) * dy_batch + d0.to(tl.int64) * dy_channel + start0
    dx_base = b.to(tl.int64) * dx_batch + d0.to(tl.int64) * dx_channel + start0
    place = tl.arange(0, R * C)
    channel, is_row, stretch = row_of(place // C, group_size, n_parts, n_tokens, GP)
    lane_channel, is_lane, lane_stretch = row_of(tl.arange(0, T) // LANES, group_size, n_parts, n_tokens, GP)
    row_start = stretch * n_tokens + place % C
    lane_row_start = lane_stretch * n_tokens + tl.arange(0, T) % LANES * 8
    x_row = base - start0 + channel * x_channel  # of token 0
    dy_row = dy_ptr + dy_base - start0 + channel * dy_channel
    dx_row = dx_base - start0 + channel * dx_channel
    x_lane_row = base - start0 + lane_channel * x_channel
    lane_d = d0 + lane_channel
    lane_row = lane_d * row_channel
    k_taps = ()
    v_taps = ()
    if HAS_FEATURIZER:
        q_taps = load_taps(featurizer_ptr + lane_row * F, F, IS_FEATURIZER_REVERSED, is_lane)
        k_taps = load_taps(featurizer_ptr + (lane_row + row_stream) * F, F, IS_FEATURIZER_REVERSED, is_lane)
        v_taps = load_taps(featurizer_ptr + (lane_row + 2 * row_stream) * F, F, IS_FEATURIZER_REVERSED, is_lane)
    if HAS_SKIP:
        skip = tl.load(skip_ptr + lane_d).to(tl.float32)
    if HAS_BIAS:
        bias = tl.load(bias_ptr + lane_d).to(tl.float32)
    tables = toeplitz_tables(h_ptr + group * K, NB, K, C, IS_REVERSED, dy_ptr, False)
    carries = ()
    for _ in tl.static_range(NB):
        carries = carries + (tl.zeros((R, C), tl.float32),)
    zero = tl.zeros((T,), tl.float32)
    held = (zero, zero, zero, zero, zero, zero, zero, zero)  # gradients of z_q of the chunk before
    sums = ()
    for _ in tl.static_range(F):
        sums = sums + (zero,)

    # behind a featurizer a chunk's gradient is complete once the first tokens of the next one are known
    LATE: tl.constexpr = 1 if HAS_FEATURIZER else 0
    for step in tl.range(-HALO, n_tiles + LATE, num_stages=STAGES):
        for s in tl.static_range(NS):
            from_start = step * (NS * C) + s * C
            t = start0 + from_start + row_start
            lane_t = start0 + from_start + lane_row_start
            _zk, _zv, m, _k, _v = gated_inputs(
                k_ptr + x_row, v_ptr + x_row, t, k_ptr + x_lane_row, v_ptr + x_lane_row, lane_t, seqlen, is_row, is_lane, k_taps, v_taps, dy_ptr,
                F, W, T, HAS_FEATURIZER, HAS_V,
            )
            tile = tl.reshape(join8(m, T).to(dy_ptr.dtype.element_ty), (R, C))
            y, carries = advance(tile, tables, carries, NB, PRECISION)
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
                column = place % C
                is_own = (from_start - C + column >= 0) & (from_start - C + column < n_tokens)
                is_own = is_own & is_row & (t - C < seqlen)
                tl.store(dq_ptr + dx_row + t - C, join8(dq, T).to(dq_ptr.dtype.element_ty), mask=is_own)
                q = tokens_before(q_ptr + x_lane_row, lane_t, seqlen, is_lane, q_ptr + x_lane_row, T, F, W, False)
                q = q + split8(load_block(q_ptr + x_row + t, t, seqlen, is_row), T)
                is_counted = (from_start >= 0) & (from_start < n_tokens)
                grown = ()
                for i in tl.static_range(F):
                    total = dz[0] * q[W - i]
                    for j in tl.static_range(1, 8):
                        total += dz[j] * q[j + W - i]
                    grown = grown + (sums[i] + tl.where(is_counted, total, 0.0),)
                sums = grown
                held = dz
            else:
                is_own = is_row & (t < seqlen) & (from_start + place % C >= 0)
                tl.store(dq_ptr + dx_row + t, join8(dz, T).to(dq_ptr.dtype.element_ty), mask=is_own)

    if HAS_FEATURIZER:
        _store_row_sums(
            sums, sums_ptr, b * channels + d0, group_size, n_parts, n_tokens, F, GP, S, R, LANES
        )


@triton.jit
def _load_backwards(
    dy_row, k_row, t, seqlen, is_row, C: tl.constexpr, NS: tl.constexpr, HAS_DY: tl.constexpr, HAS_K: tl.constexpr
):  # fmt: skip
    """Return the chunks of streams without gates, as the matrices that they are multiplied as, the last one first."""
    dy = ()
    k = ()
    for e in tl.static_range(NS):
        at = t + (NS - 1 - e) * C
        is_there = is_row & (at >= 0) & (at < seqlen)
        if HAS_DY:
            dy = dy + (tl.load(dy_row + at, mask=is_there, other=0.0),)
        if HAS_K:
            k = k + (tl.load(k_row + at, mask=is_there, other=0.0),)
    return dy, k


@triton.jit
def blocked_backward_kv_kernel(
    q_ptr, k_ptr, v_ptr, dy_ptr, dk_ptr, dv_ptr, sums_ptr, dh_ptr, featurizer_ptr, h_ptr, skip_ptr,
    channels, seqlen, group_size, n_parts, n_tiles,
    x_batch, x_channel, dy_batch, dy_channel, dx_batch, dx_channel, row_stream, row_channel,
    F: tl.constexpr, W: tl.constexpr, K: tl.constexpr, IS_FEATURIZER_REVERSED: tl.constexpr, IS_REVERSED: tl.constexpr,
    HAS_FEATURIZER: tl.constexpr, HAS_Q: tl.constexpr, HAS_V: tl.constexpr, HAS_SKIP: tl.constexpr,
    HAS_SUMS: tl.constexpr, NB: tl.constexpr, GP: tl.constexpr, R: tl.constexpr, C: tl.constexpr,
    NS: tl.constexpr, PRECISION: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """Write the gradients of k and v, of each row the sums for skip, bias and two featurizers, and of h its lags.

    ``dh`` of a program: for each b the sums over the diagonals ``i - j = l`` and ``l - C`` of ``G_b``.
    """
    S: tl.constexpr = R // GP
    LANES: tl.constexpr = C // 8
    T: tl.constexpr = R * LANES
    b = tl.program_id(2)
    group = tl.program_id(1) // n_parts
    n_tokens = n_tiles * (NS * C)
    # bases are scalars of 64 bits; within a program 32 bits are enough
    d0 = first_channel(group_size, n_parts, GP)
    start0 = tl.program_id(0) * S * n_tokens
    base = b.to(tl.int64) * x_batch + d0.to(tl.int64) * x_channel + start0
    dy_base = b.to(tl.int64) * dy_batch + d0.to(tl.int64) * dy_channel + start0
    dx_base = b.to(tl.int64) * dx_batch + d0.to(tl.int64) * dx_channel + start0
    place = tl.arange(0, R * C)
    channel, is_row, stretch = row_of(place // C, group_size, n_parts, n_tokens, GP)
    lane_channel, is_lane, lane_stretch = row_of(tl.arange(0, T) // LANES, group_size, n_parts, n_tokens, GP)
    row_start = stretch * n_tokens + place % C
    lane_row_start = lane_stretch * n_tokens + tl.arange(0, T) % LANES * 8
    x_row = base - start0 + channel * x_channel  # of token 0
    dy_row = dy_ptr + dy_base - start0 + channel * dy_channel
    dx_row = dx_base - start0 + channel * dx_channel
    x_lane_row = base - start0 + lane_channel * x_channel
    lane_d = d0 + lane_channel
    lane_row = lane_d * row_channel
    k_taps = ()
    v_taps = ()
    if HAS_FEATURIZER:
        q_taps = load_taps(featurizer_ptr + lane_row * F, F, IS_FEATURIZER_REVERSED, is_lane)
        k_taps = load_taps(featurizer_ptr + (lane_row + row_stream) * F, F, IS_FEATURIZER_REVERSED, is_lane)
        v_taps = load_taps(featurizer_ptr + (lane_row + 2 * row_stream) * F, F, IS_FEATURIZER_REVERSED, is_lane)
    if HAS_SKIP:
        skip = tl.load(skip_ptr + lane_d).to(tl.float32)
    tables = toeplitz_tables(h_ptr + group * K, NB, K, C, IS_REVERSED, dy_ptr, True)
    carries = ()
    later = ()  # dF of the chunks after this one
    g = (tl.zeros((C, C), tl.float32),)
    for _ in tl.static_range(NB):
        carries = carries + (tl.zeros((R, C), tl.float32),)
        later = later + (tl.zeros((R, C), dy_ptr.dtype.element_ty),)
        g = g + (tl.zeros((C, C), tl.float32),)
    zero = tl.zeros((T,), tl.float32)
    N_SUMS: tl.constexpr = 2 + 2 * F
    sums = ()
    for _ in tl.static_range(N_SUMS):
        sums = sums + (zero,)
    next_dzk = ()
    next_dzv = ()
    for _ in tl.static_range(F - 1):
        next_dzk = next_dzk + (zero,)
        next_dzv = next_dzv + (zero,)

    BEHIND: tl.constexpr = NB + 1 if HAS_FEATURIZER else NB
    HALO: tl.constexpr = (BEHIND + NS - 1) // NS
    r = tl.arange(0, R)[:, None]
    m_channel, is_matrix, m_stretch = row_of(r, group_size, n_parts, n_tokens, GP)
    m_start = m_stretch * n_tokens + tl.arange(0, C)[None, :]
    k_matrix = k_ptr + base - start0 + m_channel * x_channel
    dk_matrix = dk_ptr + dx_base - start0 + m_channel * dx_channel
    dy_matrix = dy_ptr + dy_base - start0 + m_channel * dy_channel
    last = start0 + (n_tiles + HALO - 1) * (NS * C) + m_start
    ahead_dy, ahead_k = _load_backwards(dy_matrix, k_matrix, last, seqlen, is_matrix, C, NS, not HAS_Q, not HAS_V)
    for back in tl.range(0, n_tiles + HALO, num_stages=STAGES):
        raw_dy = ahead_dy  # the next chunks are on their way while these are computed
        raw_k = ahead_k
        ahead_dy, ahead_k = _load_backwards(
            dy_matrix, k_matrix, last - (back + 1) * (NS * C), seqlen, is_matrix, C, NS, not HAS_Q, not HAS_V
        )
        for e in tl.static_range(NS):
            from_start = (n_tiles + HALO - 1 - back) * (NS * C) + (NS - 1 - e) * C
            t = start0 + from_start + row_start
            lane_t = start0 + from_start + lane_row_start
            # a chunk's inputs are counted by the program that owns it
            is_counted = from_start < n_tokens
            is_own = is_row & (t < seqlen) & (from_start + place % C < n_tokens)
            if HAS_Q:
                dy = split8(load_block(dy_row + t, t, seqlen, is_row), T)
                q = split8(load_block(q_ptr + x_row + t, t, seqlen, is_row), T)
                if HAS_FEATURIZER:
                    q = tokens_before(q_ptr + x_lane_row, lane_t, seqlen, is_lane, q_ptr + x_lane_row, T, F, W, False) + q
                df = ()
                for j in tl.static_range(8):
                    if HAS_FEATURIZER:
                        df = df + (dy[j] * fir_at(q, q_taps, j + W, F),)
                    else:
                        df = df + (dy[j] * q[j],)
                tile = tl.reshape(join8(df, T).to(dy_ptr.dtype.element_ty), (R, C))
            else:
                tile = raw_dy[e]
                if HAS_SKIP or HAS_SUMS or HAS_V:
                    df = split8(tl.reshape(raw_dy[e], (R * C,)).to(tl.float32), T)
            dm_tile, carries = advance(tile, tables, carries, NB, PRECISION)

            if HAS_V:
                zk, zv, m, k, v = gated_inputs(
                    k_ptr + x_row, v_ptr + x_row, t, k_ptr + x_lane_row, v_ptr + x_lane_row, lane_t, seqlen, is_row, is_lane, k_taps, v_taps, dy_ptr,
                    F, W, T, HAS_FEATURIZER, HAS_V,
                )
                own = tl.reshape(join8(m, T).to(dy_ptr.dtype.element_ty), (R, C))
            else:
                own = raw_k[e]
                if HAS_SUMS:
                    m = split8(tl.reshape(raw_k[e], (R * C,)).to(tl.float32), T)
            own = tl.trans(tl.where(is_counted, own, tl.zeros_like(own)))
            grown = (tl.dot(own, tile, g[0], input_precision=PRECISION),)
            shifted = (tile,)
            for i in tl.static_range(NB):
                grown = grown + (tl.dot(own, later[i], g[i + 1], input_precision=PRECISION),)
                if i < NB - 1:
                    shifted = shifted + (later[i],)
            g = grown
            later = shifted

            if HAS_V or HAS_SKIP:
                dm = split8(tl.reshape(dm_tile, (R * C,)), T)
                if HAS_FEATURIZER:
                    # reading these again from the cache costs less than holding them across the products
                    tl.debug_barrier()
                    zk, zv, m, k, v = gated_inputs(
                        k_ptr + x_row, v_ptr + x_row, t, k_ptr + x_lane_row, v_ptr + x_lane_row, lane_t, seqlen, is_row, is_lane, k_taps, v_taps, dy_ptr,
                        F, W, T, HAS_FEATURIZER, HAS_V,
                    )
                if HAS_SKIP:
                    whole = ()
                    for j in tl.static_range(8):
                        whole = whole + (dm[j] + skip * df[j],)
                    dm = whole
                dk = dm
                if HAS_V:
                    dk = ()
                    dv = ()
                    for j in tl.static_range(8):
                        dk = dk + (dm[j] * zv[j],)
                        dv = dv + (dm[j] * zk[j],)
                if HAS_FEATURIZER:
                    dzk = dk
                    dzv = dv
                    dk, next_dzk = _through_featurizer(dzk, next_dzk, k_taps, F, R, LANES)
                    dv, next_dzv = _through_featurizer(dzv, next_dzv, v_taps, F, R, LANES)
                tl.store(dk_ptr + dx_row + t, join8(dk, T).to(dk_ptr.dtype.element_ty), mask=is_own)
                if HAS_V:
                    tl.store(dv_ptr + dx_row + t, join8(dv, T).to(dv_ptr.dtype.element_ty), mask=is_own)
            else:
                m_t = start0 + from_start + m_start
                in_matrix = is_matrix & (m_t < seqlen) & (from_start + tl.arange(0, C)[None, :] < n_tokens)
                tl.store(dk_matrix + m_t, dm_tile.to(dk_ptr.dtype.element_ty), mask=in_matrix)

            if HAS_SUMS:
                of_skip = df[0] * m[0]
                of_bias = df[0]
                for j in tl.static_range(1, 8):
                    of_skip += df[j] * m[j]
                    of_bias += df[j]
                added = (of_skip, of_bias)
                for i in tl.static_range(F):
                    total = zero
                    if HAS_FEATURIZER:
                        for j in tl.static_range(8):
                            total += dzk[j] * k[j + W - i]
                    added = added + (total,)
                for i in tl.static_range(F):
                    total = zero
                    if HAS_FEATURIZER:
                        for j in tl.static_range(8):
                            total += dzv[j] * v[j + W - i]
                    added = added + (total,)
                counted = ()
                for i in tl.static_range(N_SUMS):
                    counted = counted + (sums[i] + tl.where(is_counted, added[i], 0.0),)
                sums = counted

    if HAS_SUMS:
        _store_row_sums(
            sums, sums_ptr, b * channels + d0, group_size, n_parts, n_tokens, N_SUMS, GP, S, R, LANES
        )
    program = (b * tl.num_programs(1) + tl.program_id(1)) * tl.num_programs(0) + tl.program_id(0)
    place_h = dh_ptr + program.to(tl.int64) * ((NB + 1) * 2 * C) + tl.arange(0, C)
    for i in tl.static_range(NB + 1):
        at_or_after, before = diagonal_sums(g[i], C)
        tl.store(place_h + 2 * i * C, at_or_after)
        tl.store(place_h + (2 * i + 1) * C, before)


@triton.jit
def _through_featurizer(dz, next_dz, taps, F: tl.constexpr, R: tl.constexpr, LANES: tl.constexpr):
    """Return the gradient of a featurizer's input, and what the chunk before needs to know of this one."""
    long = dz
    first = ()
    for i in tl.static_range(F - 1):
        long = long + (next_lanes(dz[i], next_dz[i], R, LANES),)
        first = first + (dz[i],)
    dx = ()
    for j in tl.static_range(8):
        dx = dx + (adjoint_fir_at(long, taps, j, F),)
    return dx, first


@triton.jit
def _store_row_sums(
    sums, sums_ptr, first_row, group_size, n_parts, n_tokens, N_SUMS: tl.constexpr, GP: tl.constexpr,
    S: tl.constexpr, R: tl.constexpr, LANES: tl.constexpr,
):  # fmt: skip
    """Write N_SUMS sums for each row: ``(batch x channels, stretches, N_SUMS)``."""
    r = tl.arange(0, R)
    channel, is_there, stretch = row_of(r, group_size, n_parts, n_tokens, GP)
    stretch += tl.program_id(0) * S
    at = ((first_row + channel).to(tl.int64) * (tl.num_programs(0) * S) + stretch) * N_SUMS
    for i in tl.static_range(N_SUMS):
        tl.store(sums_ptr + at + i, tl.sum(tl.reshape(sums[i], (R, LANES)), 1), mask=is_there)
