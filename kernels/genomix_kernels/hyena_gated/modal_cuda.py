"""Launches of the gated modal filters in CUDA C++; see ``cuda/modal.cuh`` for the layout that makes them fast."""

from typing import Any

import torch
from torch import Tensor

from genomix_kernels.cuda_support import ELEMENTS, PACKAGE, CudaSource, launch, why_not_cuda
from genomix_kernels.hyena_gated.filters import Modes, Taps
from genomix_kernels.hyena_gated.modal_autograd import ModalGradients
from genomix_kernels.hyena_gated.modal_final import complete_state
from genomix_kernels.hyena_gated.streams import Streams

TILE = 4096
"""Tokens of a tile: four warps of 16 rows of 64."""

THREADS = 128
MOST_MODES = 16
LONGEST_FEATURIZER = 3
VECTOR = 8
"""Tokens that a thread loads at once: sequences begin at multiples of so many elements, and have such a length."""

FEW_CHANNELS = 256
"""With fewer a channel's tokens are split over programs, which is Triton's.

The batch does not count, so that a sequence gives the same bits alone and in any batch.
"""

OLDEST_CAPABILITY = (8, 0)

FOLDER = PACKAGE / "hyena_gated" / "cuda"
_COMMON = (
    PACKAGE / "cuda" / "element.cuh", FOLDER / "fragments.cuh", FOLDER / "modal.cuh", FOLDER / "featurizer.cuh",
)  # fmt: skip
FORWARD = CudaSource("modal_forward", (*_COMMON, FOLDER / "modal_forward.cu"))
BACKWARD = CudaSource(
    "modal_backward",
    (*_COMMON, *(FOLDER / name for name in ("diagonals.cuh", "modal_gradients.cuh", "modal_backward.cu"))),
)

BLOCKS = {"forward": 3, "backward": 2, "featurized backward": 2, "short backward": 3}
"""Blocks of a multiprocessor, which limit the registers of a thread: 168 with three, 255 with two."""

