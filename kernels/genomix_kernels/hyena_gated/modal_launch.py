"""Launches of the gated modal filters: how the length is split where channels are few, and what programs leave."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import triton
from torch import Tensor

from genomix_kernels.hyena_gated.filters import HyenaState, Modes, Taps
from genomix_kernels.hyena_gated.fir_launch import Streams, reach_of
from genomix_kernels.hyena_gated.modal_backward import modal_backward_kernel
from genomix_kernels.hyena_gated.modal_forward import modal_forward_kernel
from genomix_kernels.hyena_gated.modal_states import modal_chain_kernel, modal_states_kernel

CHUNK = 64
ROWS = 64

STATES_TILE = ROWS * CHUNK
"""Tokens that the pass over states alone takes at a time."""


class Tuning(NamedTuple):
    """Chunks of a row of a tile, stages of the pipeline of loads, and warps of a program."""

    chunks: int
    stages: int
    warps: int
    registers: int | None = None
    prefetches: bool = False


FORWARD = {False: Tuning(1, 1, 4), True: Tuning(1, 1, 4)}
BACKWARD = {False: Tuning(1, 1, 4), True: Tuning(1, 1, 4)}
"""By whether there are gates; measured on an H200 at 4096 channels and 65,536 tokens."""

FEW_ROWS = 256
"""With fewer channels (times batch) than this the length is split over programs, at the price of reading it twice."""

LEAST_TILES = 4
"""Tiles a split has at least."""


@dataclass(frozen=True, kw_only=True)
class ModalGradients:
    """Gradients of a gated modal filter's parameters and state, in fp32; those of the streams go to tensors given."""

    log_poles: Tensor
    residues: Tensor
    skip: Tensor
    state: Tensor
    featurizer: Tensor | None


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
    like = dict(device=k.device, dtype=torch.float32)
    y = torch.empty(batch, channels, seqlen, device=k.device, dtype=k.dtype)
    final = torch.empty(batch, channels, n_modes, **like)
    tuning = _tuned(FORWARD, streams, seqlen)
    tile, saved_tile = ROWS * CHUNK * tuning.chunks, backward_tile(streams, seqlen)
    n_saved = triton.cdiv(seqlen, saved_tile)
    saved = torch.empty(batch, channels, n_saved, n_modes, **like) if saves else None
    n_splits, n_tiles = _splits(batch * channels, seqlen, tile)
    start = state
    common = _common(featurizer, inner, k)
    if n_splits > 1:
        length = n_tiles * tile
        added = _added(streams.k, streams.v, featurizer, inner, tail, rows, n_splits, length, is_backward=False)
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
        IS_WHOLE=seqlen % tile == 0, HAS_SAVED=saves, SAVED_ROWS=saved_tile * ROWS // tile,
        ROUNDS=inner.rounds_before_skip and inner.skip is not None, **common, NS=tuning.chunks,
        STAGES=tuning.stages, PREFETCHES=tuning.prefetches, num_warps=tuning.warps, maxnreg=tuning.registers,
    )  # fmt: skip
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
    k = streams.k
    batch, channels, seqlen = k.shape
    n_modes = inner.log_poles.shape[1]
    tile = backward_tile(streams, seqlen)
    assert d_final is None or seqlen % tile == 0, "the gradient of a final state inside a tile is not taken here"
    like = dict(device=k.device, dtype=torch.float32)
    n_featurizer = 1 if featurizer is None else featurizer.h.shape[1]
    tuning = _tuned(BACKWARD, streams, seqlen)
    n_splits, n_tiles = 1, triton.cdiv(seqlen, tile)
    if featurizer is None:  # a featurizer's gradient reaches across the ends of splits: one program a row then
        n_splits, n_tiles = _splits(batch * channels, seqlen, tile)
    end = d_final
    common = _common(featurizer, inner, k)
    if n_splits > 1:
        length = n_tiles * tile
        added = _added(dy, streams.q, None, inner, None, rows, n_splits, length, is_backward=True)
        end = _chained(added, d_final, inner, length, is_backward=True)
    parts = [torch.empty(batch, channels, n_splits, n_modes, **like) for _ in range(3)]
    d_start, da, dr = parts
    sums = torch.empty(batch, channels, n_splits, 1 + 3 * n_featurizer, **like)
    modal_backward_kernel[(batch * channels * n_splits,)](
        q_ptr=_or(streams.q, k), k_ptr=k, v_ptr=_or(streams.v, k), dy_ptr=dy,
        dq_ptr=_or(d_streams.q, d_streams.k), dk_ptr=d_streams.k, dv_ptr=_or(d_streams.v, d_streams.k),
        featurizer_ptr=k if featurizer is None else featurizer.h, a_ptr=inner.log_poles, r_ptr=inner.residues,
        skip_ptr=_or(inner.skip, k), saved_ptr=saved, end_ptr=_or(end, saved), dstart_ptr=d_start, da_ptr=da,
        dr_ptr=dr, sums_ptr=sums, channels=channels, seqlen=seqlen, n_splits=n_splits, n_tiles=n_tiles,
        **_strides("q", streams.q, k), **_strides("k", k, k), **_strides("v", streams.v, k),
        **_strides("dy", dy, dy), **_strides("dq", d_streams.q, d_streams.k),
        **_strides("dk", d_streams.k, d_streams.k), **_strides("dv", d_streams.v, d_streams.k),
        row_stream=rows[0], row_channel=rows[1], HAS_FEATURIZER=featurizer is not None,
        HAS_Q=streams.q is not None, HAS_V=streams.v is not None, HAS_SKIP=inner.skip is not None,
        HAS_END=end is not None, RELOADS=featurizer is not None, **common, NS=tuning.chunks, STAGES=tuning.stages,
        num_warps=tuning.warps, maxnreg=tuning.registers,
    )  # fmt: skip
    each = sums.sum((0, 2))
    of_featurizer = None
    if featurizer is not None:
        taps = each[:, 1:].reshape(channels, 3, n_featurizer)
        taps = taps if featurizer.order == "convolution" else taps.flip(-1)
        of_featurizer = (taps if rows == (1, 3) else taps.transpose(0, 1)).reshape(featurizer.h.shape)
    return ModalGradients(
        log_poles=da.sum((0, 2)), residues=dr.sum((0, 2)), skip=each[:, 0], state=d_start[:, :, 0],
        featurizer=of_featurizer,
    )  # fmt: skip


