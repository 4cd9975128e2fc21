"""One-pass causal long convolution in CUDA C++; the mathematics is in ``cuda/onepass_row.cuh``.

A row's transform stays in registers (and shared memory, between two parts of it): tokens are read once and written
once. Everything between is in fp16, scaled row by row, with products on tensor cores. A block takes rows of up to
16,384 tokens; a cluster of blocks, which share their memories from compute capability 9.0 on, up to 262,144.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from genomix_kernels.cuda_support import (
    PACKAGE,
    CudaSource,
    element_of,
    launch,
    strides_of_rows,
    why_not_cuda,
)
from genomix_kernels.fftconv.onepass_tables import tables, twists

LONGEST = 16384
LONGEST_OF_CLUSTER = 262144
SHORTEST_TRANSFORM = 256
OLDEST_CAPABILITY = (8, 0)
OLDEST_WITH_CLUSTERS = (9, 0)

FOLDER = PACKAGE / "fftconv" / "cuda"
_COMMON = (
    PACKAGE / "cuda" / "element.cuh",
    *(FOLDER / f"onepass_{part}.cuh" for part in ("tile", "signals", "row", "exchange", "kept")),
)
SPECTRUM = CudaSource("onepass_spectrum", (*_COMMON, FOLDER / "onepass_spectrum.cu"))
CONVOLVE = CudaSource("onepass_convolve", (*_COMMON, FOLDER / "onepass_convolve.cu"))
BACKWARD = CudaSource("onepass_backward", (*_COMMON, FOLDER / "onepass_backward.cu"))


class Split(NamedTuple):
    """How a row's transform is shared."""

    points: int
    """Tiles of a warp, P, of 256 points each."""
    warps: int
    """Warps of a block that work on a row, W."""
    cluster: int = 1
    """Blocks that work on a row."""


SPLIT = {
    256: Split(1, 1), 512: Split(2, 1), 1024: Split(4, 1), 2048: Split(4, 2), 4096: Split(4, 4), 8192: Split(8, 4),
    16384: Split(8, 8), 32768: Split(8, 8, 2), 65536: Split(8, 8, 4), 131072: Split(8, 8, 8),
    262144: Split(8, 8, 16),
}  # fmt: skip
"""By the size of the transform."""

WARPS = 4
"""Warps of a block where each has a row of its own."""

THREADS_OF_SM = 512
"""How many threads a multiprocessor shall hold, with 128 registers each; half as many where the gradients of gates, or
those of filters in 8 tiles, need twice the registers.
"""

ROWS_OF_BLOCK = 4
"""Rows of a channel that a block or cluster takes one after the other; later ones find the spectrum in the cache."""

WARPS_OF_GPU = 2048
"""Rows in flight at once for the gradient of a filter: it decides over how many sums the batch is split."""


def transform_size(seqlen: int) -> int:
    """Return how many complex points a row of so many tokens takes."""
    return max(SHORTEST_TRANSFORM, 1 << (seqlen - 1).bit_length())


