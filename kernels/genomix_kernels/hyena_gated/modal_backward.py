"""Gated modal filters on tensor cores, backward.

With the gradient F of the filtered signal and the gradient A of the state after a chunk (for the rest see
`modal_tiles`):

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
    in_two_bf16,
    modes_of,
    plus_states,
    rows_there,
    states_before_rows,
    times,
    toeplitz,
)
from genomix_kernels.triton_tiles import diagonal_sums


@triton.jit
def modal_backward_kernel(
    q_ptr, k_ptr, v_ptr, dy_ptr, dq_ptr, dk_ptr, dv_ptr, a_ptr, r_ptr, skip_ptr, saved_ptr, end_ptr,
    dstart_ptr, da_ptr, dr_ptr, dskip_ptr,
    channels, seqlen, n_splits, n_tiles,
    q_batch, q_channel, k_batch, k_channel, v_batch, v_channel, dy_batch, dy_channel,
    dq_batch, dq_channel, dk_batch, dk_channel, dv_batch, dv_channel,
    N_MODES: tl.constexpr, N: tl.constexpr, HAS_Q: tl.constexpr, HAS_V: tl.constexpr, HAS_SKIP: tl.constexpr,
    HAS_END: tl.constexpr, IS_SPLIT: tl.constexpr, IN_BF16: tl.constexpr, M: tl.constexpr,
    C: tl.constexpr, NS: tl.constexpr, PRECISION: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """Write the gradients of one channel's streams, and its split's part of those of poles, residues and skip.

    Grid: batch x channels x splits.
    """
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
        e_high, e_low = in_two_bf16(e_table)
    v_table = tl.exp(a[None, :] * (C - 1 - j)[:, None])
    v_high, v_low = in_two(v_table, dy_ptr)
    v_lag_high, v_lag_low = in_two((C - 1 - j)[:, None] * v_table, dy_ptr)
    v_rows = tl.exp(a_column * (C - 1 - j)[None, :])
    v_rows_high, v_rows_low = in_two_bf16(v_rows)
    p_table = tl.exp(a[None, :] * (j + 1)[:, None])
    p_high, p_low = in_two(p_table, dy_ptr)
    p_lag_high, p_lag_low = in_two((j + 1)[:, None] * p_table, dy_ptr)
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
    all_tiles = tl.cdiv(seqlen, TILE)
    within = tl.arange(0, M)[:, None] * (NS * C) + tl.arange(0, C)[None, :]
    for back in tl.range(0, n_tiles, num_stages=STAGES):
        tile_index = split * n_tiles + n_tiles - 1 - back
        tiles = ()
        grads = ()
        added = ()
        pulled = ()
        for s in tl.static_range(NS):
            t = tile_index * TILE + s * C + within
            grad = tl.load(dy_row + t, mask=t < seqlen, other=0.0)
            if HAS_Q:
                q = tl.load(q_row + t, mask=t < seqlen, other=0.0)
                grad = (grad.to(tl.float32) * q.to(tl.float32)).to(dy_ptr.dtype.element_ty)
            tile = tl.load(k_row + t, mask=t < seqlen, other=0.0)
            if HAS_V:
                v = tl.load(v_row + t, mask=t < seqlen, other=0.0)
                tile = (tile.to(tl.float32) * v.to(tl.float32)).to(dy_ptr.dtype.element_ty)
            grads = grads + (grad,)
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
        n_rows = rows_there(tile_index * TILE, seqlen, NS * C)
        row_states = states_before_rows(total, row_decay, state, n_rows, M, N)
        afters = gradients_after_rows(back_total, row_decay, later, n_rows, M, N)
        # beyond the sequence the weights may be infinite, and there is nothing that they weigh
        later = tl.where(later == 0.0, 0.0, whole * later)
        later += tl.sum(tl.where(rows < n_rows, from_start * back_total, 0.0), 0)
        states = (row_states,)
        for s in tl.static_range(1, NS):
            states = states + (decay[None, :] * states[s - 1] + added[s - 1],)

        for s in tl.static_range(NS - 1, -1, -1):
            t = tile_index * TILE + s * C + within
            is_there = t < seqlen
            dr += states[s] * pulled[s]
            lagged = times(grads[s], p_lag_high, p_lag_low, IS_SPLIT, PRECISION)
            moved = C * decay[None, :] * states[s] + times(
                tiles[s], v_lag_high, v_lag_low, IS_SPLIT, PRECISION
            )
            da += r[None, :] * states[s] * lagged + afters * moved
            g = tl.dot(tl.trans(tiles[s]), grads[s], g, input_precision=PRECISION)
            if HAS_Q:
                y = times(tiles[s], t_high, t_low, IS_SPLIT, PRECISION)
                y = plus_states(y, states[s], e_table, e_high, e_low, IN_BF16, "tf32x3")
                dq = y * tl.load(dy_row + t, mask=is_there, other=0.0).to(tl.float32)
                tl.store(dq_row + t, dq.to(dq_ptr.dtype.element_ty), mask=is_there)

            dm = times(grads[s], back_high, back_low, IS_SPLIT, PRECISION)
            dm = plus_states(dm, afters, v_rows, v_rows_high, v_rows_low, IN_BF16, "tf32x3")
            if s > 0:
                afters = decay[None, :] * afters + r[None, :] * pulled[s]
            if HAS_V:
                v = tl.load(v_row + t, mask=is_there, other=0.0).to(tl.float32)
                dv = dm * tl.load(k_row + t, mask=is_there, other=0.0).to(tl.float32)
                tl.store(dv_row + t, dv.to(dv_ptr.dtype.element_ty), mask=is_there)
                dm = dm * v
            tl.store(dk_row + t, dm.to(dk_ptr.dtype.element_ty), mask=is_there)

    of_lag, _ = diagonal_sums(g, C)
    lag = tl.arange(0, C).to(tl.float32)[:, None]
    reach = of_lag[:, None] * tl.exp(a[None, :] * lag)
    program = tl.program_id(0).to(tl.int64)
    total_a = tl.sum(da, 0) + r * tl.sum(lag * reach, 0)
    total_r = tl.sum(dr, 0) + tl.sum(reach, 0)
    tl.store(da_ptr + program * N_MODES + n, total_a, mask=is_mode)
    tl.store(dr_ptr + program * N_MODES + n, total_r, mask=is_mode)
    tl.store(dstart_ptr + program * N_MODES + n, later, mask=is_mode)
    tl.store(dskip_ptr + program, tl.sum(tl.where(tl.arange(0, C) == 0, of_lag, 0.0), 0))