def backward_tile(streams: Streams, seqlen: int) -> int:
    """Return the tokens of a tile of the backward pass, before each of which the forward pass saves the state."""
    return ROWS * CHUNK * _tuned(BACKWARD, streams, seqlen).chunks


def _tuned(table: dict[bool, Tuning], streams: Streams, seqlen: int) -> Tuning:
    """Return what was measured to be best, with tiles no longer than the sequence needs."""
    tuning = table[streams.q is not None or streams.v is not None]
    needed = triton.next_power_of_2(triton.cdiv(seqlen, ROWS * CHUNK))
    return tuning._replace(chunks=min(tuning.chunks, needed))


def _splits(n_rows: int, seqlen: int, tile: int) -> tuple[int, int]:
    """Return how many programs share a row, and the tiles of each."""
    all_tiles = triton.cdiv(seqlen, tile)
    if n_rows >= FEW_ROWS:
        return 1, all_tiles
    wanted = triton.cdiv(2 * FEW_ROWS, n_rows)
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


def _chained(
    added: Tensor, first: Tensor | None, inner: Modes, length: int, *, is_backward: bool
) -> Tensor:
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
    is_split = k.dtype is not torch.float32
    return dict(
        F=1 if featurizer is None else featurizer.h.shape[1], W=reach_of(featurizer), N_MODES=inner.log_poles.shape[1],
        N=max(triton.next_power_of_2(inner.log_poles.shape[1]), 16),
        IS_FEATURIZER_REVERSED=featurizer is not None and featurizer.order == "cross_correlation",
        IS_SPLIT=is_split, IS_BF16=k.dtype is torch.bfloat16, M=ROWS, C=CHUNK,
        PRECISION="ieee" if is_split else "tf32x3",
    )  # fmt: skip


def _without_bf16(arguments: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in arguments.items() if name != "IS_BF16"}


def _strides(name: str, tensor: Tensor | None, stand_in: Tensor) -> dict[str, int]:
    batch, channel = _or(tensor, stand_in).stride()[:2]
    return {f"{name}_batch": batch, f"{name}_channel": channel}


def _or(tensor: Tensor | None, stand_in: Tensor) -> Tensor:
    return stand_in if tensor is None else tensor
