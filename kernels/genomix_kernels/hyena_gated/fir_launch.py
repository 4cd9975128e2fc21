"""Launches of the gated filters with taps: which kernel, which grid, and the sums over what its programs leave."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import triton
from torch import Tensor

from genomix_kernels.hyena_gated.blocked_backward import blocked_backward_kv_kernel, blocked_backward_q_kernel
from genomix_kernels.hyena_gated.blocked_forward import blocked_forward_kernel
from genomix_kernels.hyena_gated.filters import HyenaState, Taps
from genomix_kernels.hyena_gated.short_kernels import REACH, short_backward_kernel, short_forward_kernel

LONGEST = 256
"""Taps that the kernel of medium lengths takes: it carries the sums of at most four later chunks."""

ROWS = 64
FORWARD_BLOCKS = 8
"""Blocks of 1024 tokens that a program of the short kernel takes in turn, with its taps in registers."""

ENOUGH_PROGRAMS = 1024
"""Long stretches waste less at their ends; as many programs as this keep a large GPU busy."""


class Streams(NamedTuple):
    """The signals of a gated filter ``q (h * (k v))``, each ``(B, D, L)`` with unit stride along L; q and v may lack."""

    q: Tensor | None
    k: Tensor
    v: Tensor | None


@dataclass(frozen=True, kw_only=True)
class FirGradients:
    """Gradients of a gated filter's parameters, in fp32; those of the streams are written to tensors given."""

    h: Tensor
    skip: Tensor
    bias: Tensor
    featurizer: Tensor | None


def streams_of(p: Tensor, is_interleaved: bool) -> tuple[Streams, tuple[int, int]]:
    """Return q, k, v as views of the projections, and how far apart streams and channels lie in rows of ``p``."""
    channels = p.shape[1] // 3
    if is_interleaved:
        q, k, v = p.unflatten(1, (channels, 3)).unbind(2)
        return Streams(q, k, v), (1, 3)
    q, k, v = p.unflatten(1, (3, channels)).unbind(1)
    return Streams(q, k, v), (channels, 1)


