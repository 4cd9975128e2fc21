"""What splits of a long sequence add to its states, and the chain of them, where channels are too few to fill a GPU.

A first pass reads the inputs of each split for what they add to the state after it (backward: to the gradient of the
state before it); a chain over the splits then gives each the state that it starts from.
"""

import triton
import triton.language as tl

from genomix_kernels.hyena_gated.modal_tiles import times
from genomix_kernels.triton_tiles import (
    fir_at,
    high_part,
    join8,
    load_block,
    load_taps,
    low_part,
    split8,
    tokens_before,
)


@triton.jit
def modal_states_kernel(
    x_ptr, gate_ptr, out_ptr, featurizer_ptr, a_ptr, r_ptr, tail_ptr,
    channels, seqlen, n_splits, n_tiles,
    x_batch, x_channel, gate_batch, gate_channel, row_stream, row_channel, gate_stream,
    F: tl.constexpr, W: tl.constexpr, N_MODES: tl.constexpr, N: tl.constexpr, IS_FEATURIZER_REVERSED: tl.constexpr,
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
        lane_t = tile_index * (M * C) + 8 * tl.arange(0, T)
        x = split8(load_block(x_row + t, t, seqlen, True), T)
        if HAS_X_FEATURIZER:
            x = (
                tokens_before(x_row, lane_t, seqlen, True, tails + row_stream * (F - 1), T, F, W, HAS_TAIL)
                + x
            )
        if HAS_GATE:
            gate = split8(load_block(gate_row + t, t, seqlen, True), T)
            if HAS_GATE_FEATURIZER:
                gate_tails = tails + gate_stream * row_stream * (F - 1)
                gate = tokens_before(gate_row, lane_t, seqlen, True, gate_tails, T, F, W, HAS_TAIL) + gate
        m = ()
        for i in tl.static_range(8):
            one = x[i]
            if HAS_X_FEATURIZER:
                one = fir_at(x, x_taps, i + W, F)
            if HAS_GATE_FEATURIZER:
                one = one * fir_at(gate, gate_taps, i + W, F)
            elif HAS_GATE:
                one = one * gate[i]
            m = m + (one,)
        tile = tl.reshape(join8(m, T), (M, C)).to(like_ptr.dtype.element_ty)
        total = whole * total + tl.sum(weights * times(tile, high, low, IS_SPLIT, PRECISION), 0)
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
