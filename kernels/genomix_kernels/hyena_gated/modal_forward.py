"""Gated modal filters on tensor cores, forward; see `modal_tiles` for the algebra."""

import triton
import triton.language as tl

from genomix_kernels.hyena_gated.modal_tiles import (
    in_two,
    in_two_bf16,
    modes_of,
    plus_states,
    states_before_rows,
    times,
    toeplitz,
)
from genomix_kernels.triton_tiles import (
    fir_at,
    join8,
    load_taps,
    rounded,
    split8,
    tokens_before,
)


@triton.jit
def _load_tile(
    k_row, v_row, q_row, first, seqlen, M: tl.constexpr, C: tl.constexpr, NS: tl.constexpr, HAS_V: tl.constexpr,
    HAS_Q: tl.constexpr,
):  # fmt: skip
    """Return the chunks of a tile of each stream as they lie in memory.

    An input without a gate is loaded as the matrix that it is multiplied as: it can go to shared memory directly.
    """
    k = ()
    v = ()
    q = ()
    place = tl.arange(0, M * C)
    within = place // C * (NS * C) + place % C
    matrix = tl.arange(0, M)[:, None] * (NS * C) + tl.arange(0, C)[None, :]
    for s in tl.static_range(NS):
        t = first + s * C + within
        if HAS_V:
            k = k + (tl.load(k_row + t, mask=t < seqlen, other=0.0),)
            v = v + (tl.load(v_row + t, mask=t < seqlen, other=0.0),)
        else:
            of_matrix = first + s * C + matrix
            k = k + (tl.load(k_row + of_matrix, mask=of_matrix < seqlen, other=0.0),)
        if HAS_Q:
            q = q + (tl.load(q_row + t, mask=t < seqlen, other=0.0),)
    return k, v, q


