"""Gated filters of medium length on tensor cores, forward; see `blocked_tiles` for the algebra."""

import triton
import triton.language as tl

from genomix_kernels.hyena_gated.blocked_tiles import advance, first_channel, row_of, toeplitz_tables
from genomix_kernels.triton_tiles import by_stretch, fir_at, join8, load_taps, split8, tokens_before


@triton.jit
def blocked_forward_kernel(
    q_ptr, k_ptr, v_ptr, y_ptr, featurizer_ptr, h_ptr, skip_ptr, bias_ptr, tail_ptr, inner_ptr,
    channels, seqlen, group_size, n_parts, n_tiles,
    x_batch, x_channel, row_stream, row_channel,
    F: tl.constexpr, W: tl.constexpr, K: tl.constexpr, IS_FEATURIZER_REVERSED: tl.constexpr, IS_REVERSED: tl.constexpr,
    HAS_FEATURIZER: tl.constexpr, HAS_Q: tl.constexpr, HAS_V: tl.constexpr, HAS_SKIP: tl.constexpr,
    HAS_BIAS: tl.constexpr, HAS_STATE: tl.constexpr, NB: tl.constexpr, GP: tl.constexpr, R: tl.constexpr,
    C: tl.constexpr, NS: tl.constexpr, PRECISION: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """Write ``n_tiles`` times NS chunks of R rows. Grid: (stretches, groups x parts of a group, batch)."""
    S: tl.constexpr = R // GP
    T: tl.constexpr = R * C // 8
    L: tl.constexpr = GP * C // 8
    HALO: tl.constexpr = (NB + NS - 1) // NS
    b = tl.program_id(2)
    group = tl.program_id(1) // n_parts
    n_tokens = n_tiles * (NS * C)
    # bases are scalars of 64 bits; within a program 32 bits are enough
    d0 = first_channel(group_size, n_parts, GP)
    start0 = tl.program_id(0) * S * n_tokens
    base = b.to(tl.int64) * x_batch + d0.to(tl.int64) * x_channel + start0
    y_base = y_ptr + (b * channels + d0).to(tl.int64) * seqlen + start0
    place = tl.arange(0, R * C)
    channel, is_row, stretch = row_of(place // C, group_size, n_parts, n_tokens, GP)
    lane_channel, is_lane, lane_stretch = row_of(
        tl.arange(0, T) // (C // 8), group_size, n_parts, n_tokens, GP
    )
    row_start = stretch * n_tokens + place % C
    lane_row_start = lane_stretch * n_tokens + tl.arange(0, T) % (C // 8) * 8
    offset = channel * x_channel + row_start
    lane_offset = lane_channel * x_channel + lane_row_start
    y_offset = channel * seqlen + row_start
    r = tl.arange(0, R)[:, None]
    m_channel, is_matrix, m_stretch = row_of(r, group_size, n_parts, n_tokens, GP)
    m_start = m_stretch * n_tokens + tl.arange(0, C)[None, :]
    m_offset = m_channel * x_channel + m_start
    lane_d = d0 + lane_channel
    lane_row = lane_d * row_channel
    tails = tail_ptr + (b * 3 * channels + lane_row).to(tl.int64) * (F - 1)
    stream = row_stream * (F - 1)
    # lanes are held as (stretches, lanes of the channels): taps are the same along the first axis
    tap_channel, is_channel, _ = row_of(tl.arange(0, L) // (C // 8), group_size, n_parts, n_tokens, GP)
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
        skip = tl.load(skip_ptr + d0 + m_channel).to(tl.float32)
    if HAS_BIAS:
        bias = tl.load(bias_ptr + d0 + m_channel).to(tl.float32)
    tables = toeplitz_tables(h_ptr + group * K, NB, K, C, IS_REVERSED, y_ptr, False)
    carries = ()
    for _ in tl.static_range(NB):
        carries = carries + (tl.zeros((R, C), tl.float32),)

    for step in tl.range(-HALO, n_tiles, num_stages=STAGES):
        raw_k = ()
        raw_v = ()
        raw_q = ()
        before_k = ()
        before_v = ()
        before_q = ()
        for s in tl.static_range(NS):
            at = step * (NS * C) + s * C
            here = base + at
            is_there = is_row & (start0 + at + row_start >= 0) & (start0 + at + row_start < seqlen)
            if HAS_V:
                raw_k = raw_k + (tl.load(k_ptr + here + offset, mask=is_there, other=0.0),)
                raw_v = raw_v + (tl.load(v_ptr + here + offset, mask=is_there, other=0.0),)
            else:
                in_matrix = is_matrix & (start0 + at + m_start >= 0) & (start0 + at + m_start < seqlen)
                raw_k = raw_k + (tl.load(k_ptr + here + m_offset, mask=in_matrix, other=0.0),)
            if HAS_Q:
                raw_q = raw_q + (tl.load(q_ptr + here + offset, mask=is_there, other=0.0),)
            if HAS_FEATURIZER:
                t = start0 + at + lane_row_start
                rows = here - (start0 + at) + lane_offset - lane_row_start  # of token 0
                before_k = before_k + (
                    tokens_before(k_ptr + rows, t, seqlen, is_lane, tails + stream, T, F, W, HAS_STATE),
                )
                before_v = before_v + (
                    tokens_before(v_ptr + rows, t, seqlen, is_lane, tails + 2 * stream, T, F, W, HAS_STATE),
                )
                before_q = before_q + (
                    tokens_before(q_ptr + rows, t, seqlen, is_lane, tails, T, F, W, HAS_STATE),
                )
        for s in tl.static_range(NS):
            at = step * (NS * C) + s * C
            if HAS_V:
                k = split8(raw_k[s].to(tl.float32), T)
                v = split8(raw_v[s].to(tl.float32), T)
                if HAS_FEATURIZER:
                    k = by_stretch(before_k[s] + k, S, L)
                    v = by_stretch(before_v[s] + v, S, L)
                m = ()
                for j in tl.static_range(8):
                    if HAS_FEATURIZER:
                        gated = fir_at(k, k_taps, j + W, F) * fir_at(v, v_taps, j + W, F)
                    else:
                        gated = k[j] * v[j]
                    m = m + (tl.reshape(gated, (T,)),)
            elif HAS_STATE:
                m = split8(tl.reshape(raw_k[s], (R * C,)).to(tl.float32), T)
            if HAS_STATE:
                lane_t = start0 + at + lane_row_start
                inner = inner_ptr + (b * channels + lane_d).to(tl.int64) * (K - 1) + (lane_t + K - 1)
                joined = ()
                for j in tl.static_range(8):
                    is_past = is_lane & (lane_t + j < 0) & (lane_t + j >= 1 - K)
                    past = tl.load(inner + j, mask=is_past, other=0.0).to(tl.float32)
                    joined = joined + (tl.where(lane_t + j < 0, past, m[j]),)
                m = joined
            if HAS_V or HAS_STATE:
                tile = tl.reshape(join8(m, T).to(y_ptr.dtype.element_ty), (R, C))
            else:
                tile = raw_k[s]
            y, carries = advance(tile, tables, carries, NB, PRECISION)
            if HAS_SKIP:
                y += skip * tile.to(tl.float32)
            if HAS_BIAS:
                y += bias

            if HAS_Q:
                filtered = split8(tl.reshape(y, (R * C,)), T)
                q = split8(raw_q[s].to(tl.float32), T)
                if HAS_FEATURIZER:
                    q = by_stretch(before_q[s] + q, S, L)
                outputs = ()
                for j in tl.static_range(8):
                    if HAS_FEATURIZER:
                        gate = tl.reshape(fir_at(q, q_taps, j + W, F), (T,))
                    else:
                        gate = q[j]
                    outputs = outputs + (filtered[j] * gate,)
                flat = join8(outputs, T).to(y_ptr.dtype.element_ty)
                is_own = is_row & (at + place % C >= 0) & (start0 + at + row_start < seqlen)
                tl.store(y_base + at + y_offset, flat, mask=is_own)
            else:
                is_own = is_matrix & (at + tl.arange(0, C)[None, :] >= 0) & (start0 + at + m_start < seqlen)
                m_y = m_channel * seqlen + m_start
                tl.store(y_base + at + m_y, y.to(y_ptr.dtype.element_ty), mask=is_own)
