"""`hyena_step` as one launch: each program takes a block of channels of one batch row from projections to output.

A step moves little (the tails of a Hyena-MR block are 1 MB in and 1 MB out for 4096 channels) and is over in about the
time of one trip to memory, if there is only one: every load of a program stands before its only barrier, every store
behind it. The barrier is there because tails are shifted in place: what one thread stores, its neighbour has to have
read. No other program touches the same channels of the same row.

A tail and the input that follows it are one window, oldest input first: ``window[j] = tail[j]`` for ``j < K - 1`` and
``window[K - 1]`` the new input. The filter is the product with the taps in cross-correlation order, and the new tail is
the same window, stored one place further down.
"""

# Triton's types are no types of Python's
# mypy: disable-error-code="no-untyped-def, untyped-decorator"

from typing import Any

import torch
import triton
import triton.language as tl
from jaxtyping import Float
from torch import Tensor

from genomix_kernels.hyena_gated.filters import HyenaState, Modes, Taps
from genomix_kernels.triton_support import launched_on, next_power_of_two

BLOCK_D = 16
"""Channels a program. 4096 channels make 256 programs: every multiprocessor of an H200 (132) has work at batch 1, and
16 rows of 127 taps are 16 loads a thread with 4 warps, all in flight together."""

ELEMENTS_PER_WARP = 128
MAX_WARPS = 4


@triton.jit
def _stream_offsets(d, D, STREAM: tl.constexpr, IS_INTERLEAVED: tl.constexpr):
    """Return where the channels ``d`` of a stream (0: q, 1: k, 2: v) stand among the 3 D projections."""
    if IS_INTERLEAVED:
        return 3 * d + STREAM
    else:
        return STREAM * D + d


@triton.jit
def _load_tail(tail_ptr, c, j, is_channel, K: tl.constexpr):
    """Return ``(channels, places)``: the tails of channels ``c``, and zero in the places after them."""
    is_old = is_channel[:, None] & (j < K - 1)[None, :]
    return tl.load(tail_ptr + c[:, None] * (K - 1) + j[None, :], mask=is_old, other=0.0)


@triton.jit
def _load_window(tail_ptr, new_ptr, stride_new, c, j, is_channel, K: tl.constexpr):
    """Return the tails with the new inputs in place ``K - 1``, loaded there: no values change threads."""
    is_new = (j == K - 1)[None, :]
    new = tl.load(
        new_ptr + c[:, None] * stride_new + 0 * j[None, :], mask=is_channel[:, None] & is_new, other=0.0
    )
    return tl.where(is_new, new, _load_tail(tail_ptr, c, j, is_channel, K))


@triton.jit
def _store_tail(tail_ptr, window, c, j, is_channel, END: tl.constexpr, K: tl.constexpr):
    """Store places 1 to ``END - 1`` of a window one place further down: the tail for the next step."""
    is_kept = is_channel[:, None] & ((j >= 1) & (j < END))[None, :]
    tl.store(tail_ptr + c[:, None] * (K - 1) + (j - 1)[None, :], window, mask=is_kept)


@triton.jit
def _load_taps(h_ptr, row, j, is_channel, K: tl.constexpr, IS_REVERSED: tl.constexpr):
    """Return ``(channels, places)``: rows of taps in the order of a window; ``IS_REVERSED`` if stored the other way."""
    place = K - 1 - j if IS_REVERSED else j
    is_tap = is_channel[:, None] & (j < K)[None, :]
    return tl.load(h_ptr + row[:, None] * K + place[None, :], mask=is_tap, other=0.0).to(tl.float32)


