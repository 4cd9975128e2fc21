"""Gated filters of medium length on tensor cores, backward; see `blocked_tiles` for the algebra.

``dM_c = sum_b dF_{c+b} T_b^T`` is the forward sum run backwards, and the taps' gradients are the diagonal sums of
``G_b = sum_c M_c^T dF_{c+b}``. The gradient of q needs the filtered signal again, which runs forwards: a kernel of
its own. Behind a featurizer that one comes first and leaves ``dF`` and ``M`` in memory, of which the other makes ``dM``
as of a filter without gates; `short_backward_kernel` takes it through the gates and featurizers of k and v.
"""

import triton
import triton.language as tl

from genomix_kernels.hyena_gated.blocked_tiles import advance, first_channel, row_of, toeplitz_tables
from genomix_kernels.triton_tiles import (
    adjoint_fir_at,
    by_stretch,
    diagonal_sums,
    fir_at,
    join8,
    load_block,
    load_taps,
    next_lanes,
    split8,
    tokens_before,
)


@triton.jit
def blocked_backward_q_kernel(
    q_ptr, k_ptr, v_ptr, dy_ptr, dq_ptr, df_ptr, m_ptr, sums_ptr, featurizer_ptr, h_ptr, skip_ptr, bias_ptr,
    channels, seqlen, group_size, n_parts, n_tiles,
    x_batch, x_channel, dy_batch, dy_channel, dx_batch, dx_channel, row_stream, row_channel,
    F: tl.constexpr, W: tl.constexpr, K: tl.constexpr, IS_FEATURIZER_REVERSED: tl.constexpr, IS_REVERSED: tl.constexpr,
    HAS_FEATURIZER: tl.constexpr, HAS_V: tl.constexpr, HAS_SKIP: tl.constexpr, HAS_BIAS: tl.constexpr,
    NB: tl.constexpr, GP: tl.constexpr, R: tl.constexpr, C: tl.constexpr, NS: tl.constexpr,
    PRECISION: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """Write the gradient of q, ``dy (h * m + skip m + bias)`` behind its featurizer.

    With a featurizer also ``df = dy z_q`` and m, and F sums for q's taps of each channel. Lanes of eight tokens are
    held as (stretches, lanes of the channels): taps are the same along the first axis and take a register each.
    """
    S: tl.constexpr = R // GP
    LANES: tl.constexpr = C // 8
    T: tl.constexpr = R * LANES
    L: tl.constexpr = GP * LANES
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
    column = place % C
    channel, is_row, stretch = row_of(place // C, group_size, n_parts, n_tokens, GP)
    lane_channel, is_lane, lane_stretch = row_of(tl.arange(0, T) // LANES, group_size, n_parts, n_tokens, GP)
    row_start = stretch * n_tokens + column
    lane_row_start = lane_stretch * n_tokens + tl.arange(0, T) % LANES * 8
    x_row = base - start0 + channel * x_channel  # of token 0
    dy_row = dy_ptr + dy_base - start0 + channel * dy_channel
    dx_row = dx_base - start0 + channel * dx_channel
    x_lane_row = base - start0 + lane_channel * x_channel
    tap_channel, is_channel, _ = row_of(tl.arange(0, L) // LANES, group_size, n_parts, n_tokens, GP)
    tap_channel = (d0 + tap_channel)[None, :]
    is_channel = is_channel[None, :]
    tap_row = tap_channel * row_channel
    if HAS_FEATURIZER:
        q_taps = load_taps(featurizer_ptr + tap_row * F, F, IS_FEATURIZER_REVERSED, is_channel)
        k_taps = load_taps(featurizer_ptr + (tap_row + row_stream) * F, F, IS_FEATURIZER_REVERSED, is_channel)
        v_taps = load_taps(
            featurizer_ptr + (tap_row + 2 * row_stream) * F, F, IS_FEATURIZER_REVERSED, is_channel
        )
    if HAS_SKIP:
        skip_channel, _, _ = row_of(tl.arange(0, R)[:, None], group_size, n_parts, n_tokens, GP)
        skip = tl.load(skip_ptr + d0 + skip_channel).to(tl.float32)
    if HAS_BIAS:
        bias = tl.load(bias_ptr + tap_channel).to(tl.float32)
    tables = toeplitz_tables(h_ptr + group * K, NB, K, C, IS_REVERSED, dy_ptr, False)
    carries = ()
    for _ in tl.static_range(NB):
        carries = carries + (tl.zeros((R, C), tl.float32),)
    zero = tl.zeros((S, L), tl.float32)
    held = (zero, zero, zero, zero, zero, zero, zero, zero)  # gradients of z_q of the chunk before
    sums = ()
    for _ in tl.static_range(F):
        sums = sums + (tl.zeros((L,), tl.float32),)

    # behind a featurizer a chunk's gradient is complete once the first tokens of the next one are known
    LATE: tl.constexpr = 1 if HAS_FEATURIZER else 0
    for step in tl.range(-HALO, n_tiles + LATE, num_stages=STAGES):
        for s in tl.static_range(NS):
            from_start = step * (NS * C) + s * C
            t = start0 + from_start + row_start
            lane_t = start0 + from_start + lane_row_start
            is_there = is_row & (t >= 0) & (t < seqlen)
            is_own = is_row & (t < seqlen) & (from_start + column >= 0) & (from_start + column < n_tokens)
            raw_k = tl.load(k_ptr + x_row + t, mask=is_there, other=0.0)
            raw_v = raw_k
            if HAS_V:
                raw_v = tl.load(v_ptr + x_row + t, mask=is_there, other=0.0)
            raw_dy = tl.load(dy_row + t, mask=is_there, other=0.0)
            if HAS_FEATURIZER:
                raw_q = tl.load(q_ptr + x_row + t, mask=is_there, other=0.0)
                k = tokens_before(k_ptr + x_lane_row, lane_t, seqlen, is_lane, k_ptr, T, F, W, False)
                v = tokens_before(v_ptr + x_lane_row, lane_t, seqlen, is_lane, v_ptr, T, F, W, False)
                q = tokens_before(q_ptr + x_lane_row, lane_t, seqlen, is_lane, q_ptr, T, F, W, False)
                k = by_stretch(k + split8(raw_k.to(tl.float32), T), S, L)
                v = by_stretch(v + split8(raw_v.to(tl.float32), T), S, L)
                q = by_stretch(q + split8(raw_q.to(tl.float32), T), S, L)
                dy = by_stretch(split8(raw_dy.to(tl.float32), T), S, L)
                m = ()
                df = ()
                for j in tl.static_range(8):
                    m = m + (fir_at(k, k_taps, j + W, F) * fir_at(v, v_taps, j + W, F),)
                    df = df + (fir_at(q, q_taps, j + W, F) * dy[j],)
                flat = join8(m, T).to(dy_ptr.dtype.element_ty)
                tl.store(m_ptr + dx_row + t, flat, mask=is_own)
                tl.store(df_ptr + dx_row + t, join8(df, T).to(df_ptr.dtype.element_ty), mask=is_own)
            else:
                flat = raw_k
                if HAS_V:
                    flat = (raw_k.to(tl.float32) * raw_v.to(tl.float32)).to(dy_ptr.dtype.element_ty)
            tile = tl.reshape(flat, (R, C))
            y, carries = advance(tile, tables, carries, NB, PRECISION)
            if HAS_SKIP:
                y += skip * tile.to(tl.float32)
            if HAS_FEATURIZER:
                # reading these again from the cache costs less than holding them across the products
                tl.debug_barrier()
                q = tokens_before(q_ptr + x_lane_row, lane_t, seqlen, is_lane, q_ptr, T, F, W, False)
                raw_q = tl.load(q_ptr + x_row + t, mask=is_there, other=0.0)
                q = by_stretch(q + split8(raw_q.to(tl.float32), T), S, L)
                raw_dy = tl.load(dy_row + t, mask=is_there, other=0.0)
            dy = by_stretch(split8(raw_dy.to(tl.float32), T), S, L)
            filtered = by_stretch(split8(tl.reshape(y, (R * C,)), T), S, L)
            dz = ()
            for j in tl.static_range(8):
                out = filtered[j]
                if HAS_BIAS:
                    out += bias
                dz = dz + (out * dy[j],)
            if HAS_FEATURIZER:
                after = held
                for i in tl.static_range(F - 1):
                    after = after + (tl.reshape(next_lanes(held[i], dz[i], R, LANES), (S, L)),)
                dq = ()
                for j in tl.static_range(8):
                    dq = dq + (adjoint_fir_at(after, q_taps, j, F),)
                is_before = (from_start - C + column >= 0) & (from_start - C + column < n_tokens)
                is_before = is_before & is_row & (t - C < seqlen)
                tl.store(dq_ptr + dx_row + t - C, join8(dq, T).to(dq_ptr.dtype.element_ty), mask=is_before)
                # a chunk's inputs are counted by the program that owns it
                is_counted = (from_start >= 0) & (from_start < n_tokens)
                grown = ()
                for i in tl.static_range(F):
                    total = dz[0] * q[W - i]
                    for j in tl.static_range(1, 8):
                        total += dz[j] * q[j + W - i]
                    grown = grown + (sums[i] + tl.where(is_counted, tl.sum(total, 0), 0.0),)
                sums = grown
                held = dz
            else:
                tl.store(dq_ptr + dx_row + t, join8(dz, T).to(dq_ptr.dtype.element_ty), mask=is_own)

    if HAS_FEATURIZER:
        own_channel, is_there, _ = row_of(tl.arange(0, GP), group_size, n_parts, n_tokens, GP)
        at = ((b * channels + d0 + own_channel).to(tl.int64) * tl.num_programs(0) + tl.program_id(0)) * F
        for i in tl.static_range(F):
            tl.store(sums_ptr + at + i, tl.sum(tl.reshape(sums[i], (GP, LANES)), 1), mask=is_there)


@triton.jit
def _load_backwards(
    rows, t, seqlen, is_row, C: tl.constexpr, NS: tl.constexpr
):  # fmt: skip
    """Return the chunks of a stream as the matrices that they are multiplied as, the last one first."""
    chunks = ()
    for e in tl.static_range(NS):
        at = t + (NS - 1 - e) * C
        chunks = chunks + (tl.load(rows + at, mask=is_row & (at >= 0) & (at < seqlen), other=0.0),)
    return chunks


@triton.jit
def blocked_backward_kv_kernel(
    q_ptr, k_ptr, v_ptr, dy_ptr, dk_ptr, dv_ptr, sums_ptr, dh_ptr, h_ptr, skip_ptr,
    channels, seqlen, group_size, n_parts, n_tiles,
    x_batch, x_channel, dy_batch, dy_channel, dx_batch, dx_channel,
    K: tl.constexpr, IS_REVERSED: tl.constexpr, HAS_Q: tl.constexpr, HAS_V: tl.constexpr, HAS_SKIP: tl.constexpr,
    HAS_SUMS: tl.constexpr, NB: tl.constexpr, GP: tl.constexpr, R: tl.constexpr, C: tl.constexpr,
    NS: tl.constexpr, PRECISION: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """Write the gradients of k and v, of each row the sums for skip and bias, and of h its lags.

    ``dh`` of a program: for each b the sums over the diagonals ``i - j = l`` and ``l - C`` of ``G_b``.
    """
    S: tl.constexpr = R // GP
    HALO: tl.constexpr = (NB + NS - 1) // NS
    b = tl.program_id(2)
    group = tl.program_id(1) // n_parts
    n_tokens = n_tiles * (NS * C)
    # bases are scalars of 64 bits; within a program 32 bits are enough
    d0 = first_channel(group_size, n_parts, GP)
    start0 = tl.program_id(0) * S * n_tokens
    base = b.to(tl.int64) * x_batch + d0.to(tl.int64) * x_channel
    dy_base = b.to(tl.int64) * dy_batch + d0.to(tl.int64) * dy_channel
    dx_base = b.to(tl.int64) * dx_batch + d0.to(tl.int64) * dx_channel
    column = tl.arange(0, C)[None, :]
    channel, is_row, stretch = row_of(tl.arange(0, R)[:, None], group_size, n_parts, n_tokens, GP)
    row_start = stretch * n_tokens + column
    q_row = q_ptr + base + channel * x_channel  # of token 0
    k_row = k_ptr + base + channel * x_channel
    v_row = v_ptr + base + channel * x_channel
    dy_row = dy_ptr + dy_base + channel * dy_channel
    dx_row = dx_base + channel * dx_channel
    if HAS_SKIP:
        skip = tl.load(skip_ptr + d0 + channel).to(tl.float32)
    tables = toeplitz_tables(h_ptr + group * K, NB, K, C, IS_REVERSED, dy_ptr, True)
    carries = ()
    later = ()  # dF of the chunks after this one
    g = (tl.zeros((C, C), tl.float32),)
    for _ in tl.static_range(NB):
        carries = carries + (tl.zeros((R, C), tl.float32),)
        later = later + (tl.zeros((R, C), dy_ptr.dtype.element_ty),)
        g = g + (tl.zeros((C, C), tl.float32),)
    of_skip = tl.zeros((R,), tl.float32)
    of_bias = tl.zeros((R,), tl.float32)

    last = start0 + (n_tiles + HALO - 1) * (NS * C) + row_start
    ahead_dy = _load_backwards(dy_row, last, seqlen, is_row, C, NS)
    ahead_k = _load_backwards(k_row, last, seqlen, is_row, C, NS)
    for back in tl.range(0, n_tiles + HALO, num_stages=STAGES):
        raw_dy = ahead_dy  # the next chunks are on their way while these are computed
        raw_k = ahead_k
        next_t = last - (back + 1) * (NS * C)
        ahead_dy = _load_backwards(dy_row, next_t, seqlen, is_row, C, NS)
        ahead_k = _load_backwards(k_row, next_t, seqlen, is_row, C, NS)
        for e in tl.static_range(NS):
            from_start = (n_tiles + HALO - 1 - back) * (NS * C) + (NS - 1 - e) * C
            # a chunk's inputs are counted by the program that owns it
            is_counted = from_start < n_tokens
            t = start0 + from_start + row_start
            tile = raw_dy[e]
            df = raw_dy[e].to(tl.float32)
            if HAS_Q:
                df = df * load_block(q_row + t, t, seqlen, is_row)
                tile = df.to(dy_ptr.dtype.element_ty)
            dm, carries = advance(tile, tables, carries, NB, PRECISION)
            m = raw_k[e]
            if HAS_V:
                v = tl.load(v_row + t, mask=is_row & (t >= 0) & (t < seqlen), other=0.0)
                m = (raw_k[e].to(tl.float32) * v.to(tl.float32)).to(dy_ptr.dtype.element_ty)
            own = tl.trans(tl.where(is_counted, m, tl.zeros_like(m)))
            grown = (tl.dot(own, tile, g[0], input_precision=PRECISION),)
            shifted = (tile,)
            for i in tl.static_range(NB):
                grown = grown + (tl.dot(own, later[i], g[i + 1], input_precision=PRECISION),)
                if i < NB - 1:
                    shifted = shifted + (later[i],)
            g = grown
            later = shifted

            if HAS_SKIP:
                dm += skip * df
            dk = dm
            is_own = is_row & (t < seqlen) & (from_start + column < n_tokens)
            if HAS_V:
                dk = dm * v.to(tl.float32)
                dv = dm * raw_k[e].to(tl.float32)
                tl.store(dv_ptr + dx_row + t, dv.to(dv_ptr.dtype.element_ty), mask=is_own)
            tl.store(dk_ptr + dx_row + t, dk.to(dk_ptr.dtype.element_ty), mask=is_own)
            if HAS_SUMS:
                of_skip += tl.where(is_counted, tl.sum(df * m.to(tl.float32), 1), 0.0)
                of_bias += tl.where(is_counted, tl.sum(df, 1), 0.0)

    if HAS_SUMS:
        _store_row_sums(
            (of_skip, of_bias), sums_ptr, b * channels + d0, group_size, n_parts, n_tokens, 2, GP, S, R
        )
    program = (b * tl.num_programs(1) + tl.program_id(1)) * tl.num_programs(0) + tl.program_id(0)
    place_h = dh_ptr + program.to(tl.int64) * ((NB + 1) * 2 * C) + tl.arange(0, C)
    for i in tl.static_range(NB + 1):
        at_or_after, before = diagonal_sums(g[i], C)
        tl.store(place_h + 2 * i * C, at_or_after)
        tl.store(place_h + (2 * i + 1) * C, before)


@triton.jit
def _store_row_sums(
    sums, sums_ptr, first_row, group_size, n_parts, n_tokens, N_SUMS: tl.constexpr, GP: tl.constexpr,
    S: tl.constexpr, R: tl.constexpr,
):  # fmt: skip
    """Write N_SUMS sums for each row: ``(batch x channels, stretches, N_SUMS)``."""
    channel, is_there, stretch = row_of(tl.arange(0, R), group_size, n_parts, n_tokens, GP)
    stretch += tl.program_id(0) * S
    at = ((first_row + channel).to(tl.int64) * (tl.num_programs(0) * S) + stretch) * N_SUMS
    for i in tl.static_range(N_SUMS):
        tl.store(sums_ptr + at + i, sums[i], mask=is_there)
