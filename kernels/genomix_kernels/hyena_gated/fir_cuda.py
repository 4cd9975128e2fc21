"""Launches of the gated filters of 9 to 128 taps in CUDA C++; see ``cuda/fir.cuh``."""

from typing import Any

import torch
from torch import Tensor

from genomix_kernels.cuda_support import ELEMENTS, PACKAGE, CudaSource, launch
from genomix_kernels.hyena_gated.filters import HyenaState, Taps
from genomix_kernels.hyena_gated.fir_autograd import FirGradients
from genomix_kernels.hyena_gated.modal_cuda import (
    FOLDER,
    LONGEST_FEATURIZER,
    THREADS,
    of_featurizer,
    why_not_signals,
    why_not_vectors,
)
from genomix_kernels.hyena_gated.streams import Streams
from genomix_kernels.triton_support import n_processors

SHORTEST, LONGEST = 9, 128
"""Taps: shorter filters are held in registers by Triton's kernels, longer ones need more blocks of past inputs."""

SMALLEST_GROUP = 8
"""Channels that share a filter: a product has 16 rows, one a channel."""

NEAR_LAGS = 65
"""Taps of which the first of the two passes backward finds every gradient."""

WARPS = 4
STEP = 64
SHORTEST_STRETCH = 512
"""Tokens: a stretch reads up to 130 before, or 190 after it, as well."""

BLOCKS = {"forward": 3, "backward": 2}
"""Blocks of a multiprocessor, which limit the registers of a thread: 168 with three, 255 with two."""

_FILES = (
    PACKAGE / "cuda" / "element.cuh",
    *(FOLDER / f"{name}.cuh" for name in ("fragments", "featurizer", "diagonals", "fir")),
)
FORWARD = CudaSource("fir_forward", (*_FILES, FOLDER / "fir_forward.cu"))
BACKWARD_Q = CudaSource("fir_backward_q", (*_FILES, FOLDER / "fir_backward_q.cu"))
BACKWARD_KV = CudaSource("fir_backward_kv", (*_FILES, FOLDER / "fir_backward_kv.cu"))


def fir_forward(
    streams: Streams,
    featurizer: Taps,
    inner: Taps,
    bias: Tensor | None,
    state: HyenaState | None,
    rows: tuple[int, int],
) -> Tensor:
    """Return ``q (h * m + skip m)`` of the featurized streams, ``(B, D, L)``; there is no bias."""
    assert bias is None
    k = streams.k
    batch, channels, seqlen = k.shape
    y = torch.empty(batch, channels, seqlen, device=k.device, dtype=k.dtype)
    defines = _defines(streams, featurizer, inner) | dict(
        HAS_TAIL=int(state is not None), BLOCKS=BLOCKS["forward"]
    )
    grid, sizes = _plan(streams, inner, BLOCKS["forward"])
    shared = _shared_bytes(inner, 3)
    tail, past = (None, None) if state is None else (state.featurizer, state.inner)
    launch(
        FORWARD, defines | {"SHARED_SIZE": shared}, grid, THREADS, shared, streams.q, k, streams.v, y, featurizer.h,
        inner.h, inner.skip, tail, past, channels, seqlen, *sizes, k.stride(0), k.stride(1), *rows,
    )  # fmt: skip
    return y