def spectrum(h: Float[Tensor, "D K"], seqlen: int, dtype: torch.dtype) -> Int[Tensor, "D words"]:
    """Return the filters' transforms for `convolve`: opaque, for rows that need the same size of transform.

    Args:
        h: Filters, ``(channel, filter_len)``; converted to fp32.
        seqlen: Length of the rows to be filtered; at least ``filter_len``.
        dtype: That of the rows.
    """
    assert h.shape[1] <= seqlen <= LONGEST_OF_CLUSTER, f"{h.shape[1]} taps, {seqlen} tokens"
    h = h.float().contiguous()
    size = transform_size(seqlen)
    prepared = torch.empty(h.shape[0], size + 4, device=h.device, dtype=torch.int32)
    split = SPLIT[size]
    vector = 4 if h.shape[1] % 4 == 0 and h.data_ptr() % 16 == 0 else 1
    defines = _defines(split, dtype, vector) | {"BLOCKS": THREADS_OF_SM // (32 * split.warps)}
    launch(
        SPECTRUM, defines, (h.shape[0],), 32 * split.warps, shared_bytes(split),
        h, prepared, tables(*split, h.device), h.shape[1], cluster=split.cluster,
    )  # fmt: skip
    return prepared


def convolve(
    u: Float[Tensor, "B D L"],
    prepared: Int[Tensor, "D words"],
    skip: Float[Tensor, " D"] | None,
    pre_gate: Float[Tensor, "B D L"] | None = None,
    post_gate: Float[Tensor, "B D L"] | None = None,
    *,
    is_adjoint: bool = False,
    second: Float[Tensor, "B D L"] | None = None,
    second_gate: Float[Tensor, "B D L"] | None = None,
) -> Float[Tensor, "B D L"]:
    """Return ``post * (h * (pre u) + skip (pre u))``, in the dtype of ``u``.

    Args:
        u: Rows, bf16 or fp16; last stride 1.
        prepared: What `spectrum` returned for this length.
        skip: Gain on the unfiltered rows; none if None.
        pre_gate: What rows are multiplied by before the filter.
        post_gate: What they are multiplied by after it.
        is_adjoint: Take the correlation, ``sum_i h[i] x[t + i]``, instead of the convolution.
        second: Filled with the result before ``post_gate``, or with ``second_gate`` in its place; contiguous.
        second_gate: In the dtype of ``u``.
    """
    batch, channels, seqlen = u.shape
    split = _split_of(prepared, u)
    warps = split.warps
    y = torch.empty(u.shape, device=u.device, dtype=u.dtype)
    groups = WARPS if warps == 1 else 1
    chunks = max(1, math.ceil(batch / (groups * ROWS_OF_BLOCK)))
    defines = _defines(split, u.dtype, _vector(split, u, pre_gate, post_gate, second, second_gate)) | {
        "GROUPS": groups, "IS_ADJOINT": int(is_adjoint), "HAS_PRE": int(pre_gate is not None),
        "HAS_POST": int(post_gate is not None), "SKIP": element_of(skip),
        "SECOND": 0 if second is None else 1 if second_gate is None else 2,
        "BLOCKS": THREADS_OF_SM // (32 * warps * groups),
    }  # fmt: skip
    launch(
        CONVOLVE, defines, (chunks, channels), 32 * warps * groups, shared_bytes(split),
        u, pre_gate, post_gate, second_gate, prepared, skip, tables(*split, u.device), y, second, batch, channels,
        seqlen, *strides_of_rows(u, pre_gate, post_gate, second_gate), chunks,
        cluster=split.cluster,
    )  # fmt: skip
    return y


class Gradients(NamedTuple):
    """Gradients of a gated long convolution."""

    u: Tensor
    h: Tensor
    """``(channel, filter_len)``, fp32; its first column is the gradient of the skip too."""
    pre_gate: Tensor | None
    post_gate: Tensor | None


def backward(
    u: Float[Tensor, "B D L"],
    dy: Float[Tensor, "B D L"],
    prepared: Int[Tensor, "D words"],
    skip: Float[Tensor, " D"] | None,
    filter_len: int,
    pre_gate: Float[Tensor, "B D L"] | None = None,
    post_gate: Float[Tensor, "B D L"] | None = None,
) -> Gradients:
    """Return all gradients of `convolve` (without ``is_adjoint``) in one pass over ``u`` and ``dy``.

    Args:
        u: As in `convolve`, like everything that is not named here.
        dy: Gradient of its output, in the dtype of ``u``; last stride 1.
        filter_len: K, at most L.
    """
    du = torch.empty(u.shape, device=u.device, dtype=u.dtype)
    d_pre = None if pre_gate is None else torch.empty_like(du)
    d_post = None if post_gate is None else torch.empty_like(du)
    dh = _backward(
        _split_of(prepared, u), u, dy, filter_len, pre_gate, post_gate, prepared, skip, du, d_pre, d_post
    )
    return Gradients(du, dh, d_pre, d_post)


def filter_gradient(
    x: Float[Tensor, "B D L"],
    dy: Float[Tensor, "B D L"],
    filter_len: int,
    pre_gate: Float[Tensor, "B D L"] | None = None,
    post_gate: Float[Tensor, "B D L"] | None = None,
) -> Float[Tensor, "D {filter_len}"]:
    """Return ``dh[d, i] = sum_b sum_t (pre x)[t - i] (post dy)[t]`` in fp32; column 0 is the gradient of the skip.

    Args:
        x: Rows that were filtered, bf16 or fp16; last stride 1.
        dy: Gradient of the output, in the same dtype.
        filter_len: K, at most L.
        pre_gate: What the rows were multiplied by before the filter.
        post_gate: What they were multiplied by after it.
    """
    return _backward(SPLIT[transform_size(x.shape[-1])], x, dy, filter_len, pre_gate, post_gate)


def _backward(
    split: Split,
    u: Tensor,
    dy: Tensor,
    filter_len: int,
    pre_gate: Tensor | None,
    post_gate: Tensor | None,
    prepared: Tensor | None = None,
    skip: Tensor | None = None,
    *gradients: Tensor | None,
) -> Tensor:
    """Return the gradient of the filter and fill those of ``u`` and the gates, if there is somewhere to put them."""
    batch, channels, seqlen = u.shape
    warps = split.warps
    groups = WARPS if warps == 1 else 1
    threads = 32 * warps * groups
    splits = max(1, min(batch, math.ceil(WARPS_OF_GPU / (channels * warps * split.cluster))))
    is_large = split.points == 8 or (prepared is not None and (pre_gate is not None or post_gate is not None))
    partial = torch.empty(splits, channels, filter_len, device=u.device, dtype=torch.float32)
    defines = _defines(split, u.dtype, _vector(split, u, dy, pre_gate, post_gate)) | {
        "GROUPS": groups, "HAS_PRE": int(pre_gate is not None), "HAS_POST": int(post_gate is not None),
        "HAS_SIGNALS": int(prepared is not None), "SKIP": element_of(skip),
        "BLOCKS": max(1, THREADS_OF_SM // (2 if is_large else 1) // threads),
    }  # fmt: skip
    launch(
        BACKWARD, defines, (math.ceil(splits / groups), channels), threads, _backward_shared_bytes(split),
        u, dy, pre_gate, post_gate, prepared, skip, tables(*split, u.device), partial,
        *(gradients or (None, None, None)), batch, channels, seqlen, filter_len,
        *strides_of_rows(u, dy, pre_gate, post_gate), splits, cluster=split.cluster,
    )  # fmt: skip
    return partial[0] if splits == 1 else partial.sum(0)


def why_not(u: Tensor, *others: Tensor | None) -> str | None:
    """Return why these kernels cannot take ``u`` (B, D, L) and gates of its shape, or None."""
    parts = [u, *(x for x in others if x is not None)]
    reason = why_not_cuda(OLDEST_WITH_CLUSTERS if u.shape[-1] > LONGEST else OLDEST_CAPABILITY, *parts)
    if reason is not None:
        return reason
    if any(x.dtype not in (torch.bfloat16, torch.float16) or x.dtype != u.dtype for x in parts):
        return f"the kernel computes in bf16 or fp16, not in {', '.join({str(x.dtype) for x in parts})}"
    if any(x.stride(-1) != 1 for x in parts):
        return "neighbouring tokens are not neighbours in memory"
    return why_too_long(u)


def why_too_long(u: Tensor) -> str | None:
    """Return why rows of this length do not fit into a multiprocessor of the device of ``u``, or None."""
    if u.shape[-1] > LONGEST_OF_CLUSTER:
        return f"{u.shape[-1]} tokens are more than {LONGEST_OF_CLUSTER}"
    needed = _backward_shared_bytes(SPLIT[transform_size(u.shape[-1])])
    available = getattr(torch.cuda.get_device_properties(u.device), "shared_memory_per_block_optin", needed)
    if needed > available:
        return f"{u.shape[-1]} tokens take {needed} bytes of shared memory; this GPU has {available}"
    return None


def _split_of(prepared: Tensor, u: Tensor) -> Split:
    size = transform_size(u.shape[-1])
    assert prepared.shape == (u.shape[1], size + 4), "the spectrum belongs to other filters or another length"
    return SPLIT[size]


def _defines(split: Split, dtype: torch.dtype, vector: int) -> dict[str, int | str]:
    points, warps, cluster = split
    defines: dict[str, int | str] = {
        "P": points, "W": warps, "CLUSTER": cluster, "IS_COMPLEX": 0, "VECTOR": vector,
        "FP16": int(dtype is torch.float16),
    }  # fmt: skip
    return defines if warps == 1 else defines | {"TWISTS": twists(cluster if cluster > 1 else warps)}


def _vector(split: Split, *signals: Tensor | None) -> int:
    """Return how many tokens can be loaded at once: as many as are neighbours in a thread, or one."""
    wanted = 8 if split.points == 8 and split.warps == 1 else 2 if split.cluster > split.warps else 4
    rows = [x for x in signals if x is not None]
    is_aligned = all(
        x.data_ptr() % (2 * wanted) == 0
        and all(n % wanted == 0 for n in (x.shape[-1], x.stride(0), x.stride(1)))
        for x in rows
    )
    return wanted if is_aligned and split.points >= 4 else 1


def shared_bytes(split: Split) -> int:
    """Return what the slots of a block, the maxima of a row's warps and the barriers of a cluster take."""
    points, warps, cluster = split
    control = 128 * math.ceil(warps * cluster / 32) + (256 if cluster > 1 else 0)
    return 0 if warps == 1 else 1024 * points * warps + control


def _backward_shared_bytes(split: Split) -> int:
    points, warps, _cluster = split
    threads = 32 * warps * (WARPS if warps == 1 else 1)
    return max(128, shared_bytes(split)) + 32 * points * threads
