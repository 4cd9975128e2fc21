"""Launches of the gated filters with taps: which kernel, which grid, and the sums over what its programs leave."""

from typing import Any, NamedTuple

import torch
import triton
from torch import Tensor

from genomix_kernels.hyena_gated.blocked_backward import blocked_backward_kv_kernel, blocked_backward_q_kernel
from genomix_kernels.hyena_gated.blocked_forward import blocked_forward_kernel
from genomix_kernels.hyena_gated.filters import HyenaState, Taps
from genomix_kernels.hyena_gated.fir_autograd import FirGradients
from genomix_kernels.hyena_gated.short_kernels import REACH, short_backward_kernel, short_forward_kernel
from genomix_kernels.hyena_gated.streams import Streams

LONGEST = 256
"""Taps that the kernel of medium lengths takes: it carries the sums of at most four later chunks."""

ROWS = 64
FORWARD_BLOCKS = 2
"""Blocks of 1024 tokens that a program of the short kernel takes in turn behind a featurizer, with its taps loaded."""

ENOUGH_PROGRAMS = 1024
"""Long stretches waste less at their ends; as many programs as this keep a large GPU busy."""


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
        h_ptr=inner.h, skip_ptr=_or(inner.skip, k), bias_ptr=_or(bias, k),
        tail_ptr=k if state is None or featurizer is None else state.featurizer,
        inner_ptr=k if state is None else state.inner, channels=channels, seqlen=seqlen,
        group_size=channels // inner.h.shape[0], x_batch=k.stride(0), x_channel=k.stride(1),
        HAS_STATE=state is not None, **_featurizer_arguments(k, featurizer, rows),
    )  # fmt: skip
    if is_short(featurizer, inner):
        lanes = _lanes(seqlen)
        blocks = triton.cdiv(seqlen, 8 * lanes)
        n_blocks = max(
            1,
            min(
                FORWARD_BLOCKS if featurizer is not None else 1,
                blocks * batch * channels // (8 * ENOUGH_PROGRAMS),
                blocks,
            ),
        )
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
    alike = (x is None or x.stride() == d_streams.k.stride() for x in d_streams)
    assert all(alike), "gradients differ in strides"
    if is_short(featurizer, inner):
        return _short_backward(streams, featurizer, inner, bias, dy, d_streams, rows)
    if featurizer is None:
        if streams.q is not None:
            _blocked_backward_q(streams, None, inner, bias, dy, d_streams, rows)
        dh, d_skip, d_bias = _blocked_backward_kv(streams, inner, dy, d_streams, has_bias=bias is not None)
        return _gradients(dh, d_skip, d_bias, None, None, inner, rows)
    of_q = _blocked_backward_q(streams, featurizer, inner, bias, dy, d_streams, rows)
    # what it leaves lies where the gradients of k and v go in the end: m and df, of a filter without gates
    assert d_streams.v is not None
    dm = torch.empty_like(streams.k, memory_format=torch.contiguous_format)
    inside, d_inside = Streams(None, d_streams.k, None), Streams(None, dm, None)
    dh, d_skip, d_bias = _blocked_backward_kv(inside, inner, d_streams.v, d_inside, has_bias=bias is not None)
    of_kv = gates_backward(streams, featurizer, dm, d_streams, rows)
    return _gradients(dh, d_skip, d_bias, torch.cat([of_q, of_kv], dim=1), featurizer, inner, rows)


def _short_backward(
    streams: Streams,
    featurizer: Taps | None,
    inner: Taps,
    bias: Tensor | None,
    dy: Tensor,
    d_streams: Streams,
    rows: tuple[int, int],
) -> FirGradients:
    k = streams.k
    channels = k.shape[1]
    n_taps = inner.h.shape[1]
    each = _launch_short_backward(
        dict(
            **_common(streams, featurizer, inner, bias), **_pointers(streams, dy, d_streams),
            **_featurizer_arguments(k, featurizer, rows), h_ptr=inner.h, skip_ptr=_or(inner.skip, k),
            bias_ptr=_or(bias, k), group_size=channels // inner.h.shape[0], HAS_TAPS=True,
        ),
        k,
    )  # fmt: skip
    n_featurizer = 1 if featurizer is None else featurizer.h.shape[1]
    dh, d_skip, d_bias, d_featurizer = torch.split(each, [n_taps, 1, 1, 3 * n_featurizer], dim=1)
    d_featurizer = d_featurizer.reshape(channels, 3, n_featurizer)
    dh = dh.reshape(inner.h.shape[0], -1, n_taps).sum(1)
    return _gradients(dh, d_skip[:, 0], d_bias[:, 0], d_featurizer, featurizer, inner, rows)


