"""Causal long convolutions of 262,145 to 4,194,304 tokens in three passes, the middle one by clusters of blocks.

A row is taken apart into R rows of complex numbers, one for each residue of its frequencies modulo R
(``cuda/split_segments.cuh``); clusters transform these as they do shorter real rows, multiply and transform back in
place (``cuda/split_rows.cuh``); and the results are put together. Planes between passes are fp16 with powers of two, a
few channels at a time, so that they can stay in the second-level cache. It has not run on a GPU yet.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from genomix_kernels.cuda_support import PACKAGE, CudaSource, launch
from genomix_kernels.fftconv.onepass_cuda import OLDEST_WITH_CLUSTERS, shared_bytes
from genomix_kernels.fftconv.onepass_tables import twists
from genomix_kernels.fftconv.split_plan import (
    Plan,
    factors,
    halves,
    matrices,
    plan_for,
    roots_of_rows,
    tables_of_rows,
)

OLDEST_CAPABILITY = OLDEST_WITH_CLUSTERS

GROUP_BYTES = 32 << 20
"""Planes of the channels that are worked on at once."""

ROWS_OF_CLUSTER = 2
"""Rows of a residue that a cluster takes one after the other, with the same tables."""

THREADS = 128
"""Of a block that takes rows apart or puts them together."""

FOLDER = PACKAGE / "fftconv" / "cuda"
_ELEMENT = PACKAGE / "cuda" / "element.cuh"
_SEGMENTS = (
    _ELEMENT,
    *(FOLDER / f"{part}.cuh" for part in ("onepass_tile", "onepass_signals", "split_segments")),
)
_ROWS = (
    _ELEMENT,
    *(FOLDER / f"onepass_{part}.cuh" for part in ("tile", "signals", "row", "exchange", "kept")),
    FOLDER / "split_rows.cuh",
)
COLUMNS = CudaSource("split_columns", (*_SEGMENTS, FOLDER / "split_columns.cu"))
COMBINE = CudaSource("split_combine", (*_SEGMENTS, FOLDER / "split_combine.cu"))
SPECTRUM = CudaSource("split_spectrum", (*_ROWS, FOLDER / "split_spectrum.cu"))
CONVOLVE = CudaSource("split_convolve", (*_ROWS, FOLDER / "split_convolve.cu"))
PRODUCTS = CudaSource("split_products", (*_ROWS, FOLDER / "split_products.cu"))

_ELEMENTS = {torch.float32: "float", torch.bfloat16: "Bf16", torch.float16: "Fp16"}


def spectrum(h: Float[Tensor, "D K"], seqlen: int) -> Int[Tensor, "rows words"]:
    """Return the filters' transforms for `convolve`: opaque, for rows of this length.

    Args:
        h: Filters, ``(channel, filter_len)``; converted to fp32.
        seqlen: Length of the rows to be filtered; at least ``filter_len``.
    """
    plan = plan_for(seqlen)
    assert h.shape[1] <= seqlen, f"{h.shape[1]} taps, {seqlen} tokens"
    h = h.float().contiguous()
    channels, split = h.shape[0], plan.split
    prepared = torch.empty(channels * plan.segments, plan.points + 4, device=h.device, dtype=torch.int32)
    take_apart = _taking_apart(plan, h[None], None, is_filter=True)
    defines, of_rows = _row_defines(plan), _row_tables(plan, h.device)
    for first, count in _groups(plan, 1, channels):
        planes = prepared[first * plan.segments :]
        loudness = take_apart(planes, first, count)
        launch(
            SPECTRUM, defines, (count, plan.segments), 32 * split.warps, shared_bytes(split), planes, loudness,
            *of_rows, cluster=split.cluster,
        )  # fmt: skip
    return prepared


def convolve(
    u: Float[Tensor, "B D L"],
    prepared: Int[Tensor, "rows words"],
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
    plan = plan_for(seqlen)
    _check_spectrum(prepared, plan, channels)
    y = torch.empty(u.shape, device=u.device, dtype=u.dtype)
    split, groups = plan.split, _groups(plan, batch, channels)
    planes, scales = _planes(plan, groups[0][1] * batch, u.device)
    take_apart = _taking_apart(plan, u, pre_gate)
    put_together = _putting_together(plan, y, post_gate, second, second_gate)
    of_rows = _row_tables(plan, u.device)
    defines = _row_defines(plan) | {
        "IS_ADJOINT": int(is_adjoint), "SKIP": _ELEMENTS[torch.float32 if skip is None else skip.dtype],
        "BLOCKS": 2,
    }  # fmt: skip
    for first, count in groups:
        rows = count * batch
        loudness = take_apart(planes, first, count)
        launch(
            CONVOLVE, defines, (-(-rows // ROWS_OF_CLUSTER), plan.segments), 32 * split.warps, shared_bytes(split),
            planes, loudness, scales, prepared, skip, *of_rows, first, batch, rows, ROWS_OF_CLUSTER,
            cluster=split.cluster,
        )  # fmt: skip
        put_together(planes, scales, first, count)
    return y


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
    batch, channels, seqlen = x.shape
    plan = plan_for(seqlen)
    split = plan.split
    dh = torch.empty(channels, filter_len, device=x.device, dtype=torch.float32)
    groups = _groups(plan, 2 * batch, channels)
    planes, scales = _planes(plan, groups[0][1] * batch, x.device)
    others, _ = _planes(plan, groups[0][1] * batch, x.device)
    take_x, take_dy = _taking_apart(plan, x, pre_gate), _taking_apart(plan, dy, post_gate)
    put_together = _putting_together(plan, dh, None, None, None, step=batch)
    defines, of_rows = _row_defines(plan) | {"BLOCKS": 1}, _row_tables(plan, x.device)
    threads = 32 * split.warps
    for first, count in groups:
        loudness, other_loudness = take_x(planes, first, count), take_dy(others, first, count)
        launch(
            PRODUCTS, defines, (count, plan.segments), threads, shared_bytes(split) + 32 * split.points * threads,
            planes, others, loudness, other_loudness, scales, *of_rows, batch, cluster=split.cluster,
        )  # fmt: skip
        put_together(planes, scales, first, count)
    return dh


def _taking_apart(
    plan: Plan, x: Tensor, gate: Tensor | None, *, is_filter: bool = False
) -> Callable[[Tensor, int, int], Tensor]:
    """Return what fills planes with the residues of so many channels from one on, and says how loud their columns are.

    Macros and strides are found once, since there are many groups of channels.
    """
    batch = x.shape[0]
    defines = _segment_defines(plan, x, gate) | {
        "HAS_PRE": int(gate is not None), "IS_FILTER": int(is_filter),
        "BLOCKS": 3 if plan.segments <= 16 else 2,
    }  # fmt: skip
    strides = *_strides(x), *_strides(gate)

    def take_apart(planes: Tensor, first: int, count: int) -> Tensor:
        loudness = torch.empty(count * batch, plan.warps_of_row, 2, device=x.device, dtype=torch.float32)
        launch(
            COLUMNS, defines, _blocks(plan, count * batch), THREADS, 0, x, gate, planes, loudness, first, batch,
            planes.shape[-1], x.shape[-1], *strides,
        )  # fmt: skip
        return loudness

    return take_apart


def _putting_together(
    plan: Plan,
    y: Tensor,
    post_gate: Tensor | None,
    second: Tensor | None,
    second_gate: Tensor | None,
    *,
    step: int = 1,
) -> Callable[[Tensor, Tensor, int, int], None]:
    """Return what fills so many channels of ``y`` from one on, (B, D, L), or (D, K) in fp32, from planes and scales.

    It takes every ``step``-th row of the planes.
    """
    is_filter = y.dtype is torch.float32
    batch = 1 if is_filter else y.shape[0]
    defines = _segment_defines(plan, y, post_gate, second, second_gate) | {
        "IS_FILTER": int(is_filter), "HAS_POST": int(post_gate is not None),
        "SECOND": 0 if second is None else 1 if second_gate is None else 2,
        "BLOCKS": 3 if plan.segments <= 16 and post_gate is None and second is None else 2,
    }  # fmt: skip
    strides = *_strides(post_gate), *_strides(second_gate)

    def put_together(planes: Tensor, scales: Tensor, first: int, count: int) -> None:
        launch(
            COMBINE, defines, _blocks(plan, count * batch), THREADS, 0, planes, scales, post_gate, second_gate, y,
            second, first, batch, y.shape[-2], step, y.shape[-1], *strides,
        )  # fmt: skip

    return put_together


def _row_defines(plan: Plan) -> dict[str, int | str]:
    # planes are the same whatever the dtype of the signals
    return plan.defines | {
        "VECTOR": 1, "FP16": 1, "TWISTS": twists(plan.split.cluster), "SEGMENTS": plan.segments,
        "COLUMNS": 32 * plan.tokens,
    }  # fmt: skip


def _segment_defines(plan: Plan, *signals: Tensor | None) -> dict[str, int | str]:
    rows = [x for x in signals if x is not None]
    levels, odd = factors(plan.segments)
    is_aligned = all(
        x.data_ptr() % (2 * plan.tokens) == 0
        and all(n % plan.tokens == 0 for n in (x.shape[-1], *x.stride()[:-1]))
        for x in rows
    )
    return plan.defines | {
        "VECTOR": plan.tokens if is_aligned else 1, "FP16": int(rows[0].dtype is torch.float16), "LEVELS": levels,
        "ODD": odd, "TOKENS": plan.tokens, "HALVES": halves(plan.segments), "MATRICES": matrices(plan.segments),
    }  # fmt: skip


def _row_tables(plan: Plan, device: torch.device) -> tuple[Tensor, Tensor]:
    split = plan.split
    return (
        tables_of_rows(*split, plan.segments, device),
        roots_of_rows(split.cluster, plan.segments, device),
    )


def _blocks(plan: Plan, rows: int) -> tuple[int, int]:
    return plan.points // (2 * plan.tokens * THREADS), rows


def _planes(plan: Plan, rows: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return where rows taken apart go, and the scales that clusters leave them with."""
    count = rows * plan.segments
    planes = torch.empty(count, plan.points, device=device, dtype=torch.int32)
    return planes, torch.empty(count, device=device, dtype=torch.float32)


def _groups(plan: Plan, planes_of_channel: int, channels: int) -> list[tuple[int, int]]:
    """Return the first channel of each group, and how many they are."""
    at_once = max(1, min(channels, GROUP_BYTES // (4 * planes_of_channel * plan.points * plan.segments)))
    return [(first, min(at_once, channels - first)) for first in range(0, channels, at_once)]


def _check_spectrum(prepared: Tensor, plan: Plan, channels: int) -> None:
    expected = (channels * plan.segments, plan.points + 4)
    if prepared.shape != expected:
        raise ValueError(
            f"the prepared filter has shape {tuple(prepared.shape)}, not that of {channels} channels at this seqlen, "
            f"{expected}; prepare it by spectrum(h, seqlen)."
        )


def _strides(x: Tensor | None) -> tuple[int, int]:
    return (0, 0) if x is None else (x.stride(0), x.stride(1))
