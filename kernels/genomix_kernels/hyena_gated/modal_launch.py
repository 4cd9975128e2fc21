"""Launches of the gated modal filters: how the length is split where channels are few, and what programs leave."""

from dataclasses import replace
from typing import Any, NamedTuple

import torch
import triton
from torch import Tensor

from genomix_kernels.hyena_gated.filters import Modes, Taps
from genomix_kernels.hyena_gated.fir_launch import gates_backward, reach_of
from genomix_kernels.hyena_gated.modal_autograd import ModalGradients
from genomix_kernels.hyena_gated.modal_backward import modal_backward_kernel
from genomix_kernels.hyena_gated.modal_backward_q import modal_backward_q_kernel
from genomix_kernels.hyena_gated.modal_final import complete_state
from genomix_kernels.hyena_gated.modal_forward import modal_forward_kernel
from genomix_kernels.hyena_gated.modal_states import modal_chain_kernel, modal_states_kernel
from genomix_kernels.hyena_gated.streams import Streams

CHUNK = 64
ROWS = 64

FEWEST_ROWS = 16
"""Of a tile for sequences that such a tile holds: most rows of a larger one would be empty."""

STATES_TILE = ROWS * CHUNK
"""Tokens that the pass over states alone takes at a time."""


class Tuning(NamedTuple):
    """Chunks of a row of a tile, stages of the pipeline of loads, warps of a program; registers; tokens of a chunk."""

    chunks: int
    stages: int
    warps: int
    registers: int | None = None
    prefetches: bool = False
    chunk: int = 0  # CHUNK


FORWARD = {False: Tuning(1, 3, 4, 128), True: Tuning(1, 1, 4, 128)}
SHORT_FORWARD = {False: Tuning(4, 1, 4, chunk=32), True: Tuning(1, 1, 4, 128)}
BACKWARD = {False: Tuning(1, 3, 4), True: Tuning(1, 1, 4)}
"""By whether there are gates: the fastest tried, most on an H100, at 4096 channels and 65,536 tokens."""

BACKWARD_Q = Tuning(1, 1, 4, 168)
"""Behind a featurizer: of the pass that needs the filtered signal, a tile of which is always one chunk a row.

The limit on registers, which lets three programs share a multiprocessor, is for 16 bits: fp32 would spill.
"""

SHORT = 16_384
"""Up to so many tokens the tables of a channel cost as much as its tokens: smaller chunks have smaller ones."""

FEW_ROWS = 256
"""With fewer channels than this the length is split over programs, at the price of reading it twice.

The batch does not count, so that a sequence gives the same bits alone and in any batch.
"""

LEAST_TILES = 4
"""Tiles a split has at least."""

ENOUGH_PROGRAMS = 1024
"""Programs of the pass that needs the filtered signal, whose tiles do not depend on each other."""