def gates_backward(
    streams: Streams, featurizer: Taps, dm: Tensor, d_streams: Streams, rows: tuple[int, int]
) -> Tensor:
    """Write the gradients of k and v, given that of the featurized ``m = k v``.

    Returns those of their taps, ``(D, 2, F)``, that of the current input first.
    """
    k = streams.k
    arguments: dict[str, Any] = dict(
        **_pointers(Streams(None, k, streams.v), dm, d_streams), **_featurizer_arguments(k, featurizer, rows),
        h_ptr=k, skip_ptr=k, bias_ptr=k, group_size=1, K=1, IS_REVERSED=False, HAS_FEATURIZER=True, HAS_Q=False,
        HAS_V=True, HAS_SKIP=False, HAS_BIAS=False, HAS_TAPS=False,
    )  # fmt: skip
    each = _launch_short_backward(arguments, k)
    n_featurizer = featurizer.h.shape[1]
    return each[:, -2 * n_featurizer :].reshape(k.shape[1], 2, n_featurizer)


def _launch_short_backward(arguments: dict[str, Any], k: Tensor) -> Tensor:
    """Return the sums of each channel."""
    batch, channels, seqlen = k.shape
    lanes = _lanes(seqlen)
    blocks = triton.cdiv(seqlen, 8 * lanes)
    n_blocks = max(1, min(16, blocks * batch * channels // (4 * ENOUGH_PROGRAMS), blocks))
    n_places = triton.cdiv(blocks, n_blocks)
    n_sums = arguments["K"] + 2 + 3 * arguments["F"]
    sums = torch.empty(batch, channels, n_places, n_sums, device=k.device, dtype=torch.float32)
    short_backward_kernel[(batch * channels * n_places,)](
        **arguments, sums_ptr=sums, channels=channels, seqlen=seqlen, n_places=n_places, n_blocks=n_blocks, T=lanes,
        num_warps=max(lanes // 32, 1),
    )  # fmt: skip
    return sums.sum((0, 2))


def _blocked_backward_q(
    streams: Streams,
    featurizer: Taps | None,
    inner: Taps,
    bias: Tensor | None,
    dy: Tensor,
    d_streams: Streams,
    rows: tuple[int, int],
) -> Tensor:
    """Write the gradient of q and, with a featurizer, m and df in place of those of k and v.

    Returns those of q's taps, ``(D, 1, F)``, that of the current input first.
    """
    k = streams.k
    batch, channels, seqlen = k.shape
    plan = _plan(k, inner, _tuning("backward_q", streams))
    common = _common(streams, featurizer, inner, bias)
    del common["HAS_Q"]
    arguments = _pointers(streams, dy, d_streams) | _featurizer_arguments(k, featurizer, rows)
    m, df = arguments.pop("dk_ptr"), arguments.pop("dv_ptr")
    sums = torch.empty(batch, channels, plan.grid[0], arguments["F"], device=k.device, dtype=torch.float32)
    blocked_backward_q_kernel[plan.grid](
        **arguments, **common, **plan.arguments, m_ptr=m, df_ptr=df, sums_ptr=sums, h_ptr=inner.h,
        skip_ptr=_or(inner.skip, k), bias_ptr=_or(bias, k), W=reach_of(featurizer), channels=channels, seqlen=seqlen,
        group_size=channels // inner.h.shape[0],
    )  # fmt: skip
    return sums.sum((0, 2))[:, None]


def _blocked_backward_kv(
    streams: Streams, inner: Taps, dy: Tensor, d_streams: Streams, *, has_bias: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Write the gradients of k and v; return those of the taps, that of lag 0 first, of skip and of bias."""
    k = streams.k
    batch, channels, seqlen = k.shape
    n_groups, n_taps = inner.h.shape
    plan = _plan(k, inner, _tuning("backward_kv", streams))
    stretches = plan.grid[0] * (ROWS // plan.arguments["GP"])
    programs = plan.grid[0] * plan.grid[1] * plan.grid[2]
    n_blocks, chunk = plan.arguments["NB"] + 1, plan.arguments["C"]
    sums = torch.empty(batch, channels, stretches, 2, device=k.device, dtype=torch.float32)
    lags = torch.empty(programs, n_blocks, 2, chunk, device=k.device, dtype=torch.float32)
    arguments = _pointers(streams, dy, d_streams)
    del arguments["dq_ptr"]
    blocked_backward_kv_kernel[plan.grid](
        **arguments, **plan.arguments, sums_ptr=sums, dh_ptr=lags, h_ptr=inner.h, skip_ptr=_or(inner.skip, k),
        channels=channels, seqlen=seqlen, group_size=channels // n_groups, K=n_taps,
        IS_REVERSED=inner.order == "cross_correlation", HAS_Q=streams.q is not None, HAS_V=streams.v is not None,
        HAS_SKIP=inner.skip is not None, HAS_SUMS=inner.skip is not None or has_bias,
    )  # fmt: skip
    # what program (batch, group and part, stretch) left, summed in a fixed order
    grouped = lags.reshape(batch, n_groups, -1, n_blocks, 2, chunk).sum((0, 2))
    at_or_after, before = grouped.unbind(2)  # lags b C + l, and (b - 1) C + l
    dh = at_or_after + torch.nn.functional.pad(before[:, 1:], (0, 0, 0, 1))
    d_skip, d_bias = sums.sum((0, 2)).unbind(1)
    return dh.reshape(n_groups, -1)[:, :n_taps], d_skip, d_bias


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
    """Tokens of a chunk, chunks that are loaded at a time, stages of the pipeline of loads, warps, registers."""

    chunk: int
    chunks: int
    stages: int
    warps: int
    registers: int | None = None


TUNING = {
    ("forward", False): Tuning(64, 2, 3, 4),
    ("forward", True): Tuning(64, 2, 1, 4),
    ("backward_kv", False): Tuning(64, 1, 1, 8),
    ("backward_kv", True): Tuning(64, 1, 1, 8),
    ("backward_q", True): Tuning(64, 1, 1, 4),
}
"""By kernel and whether there are gates; the fastest tried, most on an H100, at 4096 channels and 65,536 tokens."""


def _tuning(kernel: str, streams: Streams) -> Tuning:
    tuning = TUNING[kernel, streams.q is not None or streams.v is not None]
    if streams.k.dtype is torch.float32:  # takes twice the shared memory
        return tuning._replace(chunks=1, stages=1)
    return tuning


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
        K=inner.h.shape[1], IS_REVERSED=inner.order == "cross_correlation", HAS_FEATURIZER=featurizer is not None,
        HAS_Q=streams.q is not None, HAS_V=streams.v is not None, HAS_SKIP=inner.skip is not None,
        HAS_BIAS=bias is not None,
    )  # fmt: skip


def _pointers(streams: Streams, dy: Tensor, d_streams: Streams) -> dict[str, Any]:
    k, dk = streams.k, d_streams.k
    return dict(
        q_ptr=_or(streams.q, k), k_ptr=k, v_ptr=_or(streams.v, k), dy_ptr=dy, dq_ptr=_or(d_streams.q, dk), dk_ptr=dk,
        dv_ptr=_or(d_streams.v, dk), x_batch=k.stride(0), x_channel=k.stride(1), dy_batch=dy.stride(0),
        dy_channel=dy.stride(1), dx_batch=dk.stride(0), dx_channel=dk.stride(1),
    )  # fmt: skip


def _featurizer_arguments(k: Tensor, featurizer: Taps | None, rows: tuple[int, int]) -> dict[str, Any]:
    return dict(
        featurizer_ptr=k if featurizer is None else featurizer.h, row_stream=rows[0], row_channel=rows[1],
        F=1 if featurizer is None else featurizer.h.shape[1],
        IS_FEATURIZER_REVERSED=featurizer is not None and featurizer.order == "cross_correlation",
    )  # fmt: skip


def _alike(streams: Streams) -> Streams:
    """Return the streams with the same strides, so that kernels need only one offset for them."""
    if all(x is None or x.stride() == streams.k.stride() for x in streams):
        return streams
    return Streams(*(None if x is None else x.contiguous() for x in streams))  # type: ignore[arg-type]


def _or(tensor: Tensor | None, stand_in: Tensor) -> Tensor:
    return stand_in if tensor is None else tensor


def _lanes(seqlen: int) -> int:
    lanes: int = min(max(triton.next_power_of_2(triton.cdiv(seqlen, 8)), 16), 128)
    return lanes


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
        h=dh if inner.order == "convolution" else dh.flip(-1),
        skip=d_skip,
        bias=d_bias,
        featurizer=of_featurizer,
    )