@triton.jit
def hyena_step_kernel(
    p_ptr,
    featurizer_ptr,
    featurizer_tail_ptr,
    h_ptr,  # taps, or residues of modes
    log_poles_ptr,  # of modes only
    inner_ptr,  # the tail of taps, or the modes
    skip_ptr,
    y_ptr,
    D,
    stride_pb,
    stride_pc,
    featurizer_group,
    inner_group,
    F: tl.constexpr,
    K: tl.constexpr,
    PLACES_F: tl.constexpr,
    PLACES_K: tl.constexpr,
    IS_FEATURIZER_REVERSED: tl.constexpr,
    IS_INNER_REVERSED: tl.constexpr,
    IS_INTERLEAVED: tl.constexpr,
    IS_MODAL: tl.constexpr,
    HAS_SKIP: tl.constexpr,
    ROUNDS_BEFORE_SKIP: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """One token for ``BLOCK`` channels of one row; ``K`` counts taps or modes, ``PLACES`` are powers of two above."""
    b = tl.program_id(1)
    d = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    is_channel = d < D
    jf = tl.arange(0, PLACES_F)
    jk = tl.arange(0, PLACES_K)
    p_row = p_ptr + b.to(tl.int64) * stride_pb
    featurizer_tail_row = featurizer_tail_ptr + b.to(tl.int64) * 3 * D * (F - 1)

    # every load, then the barrier, then every store
    cq = _stream_offsets(d, D, 0, IS_INTERLEAVED)
    ck = _stream_offsets(d, D, 1, IS_INTERLEAVED)
    cv = _stream_offsets(d, D, 2, IS_INTERLEAVED)
    if IS_MODAL:
        inner_row = inner_ptr + b.to(tl.int64) * D * K
        is_mode = is_channel[:, None] & (jk < K)[None, :]
        at = d[:, None] * K + jk[None, :]
        past = tl.load(inner_row + at, mask=is_mode, other=0.0)
        h = tl.load(h_ptr + at, mask=is_mode, other=0.0)
        log_poles = tl.load(log_poles_ptr + at, mask=is_mode, other=0.0)
    else:
        inner_row = inner_ptr + b.to(tl.int64) * D * (K - 1)
        past = _load_tail(inner_row, d, jk, is_channel, K)
        h = _load_taps(h_ptr, d // inner_group, jk, is_channel, K, IS_INNER_REVERSED)
        now = 0 if IS_INNER_REVERSED else K - 1
        h_now = tl.load(h_ptr + d // inner_group * K + now, mask=is_channel, other=0.0).to(tl.float32)
    wq = _load_window(featurizer_tail_row, p_row, stride_pc, cq, jf, is_channel, F)
    wk = _load_window(featurizer_tail_row, p_row, stride_pc, ck, jf, is_channel, F)
    wv = _load_window(featurizer_tail_row, p_row, stride_pc, cv, jf, is_channel, F)
    fq = _load_taps(featurizer_ptr, cq // featurizer_group, jf, is_channel, F, IS_FEATURIZER_REVERSED)
    fk = _load_taps(featurizer_ptr, ck // featurizer_group, jf, is_channel, F, IS_FEATURIZER_REVERSED)
    fv = _load_taps(featurizer_ptr, cv // featurizer_group, jf, is_channel, F, IS_FEATURIZER_REVERSED)
    if HAS_SKIP:
        skip = tl.load(skip_ptr + d, mask=is_channel, other=0.0).to(tl.float32)
    tl.debug_barrier()

    q = tl.sum(wq.to(tl.float32) * fq, axis=1)
    k = tl.sum(wk.to(tl.float32) * fk, axis=1)
    v = tl.sum(wv.to(tl.float32) * fv, axis=1)
    # whole sequences hand m to the tensor cores in the activations' dtype; a step rounds it alike
    rounded = (k * v).to(p_ptr.dtype.element_ty)
    m = rounded.to(tl.float32)
    if IS_MODAL:
        modes = tl.exp(log_poles) * past + m[:, None]
        y = tl.sum(h * modes, axis=1)
        tl.store(inner_row + at, modes, mask=is_mode)
    else:
        # m is summed and stored apart, where it stands: broadcast over places it would go through shared memory
        y = tl.sum(past.to(tl.float32) * h, axis=1) + h_now * m
        _store_tail(inner_row, past, d, jk, is_channel, K - 1, K)
        if K > 1:
            tl.store(inner_row + d * (K - 1) + (K - 2), rounded, mask=is_channel)
    _store_tail(featurizer_tail_row, wq, cq, jf, is_channel, F, F)
    _store_tail(featurizer_tail_row, wk, ck, jf, is_channel, F, F)
    _store_tail(featurizer_tail_row, wv, cv, jf, is_channel, F, F)
    if ROUNDS_BEFORE_SKIP:
        y = y.to(p_ptr.dtype.element_ty).to(tl.float32)
    if HAS_SKIP:
        y += skip * m
    tl.store(y_ptr + b.to(tl.int64) * D + d, q * y, mask=is_channel)


def hyena_step_triton(
    p: Float[Tensor, "B C"],
    featurizer: Taps,
    inner: Taps | Modes,
    state: HyenaState,
    is_interleaved: bool,
) -> Float[Tensor, "B D"]:
    """As `hyena_step`; all but ``p`` must be contiguous, see `supports` there."""
    batch, channels = p.shape[0], p.shape[1] // 3
    y = torch.empty(batch, channels, device=p.device, dtype=p.dtype)
    arguments: dict[str, Any] = _modal(inner) if isinstance(inner, Modes) else _taps(inner, channels)
    places = arguments["PLACES_K"]
    n_taps = featurizer.h.shape[1]
    with launched_on(p):
        hyena_step_kernel[(triton.cdiv(channels, BLOCK_D), batch)](
            p_ptr=p,
            featurizer_ptr=featurizer.h,
            featurizer_tail_ptr=state.featurizer,
            inner_ptr=state.inner,
            skip_ptr=p if inner.skip is None else inner.skip,
            y_ptr=y,
            D=channels,
            stride_pb=p.stride(0),
            stride_pc=p.stride(1),
            featurizer_group=3 * channels // featurizer.h.shape[0],
            F=n_taps,
            PLACES_F=next_power_of_two(n_taps),
            IS_FEATURIZER_REVERSED=featurizer.order == "convolution",
            IS_INTERLEAVED=is_interleaved,
            HAS_SKIP=inner.skip is not None,
            BLOCK=BLOCK_D,
            num_warps=min(MAX_WARPS, max(1, BLOCK_D * places // ELEMENTS_PER_WARP)),
            **arguments,
        )
    return y


def _taps(inner: Taps, channels: int) -> dict[str, Any]:
    n_groups, n_taps = inner.h.shape
    return {
        "h_ptr": inner.h,
        "log_poles_ptr": inner.h,  # not read
        "inner_group": channels // n_groups,
        "K": n_taps,
        "PLACES_K": next_power_of_two(n_taps),
        "IS_INNER_REVERSED": inner.order == "convolution",
        "IS_MODAL": False,
        "ROUNDS_BEFORE_SKIP": False,
    }


def _modal(inner: Modes) -> dict[str, Any]:
    n_modes = inner.log_poles.shape[1]
    return {
        "h_ptr": inner.residues,
        "log_poles_ptr": inner.log_poles,
        "inner_group": 1,
        "K": n_modes,
        "PLACES_K": next_power_of_two(n_modes),
        "IS_INNER_REVERSED": False,
        "IS_MODAL": True,
        "ROUNDS_BEFORE_SKIP": inner.rounds_before_skip,
    }