def modal_forward(
    streams: Streams,
    featurizer: Taps | None,
    inner: Modes,
    state: Tensor | None,
    tail: Tensor | None,
    *,
    saves: bool,
    wants_final: bool = True,
    rows: tuple[int, int] = (0, 0),
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return ``q (h * m + skip m)``, the state after the last token and, if ``saves``, those before each tile."""
    k = streams.k
    batch, channels, seqlen = k.shape
    n_modes = inner.log_poles.shape[1]
    like: dict[str, Any] = dict(device=k.device, dtype=torch.float32)
    y = torch.empty(batch, channels, seqlen, device=k.device, dtype=k.dtype)
    final = torch.empty(batch, channels, n_modes, **like)
    saved_tile = backward_tile(streams, seqlen, featurizer)
    tuning = _tuned(FORWARD if seqlen > SHORT else SHORT_FORWARD, streams, seqlen, saved_tile)
    tile = _rows(seqlen) * tuning.chunk * tuning.chunks
    n_saved = triton.cdiv(seqlen, saved_tile)
    saved = torch.empty(batch, channels, n_saved, n_modes, **like) if saves else None
    n_splits, n_tiles = _splits(channels, seqlen, tile)
    start = state
    common = _common(featurizer, inner, k) | {"C": tuning.chunk}
    if n_splits > 1:
        length = n_tiles * tile
        added = _added(
            streams.k, streams.v, featurizer, inner, tail, rows, n_splits, length, is_backward=False
        )
        start = _chained(added, state, inner, length, is_backward=False)
    modal_forward_kernel[(batch * channels * n_splits,)](
        q_ptr=_or(streams.q, k), k_ptr=k, v_ptr=_or(streams.v, k), y_ptr=y,
        featurizer_ptr=k if featurizer is None else featurizer.h, a_ptr=inner.log_poles, r_ptr=inner.residues,
        skip_ptr=_or(inner.skip, k), tail_ptr=_or(tail, k), start_ptr=_or(start, final), final_ptr=final,
        saved_ptr=_or(saved, final), channels=channels, seqlen=seqlen, n_splits=n_splits, n_tiles=n_tiles,
        n_saved=n_saved, **_strides("q", streams.q, k), **_strides("k", k, k), **_strides("v", streams.v, k),
        row_stream=rows[0], row_channel=rows[1], HAS_FEATURIZER=featurizer is not None,
        HAS_Q=streams.q is not None, HAS_V=streams.v is not None, HAS_SKIP=inner.skip is not None,
        HAS_TAIL=tail is not None, HAS_START=start is not None, HAS_FINAL=wants_final,
        IS_WHOLE=seqlen % tile == 0, HAS_SAVED=saves, SAVED_ROWS=saved_tile * _rows(seqlen) // tile,
        ROUNDS=inner.rounds_before_skip and inner.skip is not None, **common, NS=tuning.chunks,
        STAGES=tuning.stages, PREFETCHES=tuning.prefetches, num_warps=tuning.warps, maxnreg=tuning.registers,
    )  # fmt: skip
    if wants_final and seqlen % tile:
        first = (seqlen - 1) // tile * tile
        rows_are_interleaved = rows == (1, 3)
        final = complete_state(final, k, streams.v, featurizer, inner, tail, first, rows_are_interleaved)
    return y, final, saved


def modal_backward(
    streams: Streams,
    featurizer: Taps | None,
    inner: Modes,
    saved: Tensor,
    dy: Tensor,
    d_final: Tensor | None,
    d_streams: Streams,
    rows: tuple[int, int] = (0, 0),
) -> ModalGradients:
    """Write the gradients of the streams, and return those of parameters and of the state before the first token.

    Args:
        streams: As in `modal_forward`.
        featurizer: Likewise.
        inner: Likewise.
        saved: The states before each tile, of `modal_forward`.
        dy: Gradient of its output.
        d_final: Gradient of the state after the last token; needs a length that is a multiple of `backward_tile`.
        d_streams: Written to.
        rows: As in `modal_forward`.
    """
    if featurizer is None:
        tuning = _tuned(BACKWARD, streams, streams.k.shape[2])
        return _filter_backward(streams, inner, saved, dy, d_final, d_streams, tuning)
    of_q = _backward_q(streams, featurizer, inner, saved, dy, d_streams, rows)
    # what it leaves lies where the gradients of k and v go in the end: m and df, of a filter without gates
    assert d_streams.v is not None
    dm = torch.empty_like(streams.k, memory_format=torch.contiguous_format)
    inside = Streams(None, d_streams.k, None)
    tuning = BACKWARD[False]._replace(chunks=1)
    found = _filter_backward(inside, inner, saved, d_streams.v, d_final, Streams(None, dm, None), tuning)
    of_kv = gates_backward(streams, featurizer, dm, d_streams, rows)
    taps = torch.cat([of_q, of_kv], dim=1)  # (D, 3, F)
    taps = taps if featurizer.order == "convolution" else taps.flip(-1)
    taps = (taps if rows == (1, 3) else taps.transpose(0, 1)).reshape(featurizer.h.shape)
    return replace(found, featurizer=taps)


def _backward_q(
    streams: Streams,
    featurizer: Taps,
    inner: Modes,
    saved: Tensor,
    dy: Tensor,
    d_streams: Streams,
    rows: tuple[int, int],
) -> Tensor:
    """Write the gradient of q, and m and df in place of those of k and v.

    Returns those of q's taps, ``(D, 1, F)``, that of the current input first.
    """
    k = streams.k
    batch, channels, seqlen = k.shape
    for each in (streams, d_streams):
        assert all(x is not None and x.stride() == each.k.stride() for x in each), "streams differ in strides"
    all_tiles = triton.cdiv(seqlen, _rows(seqlen) * CHUNK)
    n_tiles = triton.cdiv(all_tiles, min(triton.cdiv(ENOUGH_PROGRAMS, batch * channels), all_tiles))
    n_splits = triton.cdiv(all_tiles, n_tiles)
    n_featurizer = featurizer.h.shape[1]
    sums = torch.empty(batch, channels, n_splits, n_featurizer, device=k.device, dtype=torch.float32)
    modal_backward_q_kernel[(batch * channels * n_splits,)](
        q_ptr=streams.q, k_ptr=k, v_ptr=streams.v, dy_ptr=dy, dq_ptr=d_streams.q, df_ptr=d_streams.v,
        m_ptr=d_streams.k, featurizer_ptr=featurizer.h, a_ptr=inner.log_poles, r_ptr=inner.residues,
        skip_ptr=_or(inner.skip, k), saved_ptr=saved, sums_ptr=sums, channels=channels, seqlen=seqlen,
        n_splits=n_splits, n_tiles=n_tiles, **_strides("x", k, k), **_strides("dy", dy, dy),
        **_strides("dx", d_streams.k, k), row_stream=rows[0], row_channel=rows[1], HAS_SKIP=inner.skip is not None,
        **_common(featurizer, inner, k), STAGES=BACKWARD_Q.stages, num_warps=BACKWARD_Q.warps,
        maxnreg=BACKWARD_Q.registers if k.element_size() == 2 else None,
    )  # fmt: skip
    return sums.sum((0, 2))[:, None]


def _filter_backward(
    streams: Streams,
    inner: Modes,
    saved: Tensor,
    dy: Tensor,
    d_final: Tensor | None,
    d_streams: Streams,
    tuning: Tuning,
) -> ModalGradients:
    """As `modal_backward`, without a featurizer."""
    k = streams.k
    batch, channels, seqlen = k.shape
    n_modes = inner.log_poles.shape[1]
    tile = _rows(seqlen) * CHUNK * tuning.chunks
    assert d_final is None or seqlen % tile == 0, "the gradient of a final state inside a tile is not taken"
    like: dict[str, Any] = dict(device=k.device, dtype=torch.float32)
    n_splits, n_tiles = _splits(channels, seqlen, tile)
    end = d_final
    if n_splits > 1:
        length = n_tiles * tile
        added = _added(dy, streams.q, None, inner, None, (0, 0), n_splits, length, is_backward=True)
        end = _chained(added, d_final, inner, length, is_backward=True)
    d_start, da, dr = (torch.empty(batch, channels, n_splits, n_modes, **like) for _ in range(3))
    d_skip = torch.empty(batch, channels, n_splits, **like)
    modal_backward_kernel[(batch * channels * n_splits,)](
        q_ptr=_or(streams.q, k), k_ptr=k, v_ptr=_or(streams.v, k), dy_ptr=dy,
        dq_ptr=_or(d_streams.q, d_streams.k), dk_ptr=d_streams.k, dv_ptr=_or(d_streams.v, d_streams.k),
        a_ptr=inner.log_poles, r_ptr=inner.residues, skip_ptr=_or(inner.skip, k), saved_ptr=saved,
        end_ptr=_or(end, saved), dstart_ptr=d_start, da_ptr=da, dr_ptr=dr, dskip_ptr=d_skip, channels=channels,
        seqlen=seqlen, n_splits=n_splits, n_tiles=n_tiles, **_strides("q", streams.q, k), **_strides("k", k, k),
        **_strides("v", streams.v, k), **_strides("dy", dy, dy), **_strides("dq", d_streams.q, d_streams.k),
        **_strides("dk", d_streams.k, d_streams.k), **_strides("dv", d_streams.v, d_streams.k),
        HAS_Q=streams.q is not None, HAS_V=streams.v is not None, HAS_SKIP=inner.skip is not None,
        HAS_END=end is not None, **_of_modes(inner, k), NS=tuning.chunks,
        STAGES=tuning.stages, num_warps=tuning.warps, maxnreg=tuning.registers,
    )  # fmt: skip
    return ModalGradients(
        log_poles=da.sum((0, 2)), residues=dr.sum((0, 2)), skip=d_skip.sum((0, 2)), state=d_start[:, :, 0],
        featurizer=None,
    )  # fmt: skip


def backward_tile(streams: Streams, seqlen: int, featurizer: Taps | None = None) -> int:
    """Return the tokens of a tile of the backward pass, before each of which the forward pass saves the state."""
    return _rows(seqlen) * CHUNK * (1 if featurizer is not None else _tuned(BACKWARD, streams, seqlen).chunks)


def _tuned(table: dict[bool, Tuning], streams: Streams, seqlen: int, least: int = 1) -> Tuning:
    """Return what was measured to be best, with tiles of at least ``least`` tokens and not much longer than needed."""
    tuning = table[streams.q is not None or streams.v is not None]
    chunk = tuning.chunk or CHUNK
    row = _rows(seqlen) * chunk
    needed = triton.next_power_of_2(triton.cdiv(seqlen, row))
    return tuning._replace(chunk=chunk, chunks=max(min(tuning.chunks, needed), least // row))


def _rows(seqlen: int) -> int:
    """Return the rows of a tile."""
    return FEWEST_ROWS if seqlen <= FEWEST_ROWS * CHUNK else ROWS


def _splits(channels: int, seqlen: int, tile: int) -> tuple[int, int]:
    """Return how many programs share a row, and the tiles of each."""
    all_tiles = triton.cdiv(seqlen, tile)
    if channels >= FEW_ROWS:
        return 1, all_tiles
    wanted = triton.cdiv(2 * FEW_ROWS, channels)
    n_tiles = max(triton.cdiv(all_tiles, wanted), LEAST_TILES)
    n_splits = triton.cdiv(all_tiles, n_tiles)
    return (n_splits, n_tiles) if n_splits > 1 else (1, all_tiles)


def _added(
    x: Tensor,
    gate: Tensor | None,
    featurizer: Taps | None,
    inner: Modes,
    tail: Tensor | None,
    rows: tuple[int, int],
    n_splits: int,
    length: int,
    *,
    is_backward: bool,
) -> Tensor:
    """Return what each split's ``x gate`` adds to the state after it, or to the gradient of that before it."""
    batch, channels, seqlen = x.shape
    n_modes = inner.log_poles.shape[1]
    out = torch.empty(batch, channels, n_splits, n_modes, device=x.device, dtype=torch.float32)
    modal_states_kernel[(batch * channels * n_splits,)](
        x_ptr=x, gate_ptr=_or(gate, x), out_ptr=out, featurizer_ptr=x if featurizer is None else featurizer.h,
        a_ptr=inner.log_poles, r_ptr=inner.residues, tail_ptr=_or(tail, x), channels=channels, seqlen=seqlen,
        n_splits=n_splits, n_tiles=length // STATES_TILE, **_strides("x", x, x), **_strides("gate", gate, x),
        row_stream=rows[0], row_channel=rows[1], gate_stream=2, HAS_X_FEATURIZER=featurizer is not None,
        HAS_GATE_FEATURIZER=featurizer is not None, HAS_GATE=gate is not None, HAS_TAIL=tail is not None,
        IS_BACKWARD=is_backward, like_ptr=x, **_without_bf16(_common(featurizer, inner, x)), STAGES=1, num_warps=4,
    )  # fmt: skip
    return out


def _chained(added: Tensor, first: Tensor | None, inner: Modes, length: int, *, is_backward: bool) -> Tensor:
    """Return the state before each split, or the gradient of the state after it."""
    batch, channels, n_splits, n_modes = added.shape
    out = torch.empty_like(added)
    n_values = batch * channels * n_modes
    modal_chain_kernel[(triton.cdiv(n_values, 128),)](
        added, _or(first, added), out, inner.log_poles, channels, n_modes, n_splits, float(length), n_values,
        HAS_FIRST=first is not None, IS_BACKWARD=is_backward, BLOCK=128,
    )  # fmt: skip
    return out


def _common(featurizer: Taps | None, inner: Modes, k: Tensor) -> dict[str, Any]:
    return dict(
        F=1 if featurizer is None else featurizer.h.shape[1], W=reach_of(featurizer),
        IS_FEATURIZER_REVERSED=featurizer is not None and featurizer.order == "cross_correlation",
        **_of_modes(inner, k),
    )  # fmt: skip


def _of_modes(inner: Modes, k: Tensor) -> dict[str, Any]:
    n_modes = inner.log_poles.shape[1]
    is_split = k.dtype is not torch.float32
    return dict(
        N_MODES=n_modes, N=max(triton.next_power_of_2(n_modes), 16), IS_SPLIT=is_split,
        IN_BF16=is_split and k.is_cuda, M=_rows(k.shape[2]), C=CHUNK, PRECISION="ieee" if is_split else "tf32x3",
    )  # fmt: skip


def _without_bf16(arguments: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in arguments.items() if name != "IN_BF16"}


def _strides(name: str, tensor: Tensor | None, stand_in: Tensor) -> dict[str, int]:
    batch, channel = _or(tensor, stand_in).stride()[:2]
    return {f"{name}_batch": batch, f"{name}_channel": channel}


def _or(tensor: Tensor | None, stand_in: Tensor) -> Tensor:
    return stand_in if tensor is None else tensor