def fir_forward(
    streams: Streams,
    featurizer: Taps | None,
    inner: Taps,
    bias: Tensor | None,
    state: HyenaState | None,
    rows: tuple[int, int] = (0, 0),
) -> Tensor:
    """Return ``q (h * m + skip m + bias)`` of the featurized streams, ``(B, D, L)``."""
    streams = _alike(streams)
    k = streams.k
    batch, channels, seqlen = k.shape
    y = torch.empty(batch, channels, seqlen, device=k.device, dtype=k.dtype)
    common = _common(streams, featurizer, inner, bias)
    pointers = dict(
        q_ptr=_or(streams.q, k), k_ptr=k, v_ptr=_or(streams.v, k), y_ptr=y,
        featurizer_ptr=k if featurizer is None else featurizer.h, h_ptr=inner.h, skip_ptr=_or(inner.skip, k),
        bias_ptr=_or(bias, k), tail_ptr=k if state is None or featurizer is None else state.featurizer,
        inner_ptr=k if state is None else state.inner, channels=channels, seqlen=seqlen,
        group_size=channels // inner.h.shape[0], x_batch=k.stride(0), x_channel=k.stride(1), row_stream=rows[0], row_channel=rows[1],
        HAS_STATE=state is not None,
    )  # fmt: skip
    if is_short(featurizer, inner):
        lanes = _lanes(seqlen)
        blocks = triton.cdiv(seqlen, 8 * lanes)
        n_blocks = max(1, min(FORWARD_BLOCKS, blocks * batch * channels // (8 * ENOUGH_PROGRAMS), blocks))
        n_places = triton.cdiv(blocks, n_blocks)
        short_forward_kernel[(batch * channels * n_places,)](
            **pointers, **common, n_places=n_places, n_blocks=n_blocks, T=lanes, num_warps=max(lanes // 32, 1)
        )
        return y
    plan = _plan(k, inner, _tuning("forward", streams))
    blocked_forward_kernel[plan.grid](**pointers, **common, **plan.arguments, W=reach_of(featurizer))
    return y


def fir_backward(
    streams: Streams,
    featurizer: Taps | None,
    inner: Taps,
    bias: Tensor | None,
    dy: Tensor,
    d_streams: Streams,
    rows: tuple[int, int] = (0, 0),
) -> FirGradients:
    """Write the gradients of the streams, and return those of the parameters."""
    streams = _alike(streams)
    k = streams.k
    assert all(x is None or x.stride() == d_streams.k.stride() for x in d_streams), "gradients differ in strides"
    batch, channels, seqlen = k.shape
    n_taps = inner.h.shape[1]
    n_featurizer = 1 if featurizer is None else featurizer.h.shape[1]
    common = _common(streams, featurizer, inner, bias)
    pointers: dict[str, Any] = dict(
        q_ptr=_or(streams.q, k), k_ptr=k, v_ptr=_or(streams.v, k), dy_ptr=dy,
        featurizer_ptr=k if featurizer is None else featurizer.h, h_ptr=inner.h, skip_ptr=_or(inner.skip, k),
        channels=channels, seqlen=seqlen, group_size=channels // inner.h.shape[0], x_batch=k.stride(0), x_channel=k.stride(1),
        dy_batch=dy.stride(0), dy_channel=dy.stride(1), row_stream=rows[0], row_channel=rows[1],
    )  # fmt: skip
    pointers |= dict(dx_batch=d_streams.k.stride(0), dx_channel=d_streams.k.stride(1))
    outputs = dict(dk_ptr=d_streams.k, dv_ptr=_or(d_streams.v, d_streams.k))
    of_q = dict(dq_ptr=_or(d_streams.q, d_streams.k))
    if is_short(featurizer, inner):
        lanes = min(_lanes(seqlen), 128)
        blocks = triton.cdiv(seqlen, 8 * lanes)
        n_blocks = max(1, min(16, blocks * batch * channels // (4 * ENOUGH_PROGRAMS), blocks))
        n_places = triton.cdiv(blocks, n_blocks)
        n_sums = n_taps + 2 + 3 * n_featurizer
        sums = torch.empty(batch, channels, n_places, n_sums, device=k.device, dtype=torch.float32)
        short_backward_kernel[(batch * channels * n_places,)](
            **pointers, **outputs, **of_q, **common, sums_ptr=sums, bias_ptr=_or(bias, k), n_places=n_places,
            n_blocks=n_blocks, T=lanes, num_warps=max(lanes // 32, 1),
        )  # fmt: skip
        each = sums.sum((0, 2))  # (D, n_sums)
        dh, d_skip, d_bias, d_featurizer = each.split([n_taps, 1, 1, 3 * n_featurizer], dim=1)
        d_featurizer = d_featurizer.reshape(channels, 3, n_featurizer)
        dh = dh.reshape(inner.h.shape[0], -1, n_taps).sum(1)
        return _gradients(dh, d_skip[:, 0], d_bias[:, 0], d_featurizer, featurizer, inner, rows)

    plan = _plan(k, inner, _tuning("backward_kv", streams))
    stretches = plan.grid[0] * (ROWS // plan.arguments["GP"])
    n_sums = 2 + 2 * n_featurizer
    programs = plan.grid[0] * plan.grid[1] * plan.grid[2]
    n_blocks = plan.arguments["NB"] + 1
    sums = torch.empty(batch, channels, stretches, n_sums, device=k.device, dtype=torch.float32)
    lags = torch.empty(programs, n_blocks, 2, plan.arguments["C"], device=k.device, dtype=torch.float32)
    has_bias = common.pop("HAS_BIAS")
    has_q = common.pop("HAS_Q")
    blocked_backward_kv_kernel[plan.grid](
        **pointers, **outputs, **common, HAS_Q=has_q, **plan.arguments, W=reach_of(featurizer), sums_ptr=sums, dh_ptr=lags,
        HAS_SUMS=featurizer is not None or inner.skip is not None or bias is not None,
    )  # fmt: skip
    per_channel = sums.sum(2).sum(0)
    d_featurizer = None
    if featurizer is not None:
        of_kv = per_channel[:, 2:].reshape(channels, 2, n_featurizer)
        d_featurizer = of_kv.new_zeros(channels, 3, n_featurizer)
        d_featurizer[:, 1:] = of_kv
    if has_q:
        q_plan = _plan(k, inner, _tuning("backward_q", streams))
        stretches = q_plan.grid[0] * (ROWS // q_plan.arguments["GP"])
        q_sums = torch.empty(batch, channels, stretches, n_featurizer, device=k.device, dtype=torch.float32)
        blocked_backward_q_kernel[q_plan.grid](
            **pointers, **of_q, **common, HAS_BIAS=has_bias, **q_plan.arguments, W=reach_of(featurizer),
            sums_ptr=q_sums, bias_ptr=_or(bias, k),
        )  # fmt: skip
        if d_featurizer is not None:
            d_featurizer[:, 0] = q_sums.sum(2).sum(0)
    # what program (batch, group and part, stretch) left, summed in a fixed order
    grouped = lags.reshape(batch, inner.h.shape[0], -1, n_blocks, 2, plan.arguments["C"]).sum((0, 2))
    at_or_after, before = grouped.unbind(2)  # lags b C + l, and (b - 1) C + l
    dh = at_or_after + torch.nn.functional.pad(before[:, 1:], (0, 0, 0, 1))
    dh = dh.reshape(inner.h.shape[0], -1)[:, :n_taps]
    return _gradients(dh, per_channel[:, 0], per_channel[:, 1], d_featurizer, featurizer, inner, rows)


def is_short(featurizer: Taps | None, inner: Taps) -> bool:
    """Return whether the kernel that holds everything in registers serves."""
    reach = inner.h.shape[1] - 1 + (0 if featurizer is None else featurizer.h.shape[1] - 1)
    return reach <= REACH


def reach_of(featurizer: Taps | None) -> int:
    """Return the tokens before its own that a lane loads for the featurizer: a power of two, for one aligned access."""
    return 1 if featurizer is None else triton.next_power_of_2(max(featurizer.h.shape[1] - 1, 1))


class _Plan(NamedTuple):
    grid: tuple[int, int, int]
    arguments: dict[str, Any]


class Tuning(NamedTuple):
    """Tokens of a chunk, chunks that are loaded at a time, stages of the pipeline of loads, warps of a program, registers."""

    chunk: int
    chunks: int
    stages: int
    warps: int
    registers: int | None = None


TUNING = {
    ("forward", False): Tuning(64, 1, 3, 4),
    ("forward", True): Tuning(64, 1, 1, 4),
    ("backward_kv", False): Tuning(64, 1, 1, 8),
    ("backward_kv", True): Tuning(64, 1, 1, 8),
    ("backward_q", True): Tuning(64, 1, 3, 4),
}
"""By kernel, and whether there are gates; measured on an H200 at 4096 channels and 65,536 tokens."""


def _tuning(kernel: str, streams: Streams) -> Tuning:
    return TUNING[kernel, streams.q is not None or streams.v is not None]


def _plan(signal: Tensor, inner: Taps, tuning: Tuning) -> _Plan:
    batch, channels, seqlen = signal.shape
    dtype = signal.dtype
    n_groups, n_taps = inner.h.shape
    group_size = channels // n_groups
    in_tile = min(triton.next_power_of_2(group_size), ROWS)
    n_parts = triton.cdiv(group_size, in_tile)
    stretches = ROWS // in_tile
    n_blocks = max(triton.cdiv(n_taps - 1, tuning.chunk), 1)
    tiles = triton.cdiv(seqlen, tuning.chunk * tuning.chunks)
    wanted = max(triton.cdiv(ENOUGH_PROGRAMS, n_groups * n_parts * batch), 1)
    least = triton.cdiv(8 * n_taps, tuning.chunk * tuning.chunks)
    n_tiles = min(max(triton.cdiv(tiles, wanted * stretches), least), triton.cdiv(tiles, stretches))
    grid = (triton.cdiv(tiles, n_tiles * stretches), n_groups * n_parts, batch)
    _fits_grid(grid)
    precision = "tf32x3" if dtype is torch.float32 else "ieee"
    return _Plan(grid, dict(
        n_parts=n_parts, n_tiles=n_tiles, NB=n_blocks, GP=in_tile, R=ROWS, C=tuning.chunk, NS=tuning.chunks,
        PRECISION=precision, STAGES=tuning.stages, num_warps=tuning.warps,
        maxnreg=tuning.registers,
    ))  # fmt: skip


def _common(streams: Streams, featurizer: Taps | None, inner: Taps, bias: Tensor | None) -> dict[str, Any]:
    return dict(
        F=1 if featurizer is None else featurizer.h.shape[1], K=inner.h.shape[1],
        IS_FEATURIZER_REVERSED=featurizer is not None and featurizer.order == "cross_correlation",
        IS_REVERSED=inner.order == "cross_correlation", HAS_FEATURIZER=featurizer is not None,
        HAS_Q=streams.q is not None, HAS_V=streams.v is not None, HAS_SKIP=inner.skip is not None,
        HAS_BIAS=bias is not None,
    )  # fmt: skip


def _alike(streams: Streams) -> Streams:
    """Return the streams with the same strides, so that kernels need only one offset for them."""
    if all(x is None or x.stride() == streams.k.stride() for x in streams):
        return streams
    return Streams(*(None if x is None else x.contiguous() for x in streams))  # type: ignore[arg-type]


def _or(tensor: Tensor | None, stand_in: Tensor) -> Tensor:
    return stand_in if tensor is None else tensor


def _lanes(seqlen: int) -> int:
    return min(max(triton.next_power_of_2(triton.cdiv(seqlen, 8)), 16), 128)


def _fits_grid(grid: tuple[int, ...]) -> None:
    assert max(grid[1:]) < 65_536, f"a grid of {grid} is beyond what CUDA launches"


def _gradients(
    dh: Tensor,
    d_skip: Tensor,
    d_bias: Tensor,
    d_featurizer: Tensor | None,
    featurizer: Taps | None,
    inner: Taps,
    rows: tuple[int, int],
) -> FirGradients:
    of_featurizer = None
    if featurizer is not None:
        assert d_featurizer is not None
        ordered = d_featurizer if featurizer.order == "convolution" else d_featurizer.flip(-1)  # (D, 3, F)
        is_interleaved = rows == (1, 3)
        of_featurizer = (ordered if is_interleaved else ordered.transpose(0, 1)).reshape(featurizer.h.shape)
    return FirGradients(
        h=dh if inner.order == "convolution" else dh.flip(-1), skip=d_skip, bias=d_bias, featurizer=of_featurizer
    )