SHORT = 16_384
"""Up to so many tokens what a block does before and after its tiles counts: without gates more blocks hide more."""


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
    saved = torch.empty(batch, channels, -(-seqlen // TILE), n_modes, **like) if saves else None
    defines = _defines(streams, featurizer, inner) | dict(
        HAS_TAIL=int(tail is not None), HAS_START=int(state is not None), HAS_FINAL=int(wants_final),
        HAS_SAVED=int(saves), ROUNDS=int(inner.rounds_before_skip and inner.skip is not None), BLOCKS=BLOCKS["forward"],
    )  # fmt: skip
    shared = _shared_bytes(_count(streams), n_tables=2, n_toeplitz=1, n_floats=1024)
    launch(
        FORWARD, defines | {"SHARED_SIZE": shared}, (batch * channels,), THREADS, shared,
        streams.q, k, streams.v, y, _taps(featurizer), inner.log_poles, inner.residues, inner.skip, tail, state,
        final, saved, channels, seqlen, n_modes, *_strides(streams), *rows,
    )  # fmt: skip
    if wants_final and seqlen % TILE:
        first = (seqlen - 1) // TILE * TILE
        final = complete_state(final, k, streams.v, featurizer, inner, tail, first, rows == (1, 3))
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
    assert d_final is None or seqlen % TILE == 0, "the gradient of a final state inside a tile is not taken"
    n_taps = 0 if featurizer is None else featurizer.h.shape[1]
    like: dict[str, Any] = dict(device=k.device, dtype=torch.float32)
    d_start, d_poles, d_residues = (torch.empty(batch, channels, n_modes, **like) for _ in range(3))
    d_skip = torch.empty(batch, channels, **like)
    d_taps = torch.empty(batch, channels, 3, n_taps, **like) if featurizer is not None else None
    if why_not_vectors(dy) is not None:
        dy = dy.clone(memory_format=torch.contiguous_format)
    is_short = seqlen <= SHORT and _count(streams) == 1
    blocks = BLOCKS[
        "featurized backward" if featurizer is not None else "short backward" if is_short else "backward"
    ]
    defines = _defines(streams, featurizer, inner) | dict(
        HAS_TAIL=0, HAS_END=int(d_final is not None), BLOCKS=blocks
    )
    has_q = streams.q is not None
    shared = _shared_bytes(
        _count(streams) + 1,
        n_tables=5 if has_q else 4,
        n_toeplitz=1 + has_q,
        n_floats=1024 + (0 if featurizer is None else 12 * THREADS),
    )
    launch(
        BACKWARD, defines | {"SHARED_SIZE": shared}, (batch * channels,), THREADS, shared,
        streams.q, k, streams.v, dy, d_streams.q, d_streams.k, d_streams.v, _taps(featurizer), inner.log_poles,
        inner.residues, inner.skip, saved, d_final, d_start, d_poles, d_residues, d_skip, d_taps, channels, seqlen,
        n_modes, *_strides(streams), dy.stride(0), dy.stride(1), *_strides(d_streams), *rows,
    )  # fmt: skip
    of_taps = (
        None if featurizer is None or d_taps is None else of_featurizer(_over_batch(d_taps), featurizer, rows)
    )
    return ModalGradients(
        log_poles=_over_batch(d_poles), residues=_over_batch(d_residues), skip=_over_batch(d_skip), state=d_start,
        featurizer=of_taps,
    )  # fmt: skip


def backward_tile(streams: Streams, seqlen: int, featurizer: Taps | None = None) -> int:
    """Return the tokens of a tile, before each of which the forward pass saves the state."""
    return TILE


def why_not(streams: Streams, featurizer: Taps | None, inner: Modes) -> str | None:
    """Return why these kernels cannot serve, or None."""
    if inner.log_poles.dtype is not torch.float32 or inner.residues.dtype is not torch.float32:
        return "poles and residues are not in real fp32"
    if inner.log_poles.shape[1] > MOST_MODES:
        return f"{inner.log_poles.shape[1]} modes are more than {MOST_MODES}"
    if featurizer is not None and featurizer.h.shape[1] > LONGEST_FEATURIZER:
        return f"the featurizer has {featurizer.h.shape[1]} taps, more than {LONGEST_FEATURIZER}"
    if streams.k.shape[1] < FEW_CHANNELS:
        return f"{streams.k.shape[1]} channels are fewer than {FEW_CHANNELS}: a channel's tokens are better split"
    parameters = (None if featurizer is None else featurizer.h, *inner[:3])
    return why_not_signals(streams, [x for x in parameters if isinstance(x, Tensor)])


def why_not_signals(streams: Streams, parameters: list[Tensor]) -> str | None:
    """Return why kernels that load eight tokens at once cannot take these signals and parameters, or None."""
    signals = [x for x in streams if x is not None]
    reason = why_not_cuda(OLDEST_CAPABILITY, *signals, *parameters)
    if reason is not None:
        return reason
    if streams.k.dtype not in (torch.bfloat16, torch.float16):
        return f"the kernel does not compute in {streams.k.dtype}"
    if any(x.dtype not in ELEMENTS for x in parameters):
        return "a parameter is in a dtype beyond fp32, bf16 and fp16"
    return next((reason for x in signals if (reason := why_not_vectors(x)) is not None), None)


def why_not_vectors(x: Tensor) -> str | None:
    """Return why eight tokens of a signal cannot be loaded at once, or None."""
    if x.shape[-1] % VECTOR:
        return f"{x.shape[-1]} tokens are not a multiple of {VECTOR}"
    if x.stride(-1) != 1 or x.stride(0) % VECTOR or x.stride(1) % VECTOR or x.data_ptr() % 16:
        return f"a signal's strides, {x.stride()}, or its first element are not aligned to {VECTOR} elements"
    return None


def _defines(streams: Streams, featurizer: Taps | None, inner: Modes) -> dict[str, int | str]:
    return dict(
        FP16=int(streams.k.dtype is torch.float16), HAS_Q=int(streams.q is not None), HAS_V=int(streams.v is not None),
        F=0 if featurizer is None else featurizer.h.shape[1],
        IS_FEATURIZER_REVERSED=int(featurizer is not None and featurizer.order == "cross_correlation"),
        HAS_SKIP=int(inner.skip is not None),
        FEATURIZER=ELEMENTS[torch.float32 if featurizer is None else featurizer.h.dtype],
        SKIP=ELEMENTS[torch.float32 if inner.skip is None else inner.skip.dtype],
    )  # fmt: skip


def _shared_bytes(n_streams: int, *, n_tables: int, n_toeplitz: int, n_floats: int) -> int:
    return n_streams * 2 * TILE * 2 + n_tables * 8 * 32 * 16 + n_toeplitz * 12 * 32 * 16 + n_floats * 4


def _count(streams: Streams) -> int:
    return sum(x is not None for x in streams)


def _taps(featurizer: Taps | None) -> Tensor | None:
    return None if featurizer is None else featurizer.h


def _strides(streams: Streams) -> list[int]:
    return [stride for x in streams for stride in ((0, 0) if x is None else x.stride()[:2])]


def _over_batch(x: Tensor) -> Tensor:
    return x[0] if len(x) == 1 else x.sum(0)


def of_featurizer(d_taps: Tensor, featurizer: Taps, rows: tuple[int, int]) -> Tensor:
    """Order sums, ``(D, 3, F)`` with that of the current input first, as the taps are."""
    d_taps = d_taps if featurizer.order == "convolution" else d_taps.flip(-1)
    return (d_taps if rows == (1, 3) else d_taps.transpose(0, 1)).reshape(featurizer.h.shape)