def fir_backward(
    streams: Streams,
    featurizer: Taps,
    inner: Taps,
    bias: Tensor | None,
    dy: Tensor,
    d_streams: Streams,
    rows: tuple[int, int],
) -> FirGradients:
    """Write the gradients of the streams, and return those of the parameters; there is no bias."""
    assert bias is None
    k = streams.k
    batch, channels, seqlen = k.shape
    if why_not_vectors(dy) is not None:
        dy = dy.clone(memory_format=torch.contiguous_format)
    defines = _defines(streams, featurizer, inner) | dict(HAS_TAIL=0, BLOCKS=BLOCKS["backward"])
    grid, sizes = _plan(streams, inner, BLOCKS["backward"])
    n_groups, _group_size, n_blocks, _ = sizes
    n_featurizer = featurizer.h.shape[1]
    like: dict[str, Any] = dict(device=k.device, dtype=torch.float32)
    sums_q = torch.empty(batch, channels, n_blocks * WARPS, n_featurizer + 1, **like)
    sums_kv = torch.empty(batch, channels, n_blocks * WARPS, 2 * n_featurizer, **like)
    lags = torch.empty(2, grid[0], THREADS, **like)
    if inner.h.shape[1] <= NEAR_LAGS:  # all of them are found by the first pass
        lags[1] = 0.0
    df = torch.empty(batch, channels, seqlen, device=k.device, dtype=k.dtype)
    parameters = (featurizer.h, inner.h, inner.skip)
    for source, n_signals, signals, sums, found, strides in (
        (
            BACKWARD_Q,
            4,
            (streams.q, k, streams.v, dy, d_streams.q, df),
            sums_q,
            lags[0],
            (k, dy, d_streams.k),
        ),
        (BACKWARD_KV, 3, (k, streams.v, df, d_streams.k, d_streams.v), sums_kv, lags[1], (k, d_streams.k)),
    ):
        shared = _shared_bytes(inner, n_signals)
        launch(
            source, defines | {"SHARED_SIZE": shared}, grid, THREADS, shared, *signals, *parameters, sums, found,
            channels, seqlen, *sizes, *(stride for x in strides for stride in x.stride()[:2]), *rows,
        )  # fmt: skip
    dh = lags.sum(0).reshape(batch, n_groups, -1, THREADS).sum((0, 2))[:, : inner.h.shape[1]]
    of_q, of_kv = sums_q.sum((0, 2)), sums_kv.sum((0, 2))
    taps = torch.cat([of_q[:, :n_featurizer], of_kv], dim=1).reshape(channels, 3, n_featurizer)
    return FirGradients(
        h=dh if inner.order == "convolution" else dh.flip(-1),
        skip=of_q[:, n_featurizer],
        bias=torch.empty(0, **like),
        featurizer=of_featurizer(taps, featurizer, rows),
    )


def why_not(streams: Streams, featurizer: Taps, inner: Taps) -> str | None:
    """Return why these kernels cannot serve, or None."""
    n_groups, n_taps = inner.h.shape
    if not SHORTEST <= n_taps <= LONGEST:
        return f"{n_taps} taps are not between {SHORTEST} and {LONGEST}"
    if streams.k.shape[1] // n_groups < SMALLEST_GROUP:
        return (
            f"{streams.k.shape[1] // n_groups} channels that share a filter are fewer than {SMALLEST_GROUP}"
        )
    if featurizer.h.shape[1] > LONGEST_FEATURIZER:
        return f"the featurizer has {featurizer.h.shape[1]} taps, more than {LONGEST_FEATURIZER}"
    return why_not_signals(streams, [x for x in (featurizer.h, inner.h, inner.skip) if x is not None])


def _plan(streams: Streams, inner: Taps, blocks: int) -> tuple[tuple[int], tuple[int, int, int, int]]:
    """Return the grid; and groups, channels of one, blocks along the length, and tokens of a warp's stretch."""
    batch, channels, seqlen = streams.k.shape
    n_groups = inner.h.shape[0]
    group_size = channels // n_groups
    walks = batch * n_groups * -(-group_size // 16)
    # two rounds of as many warps as fit: more stretches read more twice
    wanted = max(1, round(2 * n_processors(streams.k.device) * blocks * WARPS / walks))
    stretch = max(-(-seqlen // (wanted * STEP)) * STEP, SHORTEST_STRETCH)
    n_blocks = -(-seqlen // (stretch * WARPS))
    return (walks * n_blocks,), (n_groups, group_size, n_blocks, stretch)


def _defines(streams: Streams, featurizer: Taps, inner: Taps) -> dict[str, int | str]:
    return dict(
        FP16=int(streams.k.dtype is torch.float16), K=inner.h.shape[1],
        IS_REVERSED=int(inner.order == "cross_correlation"), TAPS=ELEMENTS[inner.h.dtype],
        IS_EXACT=int(inner.h.dtype is streams.k.dtype), F=featurizer.h.shape[1],
        IS_FEATURIZER_REVERSED=int(featurizer.order == "cross_correlation"), FEATURIZER=ELEMENTS[featurizer.h.dtype],
        HAS_SKIP=int(inner.skip is not None),
        SKIP=ELEMENTS[torch.float32 if inner.skip is None else inner.skip.dtype],
    )  # fmt: skip


def _shared_bytes(inner: Taps, n_streams: int) -> int:
    distances = (inner.h.shape[1] + 30) // 32 + 1
    inputs, table, taps, ends = (
        n_streams * 2 * WARPS * 2048,
        distances * 6 * 32 * 16,
        3 * 16 * 16,
        2 * 4 * WARPS * 256,
    )
    return inputs + table + taps + ends + LONGEST * 4 + 64