@triton.jit
def modal_forward_kernel(
    q_ptr, k_ptr, v_ptr, y_ptr, featurizer_ptr, a_ptr, r_ptr, skip_ptr, tail_ptr, start_ptr, final_ptr, saved_ptr,
    channels, seqlen, n_splits, n_tiles, n_saved,
    q_batch, q_channel, k_batch, k_channel, v_batch, v_channel, row_stream, row_channel,
    F: tl.constexpr, W: tl.constexpr, N_MODES: tl.constexpr, N: tl.constexpr, IS_FEATURIZER_REVERSED: tl.constexpr,
    HAS_FEATURIZER: tl.constexpr, HAS_Q: tl.constexpr, HAS_V: tl.constexpr, HAS_SKIP: tl.constexpr,
    HAS_TAIL: tl.constexpr, HAS_START: tl.constexpr, HAS_FINAL: tl.constexpr, IS_WHOLE: tl.constexpr,
    HAS_SAVED: tl.constexpr, SAVED_ROWS: tl.constexpr, ROUNDS: tl.constexpr, IS_SPLIT: tl.constexpr,
    IN_BF16: tl.constexpr, M: tl.constexpr, C: tl.constexpr, NS: tl.constexpr, PRECISION: tl.constexpr,
    STAGES: tl.constexpr, PREFETCHES: tl.constexpr,
):  # fmt: skip
    """Write ``n_tiles`` tiles of one channel. Grid: batch x channels x splits.

    ``final`` gets the state after the last token, or, if the last tile is not whole, the state before that tile.
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
    y_row = y_ptr + row.to(tl.int64) * seqlen
    stream_row = d * row_channel
    tails = tail_ptr + (b * 3 * channels + stream_row).to(tl.int64) * (F - 1)
    stream = row_stream * (F - 1)
    if HAS_FEATURIZER:
        q_taps = load_taps(featurizer_ptr + stream_row * F, F, IS_FEATURIZER_REVERSED, True)
        k_taps = load_taps(featurizer_ptr + (stream_row + row_stream) * F, F, IS_FEATURIZER_REVERSED, True)
        v_taps = load_taps(
            featurizer_ptr + (stream_row + 2 * row_stream) * F, F, IS_FEATURIZER_REVERSED, True
        )
    skip = 0.0
    if HAS_SKIP:
        skip = tl.load(skip_ptr + d).to(tl.float32)

    ahead_k = ()
    ahead_v = ()
    ahead_q = ()
    if PREFETCHES:
        ahead_k, ahead_v, ahead_q = _load_tile(
            k_row, v_row, q_row, split * n_tiles * TILE, seqlen, M, C, NS, HAS_V, HAS_Q
        )
    n = tl.arange(0, N)
    is_mode = n < N_MODES
    a, r, a_column, r_column = modes_of(a_ptr, r_ptr, d, N_MODES, N)
    # a skip term of its own is needed only where the filtered part is rounded first
    t_high, t_low = in_two(toeplitz(a, r, 0.0 if ROUNDS else skip, C, False), y_ptr)
    j = tl.arange(0, C).to(tl.float32)
    v_high, v_low = in_two(tl.exp(a[None, :] * (C - 1 - j)[:, None]), y_ptr)
    e_table = r_column * tl.exp(a_column * (j + 1)[None, :])
    e_high, e_low = in_two_bf16(e_table)
    rows = tl.arange(0, M).to(tl.float32)[:, None]
    decay = tl.exp(a * C)
    row_decay = tl.exp(a * (NS * C))
    to_end = tl.exp(a[None, :] * (NS * C * (M - 1 - rows)))
    whole = tl.exp(a * TILE)
    state = tl.zeros((N,), tl.float32)
    if HAS_START:
        place = (row * n_splits + split).to(tl.int64) * N_MODES
        state = tl.load(start_ptr + place + n, mask=is_mode, other=0.0)

    all_tiles = tl.cdiv(seqlen, TILE)
    place = tl.arange(0, M * C)
    within = place // C * (NS * C) + place % C
    lane_within = tl.arange(0, T) // (C // 8) * (NS * C) + tl.arange(0, T) % (C // 8) * 8
    for index in tl.range(0, n_tiles, num_stages=STAGES):
        tile_index = split * n_tiles + index
        if PREFETCHES:  # the next tile is on its way while this one is computed
            raw_k = ahead_k
            raw_v = ahead_v
            raw_q = ahead_q
            ahead_k, ahead_v, ahead_q = _load_tile(
                k_row, v_row, q_row, (tile_index + 1) * TILE, seqlen, M, C, NS, HAS_V, HAS_Q
            )
        else:
            raw_k, raw_v, raw_q = _load_tile(
                k_row, v_row, q_row, tile_index * TILE, seqlen, M, C, NS, HAS_V, HAS_Q
            )
        before_k = ()
        before_v = ()
        before_q = ()
        if HAS_FEATURIZER:
            for s in tl.static_range(NS):
                lane_t = tile_index * TILE + s * C + lane_within
                before_k = before_k + (
                    tokens_before(k_row, lane_t, seqlen, True, tails + stream, T, F, W, HAS_TAIL),
                )
                before_v = before_v + (
                    tokens_before(v_row, lane_t, seqlen, True, tails + 2 * stream, T, F, W, HAS_TAIL),
                )
                before_q = before_q + (tokens_before(q_row, lane_t, seqlen, True, tails, T, F, W, HAS_TAIL),)
        tiles = ()
        added = ()
        for s in tl.static_range(NS):
            if HAS_V:
                k = split8(raw_k[s].to(tl.float32), T)
                v = split8(raw_v[s].to(tl.float32), T)
                if HAS_FEATURIZER:
                    k = before_k[s] + k
                    v = before_v[s] + v
                m = ()
                for i in tl.static_range(8):
                    if HAS_FEATURIZER:
                        m = m + (fir_at(k, k_taps, i + W, F) * fir_at(v, v_taps, i + W, F),)
                    else:
                        m = m + (k[i] * v[i],)
                tile = tl.reshape(join8(m, T).to(y_ptr.dtype.element_ty), (M, C))
            else:
                tile = raw_k[s]
            x = times(tile, v_high, v_low, IS_SPLIT, PRECISION)
            tiles = tiles + (tile,)
            added = added + (x,)
        total = added[0]
        for s in tl.static_range(1, NS):
            total = decay[None, :] * total + added[s]
        states = states_before_rows(total, row_decay, state, M, M, N)
        if HAS_SAVED:  # the state before every SAVED_ROWS rows, which are a tile of the backward pass
            which = tile_index * (M // SAVED_ROWS) + tl.arange(0, M) // SAVED_ROWS
            is_saved = (tl.arange(0, M) % SAVED_ROWS == 0) & (which < n_saved)
            place_saved = (row * n_saved + which).to(tl.int64) * N_MODES
            tl.store(
                saved_ptr + place_saved[:, None] + n[None, :],
                states,
                mask=is_saved[:, None] & is_mode[None, :],
            )
        if HAS_FINAL and not IS_WHOLE:  # from here the tokens of the last, incomplete tile remain to be added
            is_last = is_mode & (tile_index + tl.zeros_like(n) == all_tiles - 1)
            tl.store(final_ptr + row.to(tl.int64) * N_MODES + n, state, mask=is_last)
        state = whole * state + tl.sum(to_end * total, 0)

        for s in tl.static_range(NS):
            t = tile_index * TILE + s * C + within
            y = times(tiles[s], t_high, t_low, IS_SPLIT, PRECISION)
            y = plus_states(y, states, e_table, e_high, e_low, IN_BF16, "tf32x3")
            if s < NS - 1:
                states = decay[None, :] * states + added[s]

            if HAS_Q or ROUNDS:
                filtered = split8(tl.reshape(y, (M * C,)), T)
                if HAS_Q:
                    q = split8(raw_q[s].to(tl.float32), T)
                    if HAS_FEATURIZER:
                        q = before_q[s] + q
                if ROUNDS:
                    m = split8(tl.reshape(tiles[s], (M * C,)).to(tl.float32), T)
                outputs = ()
                for i in tl.static_range(8):
                    out = filtered[i]
                    if ROUNDS:
                        out = rounded(out, y_ptr) + skip * m[i]
                    if HAS_FEATURIZER:
                        out *= fir_at(q, q_taps, i + W, F)
                    elif HAS_Q:
                        out *= q[i]
                    outputs = outputs + (out,)
                flat = join8(outputs, T).to(y_ptr.dtype.element_ty)
                tl.store(y_row + t, flat, mask=t < seqlen)
            else:
                of_matrix = (
                    tile_index * TILE + s * C + tl.arange(0, M)[:, None] * (NS * C) + tl.arange(0, C)[None, :]
                )
                tl.store(y_row + of_matrix, y.to(y_ptr.dtype.element_ty), mask=of_matrix < seqlen)

    if HAS_FINAL and IS_WHOLE:
        is_last = is_mode & (split + tl.zeros_like(n) == n_splits - 1)
        tl.store(final_ptr + row.to(tl.int64) * N_MODES + n, state, mask=is_last)
