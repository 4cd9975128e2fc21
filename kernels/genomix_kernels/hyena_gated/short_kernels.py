"""Gated short filters in registers: ``y = q (h * m + skip m + bias)``, ``m = k v``, each stream with its featurizer.

One program takes a stretch of one channel. Everything that a lane needs for its eight tokens lies within the eight
before and, in the backward pass, the eight after them, if ``(F - 1) + (K - 1) <= 8``: the intermediates of those
neighbours are computed again instead of being exchanged. 8 bytes an element forward in 16 bits, 14 backward.
"""

import triton
import triton.language as tl

from genomix_kernels.triton_tiles import (
    adjoint_fir_at,
    fir_at,
    join8,
    load_block,
    load_taps,
    rounded,
    split8,
    tokens_before,
)

REACH = 8
"""Taps of the filter and of the featurizer together, without their first ones, that a lane can see."""


@triton.jit
def short_forward_kernel(
    q_ptr, k_ptr, v_ptr, y_ptr, featurizer_ptr, h_ptr, skip_ptr, bias_ptr, tail_ptr, inner_ptr,
    channels, seqlen, group_size, n_places, n_blocks,
    x_batch, x_channel, row_stream, row_channel,
    F: tl.constexpr, K: tl.constexpr, IS_FEATURIZER_REVERSED: tl.constexpr, IS_REVERSED: tl.constexpr,
    HAS_FEATURIZER: tl.constexpr, HAS_Q: tl.constexpr, HAS_V: tl.constexpr, HAS_SKIP: tl.constexpr,
    HAS_BIAS: tl.constexpr, HAS_STATE: tl.constexpr, T: tl.constexpr,
):  # fmt: skip
    """Write ``n_blocks`` blocks of ``8 T`` tokens of one channel. Grid: batch x channels x stretches."""
    signal = tl.program_id(0) // n_places
    stretch = tl.program_id(0) % n_places
    b = signal // channels
    d = signal % channels
    FIRST: tl.constexpr = 9 - K  # where the first gated input that is read stands in a window of 16

    x_row = b.to(tl.int64) * x_batch + d.to(tl.int64) * x_channel
    k_row = k_ptr + x_row
    v_row = v_ptr + x_row
    q_row = q_ptr + x_row
    y_row = y_ptr + signal.to(tl.int64) * seqlen
    row = d * row_channel
    tails = tail_ptr + (b * 3 * channels + row).to(tl.int64) * (F - 1)
    stream = row_stream * (F - 1)
    taps = load_taps(h_ptr + (d // group_size) * K, K, IS_REVERSED, True)
    if HAS_FEATURIZER:
        q_taps = load_taps(featurizer_ptr + row * F, F, IS_FEATURIZER_REVERSED, True)
        k_taps = load_taps(featurizer_ptr + (row + row_stream) * F, F, IS_FEATURIZER_REVERSED, True)
        v_taps = load_taps(featurizer_ptr + (row + 2 * row_stream) * F, F, IS_FEATURIZER_REVERSED, True)
    if HAS_SKIP:
        skip = tl.load(skip_ptr + d).to(tl.float32)
    if HAS_BIAS:
        bias = tl.load(bias_ptr + d).to(tl.float32)

    for block in range(n_blocks):
        first = (stretch * n_blocks + block) * (8 * T)
        t = first + tl.arange(0, 8 * T)
        lane_t = first + 8 * tl.arange(0, T)
        k = split8(load_block(k_row + t, t, seqlen, True), T)
        k = (
            tokens_before(k_row, lane_t, seqlen, True, tails + stream, T, F, 8, HAS_FEATURIZER and HAS_STATE)
            + k
        )
        if HAS_V:
            v = split8(load_block(v_row + t, t, seqlen, True), T)
            v = (
                tokens_before(
                    v_row, lane_t, seqlen, True, tails + 2 * stream, T, F, 8, HAS_FEATURIZER and HAS_STATE
                )
                + v
            )
        if HAS_Q:
            q = split8(load_block(q_row + t, t, seqlen, True), T)
            if HAS_FEATURIZER:
                q = tokens_before(q_row, lane_t, seqlen, True, tails, T, F, 8, HAS_STATE) + q
        m = ()
        for j in tl.static_range(FIRST, 16):
            if HAS_FEATURIZER:
                gated = rounded(fir_at(k, k_taps, j, F) * fir_at(v, v_taps, j, F), y_ptr)
            elif HAS_V:
                gated = rounded(k[j] * v[j], y_ptr)
            else:
                gated = k[j]
            if HAS_STATE and j < 8:  # before token 0 the gated inputs themselves are remembered
                inner = inner_ptr + signal.to(tl.int64) * (K - 1) + (j - FIRST)
                past = tl.load(inner + tl.zeros_like(lane_t), mask=lane_t == 0, other=0.0)
                gated = tl.where(lane_t == 0, past.to(tl.float32), gated)
            m = m + (gated,)
        y = ()
        for j in tl.static_range(8):
            out = fir_at(m, taps, j + K - 1, K)
            if HAS_SKIP:
                out += skip * m[j + K - 1]
            if HAS_BIAS:
                out += bias
            if HAS_FEATURIZER:
                out *= fir_at(q, q_taps, j + 8, F)
            elif HAS_Q:
                out *= q[j]
            y = y + (out,)
        tl.store(y_row + t, join8(y, T).to(y_ptr.dtype.element_ty), mask=t < seqlen)


@triton.jit
def short_backward_kernel(
    q_ptr, k_ptr, v_ptr, dy_ptr, dq_ptr, dk_ptr, dv_ptr, sums_ptr, featurizer_ptr, h_ptr, skip_ptr, bias_ptr,
    channels, seqlen, group_size, n_places, n_blocks,
    x_batch, x_channel, dy_batch, dy_channel, dx_batch, dx_channel, row_stream, row_channel,
    F: tl.constexpr, K: tl.constexpr, IS_FEATURIZER_REVERSED: tl.constexpr, IS_REVERSED: tl.constexpr,
    HAS_FEATURIZER: tl.constexpr, HAS_Q: tl.constexpr, HAS_V: tl.constexpr, HAS_SKIP: tl.constexpr,
    HAS_BIAS: tl.constexpr, HAS_TAPS: tl.constexpr, T: tl.constexpr,
):  # fmt: skip
    """Write the gradients of a stretch of ``8 T n_blocks`` tokens of one channel, and what it adds to the filters'.

    Grid: batch x channels x stretches. Of ``sums`` each program writes a row: K of the taps, skip, bias, F of each
    stream's featurizer (that of the current input first). Without taps (K is 1 then) ``dy`` is the gradient of m
    itself: the gates and featurizers of k and v alone, 10 bytes an element.
    """
    signal = tl.program_id(0) // n_places
    stretch = tl.program_id(0) % n_places
    b = signal // channels
    d = signal % channels
    FIRST: tl.constexpr = 9 - K
    x_row = b.to(tl.int64) * x_batch + d.to(tl.int64) * x_channel
    k_row = k_ptr + x_row
    v_row = v_ptr + x_row
    q_row = q_ptr + x_row
    dy_row = dy_ptr + b.to(tl.int64) * dy_batch + d.to(tl.int64) * dy_channel
    dx_row = b.to(tl.int64) * dx_batch + d.to(tl.int64) * dx_channel
    dk_row = dk_ptr + dx_row
    dv_row = dv_ptr + dx_row
    dq_row = dq_ptr + dx_row
    row = d * row_channel
    if HAS_TAPS:
        taps = load_taps(h_ptr + (d // group_size) * K, K, IS_REVERSED, True)
    if HAS_FEATURIZER:
        if HAS_Q:
            q_taps = load_taps(featurizer_ptr + row * F, F, IS_FEATURIZER_REVERSED, True)
        k_taps = load_taps(featurizer_ptr + (row + row_stream) * F, F, IS_FEATURIZER_REVERSED, True)
        v_taps = load_taps(featurizer_ptr + (row + 2 * row_stream) * F, F, IS_FEATURIZER_REVERSED, True)
    skip = 0.0
    bias = 0.0
    if HAS_SKIP:
        skip = tl.load(skip_ptr + d).to(tl.float32)
    if HAS_BIAS:
        bias = tl.load(bias_ptr + d).to(tl.float32)

    # one accumulator a lane for each sum, in one tensor: summed over lanes at the end only
    N_SUMS: tl.constexpr = K + 2 + 3 * F
    sums = ()
    for _ in tl.static_range(N_SUMS):
        sums = sums + (tl.zeros((T,), tl.float32),)

    for block in range(n_blocks):
        t = (stretch * n_blocks + block) * (8 * T) + tl.arange(0, 8 * T)
        x = t.to(tl.int64)
        dy = split8(load_block(dy_row + x, t, seqlen, True), T)
        k = split8(load_block(k_row + x - 8, t - 8, seqlen, True), T)
        k = k + split8(load_block(k_row + x, t, seqlen, True), T)
        if HAS_FEATURIZER or K > 1:
            dy = dy + split8(load_block(dy_row + x + 8, t + 8, seqlen, True), T)
        if HAS_FEATURIZER:
            k = k + split8(load_block(k_row + x + 8, t + 8, seqlen, True), T)
        if HAS_V:
            v = split8(load_block(v_row + x - 8, t - 8, seqlen, True), T)
            v = v + split8(load_block(v_row + x, t, seqlen, True), T)
            if HAS_FEATURIZER:
                v = v + split8(load_block(v_row + x + 8, t + 8, seqlen, True), T)
        if HAS_Q:
            q = split8(load_block(q_row + x, t, seqlen, True), T)
            if HAS_FEATURIZER:
                q = split8(load_block(q_row + x - 8, t - 8, seqlen, True), T) + q
            if HAS_FEATURIZER or K > 1:
                q = q + split8(load_block(q_row + x + 8, t + 8, seqlen, True), T)

        # z of k and v and m = z_k z_v at window positions FIRST .. 14 + F (a window counts from 8 tokens before)
        zk = ()
        zv = ()
        m = ()
        for j in tl.static_range(FIRST, 15 + F):
            if HAS_FEATURIZER:
                one = fir_at(k, k_taps, j, F)
                other = fir_at(v, v_taps, j, F)
                zk = zk + (one,)
                zv = zv + (other,)
                m = m + (rounded(one * other, dy_ptr),)
            elif HAS_V:
                m = m + (rounded(k[j] * v[j], dy_ptr),)
            else:
                m = m + (k[j],)
        # gradient of the filtered signal, from the lane's own first token on
        df = ()
        for j in tl.static_range(F + K + 6):
            if HAS_Q and HAS_FEATURIZER:
                gate = fir_at(q, q_taps, j + 8, F)
                df = df + (dy[j] * gate,)
            elif HAS_Q:
                df = df + (dy[j] * q[j],)
            else:
                df = df + (dy[j],)
        dm = df
        if HAS_TAPS:
            dm = ()
            for j in tl.static_range(7 + F):
                dm = dm + (adjoint_fir_at(df, taps, j, K) + skip * df[j],)

        if HAS_Q:
            dzq = ()
            for j in tl.static_range(7 + F):
                filtered = fir_at(m, taps, j + K - 1, K) + skip * m[j + K - 1] + bias
                dzq = dzq + (dy[j] * filtered,)
            dq = ()
            for j in tl.static_range(8):
                if HAS_FEATURIZER:
                    dq = dq + (adjoint_fir_at(dzq, q_taps, j, F),)
                else:
                    dq = dq + (dzq[j],)
            tl.store(dq_row + x, join8(dq, T).to(dq_ptr.dtype.element_ty), mask=t < seqlen)
        if HAS_FEATURIZER:
            dzk = ()
            dzv = ()
            for j in tl.static_range(7 + F):
                dzk = dzk + (dm[j] * zv[j + K - 1],)
                dzv = dzv + (dm[j] * zk[j + K - 1],)
        dk = ()
        dv = ()
        for j in tl.static_range(8):
            if HAS_FEATURIZER:
                dk = dk + (adjoint_fir_at(dzk, k_taps, j, F),)
                dv = dv + (adjoint_fir_at(dzv, v_taps, j, F),)
            elif HAS_V:
                dk = dk + (dm[j] * v[j + 8],)
                dv = dv + (dm[j] * k[j + 8],)
            else:
                dk = dk + (dm[j],)
        tl.store(dk_row + x, join8(dk, T).to(dk_ptr.dtype.element_ty), mask=t < seqlen)
        if HAS_V:
            tl.store(dv_row + x, join8(dv, T).to(dv_ptr.dtype.element_ty), mask=t < seqlen)

        grown = ()
        for i in tl.static_range(K):
            total = sums[i]
            if HAS_TAPS:
                for j in tl.static_range(8):
                    total += df[j] * m[j + K - 1 - i]
            grown = grown + (total,)
        total = sums[K]
        of_bias = sums[K + 1]
        if HAS_TAPS:
            for j in tl.static_range(8):
                total += df[j] * m[j + K - 1]
                of_bias += df[j]
        grown = grown + (total, of_bias)
        for i in tl.static_range(F):
            total = sums[K + 2 + i]
            if HAS_Q and HAS_FEATURIZER:
                for j in tl.static_range(8):
                    total += dzq[j] * q[j + 8 - i]
            grown = grown + (total,)
        for i in tl.static_range(F):
            total = sums[K + 2 + F + i]
            if HAS_FEATURIZER:
                for j in tl.static_range(8):
                    total += dzk[j] * k[j + 8 - i]
            grown = grown + (total,)
        for i in tl.static_range(F):
            total = sums[K + 2 + 2 * F + i]
            if HAS_FEATURIZER:
                for j in tl.static_range(8):
                    total += dzv[j] * v[j + 8 - i]
            grown = grown + (total,)
        sums = grown

    place = tl.program_id(0).to(tl.int64) * N_SUMS
    for i in tl.static_range(N_SUMS):
        tl.store(sums_ptr + place + i, tl.sum(sums[i], 0))
