"""Causal long convolutions of 131,073 to 4,194,304 tokens in three passes, the middle one over rows of a block.

A row is taken apart into R rows of complex numbers, one for each residue of its frequencies modulo R
(``cuda/split_segments.cuh``); blocks, or clusters of them, transform these as they do shorter real rows, multiply and
transform back in place (``cuda/split_rows.cuh``); and the results are put together. Planes between passes are fp16 with
powers of two.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from genomix_kernels.cuda_support import PACKAGE, CudaSource, element_of, launch, strides_of_rows
from genomix_kernels.fftconv.onepass_cuda import OLDEST_CAPABILITY, OLDEST_WITH_CLUSTERS, shared_bytes
from genomix_kernels.fftconv.onepass_tables import twists
from genomix_kernels.fftconv.split_plan import (
    WIDTH,
    Plan,
    matrix_of_columns,
    matrix_of_residues,
    plan_for,
    roots_of_rows,
    tables_of_rows,
)

GROUP_BYTES = 256 << 20
"""Planes of the channels that are worked on at once."""

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


def spectrum(h: Float[Tensor, "D K"], seqlen: int) -> Int[Tensor, "rows words"]:
    """Return the filters' transforms for `convolve`: opaque, for rows of this length.

    Args:
        h: Filters, ``(channel, filter_len)``; converted to fp32.
        seqlen: Length of the rows to be filtered; at least ``filter_len``.
    """
    plan = plan_for(seqlen)
    assert h.shape[1] <= seqlen, f"{h.shape[1]} taps, {seqlen} tokens"
    h = h.float().contiguous()
    prepared = torch.empty(len(h) * plan.segments, plan.points + 4, device=h.device, dtype=torch.int32)
    transform = _transforming(plan, h[None], None, is_filter=True)
    for first, count in _groups(plan, 1, len(h)):
        transform(prepared[first * plan.segments :], first, count)
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
    groups = _groups(plan, batch, channels)
    planes, scales = _planes(plan, groups[0][1] * batch, u.device)
    take_apart = _taking_apart(plan, u, pre_gate)
    multiply = _multiplying(plan, batch, skip, u.device, is_adjoint=is_adjoint)
    put_together = _putting_together(plan, y, post_gate, second, second_gate)
    for first, count in groups:
        multiply(planes, take_apart(planes, first, count), scales, prepared, first, count)
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
    dh = torch.empty(channels, filter_len, device=x.device, dtype=torch.float32)
    groups = _groups(plan, 2, channels)
    planes, scales = _planes(plan, groups[0][1], x.device)
    transforms = torch.empty(len(planes), plan.points + 4, device=x.device, dtype=torch.int32)
    multiply = _multiplying(plan, 1, None, x.device, is_adjoint=True)
    for row in range(batch):
        # the correlation of this gradient with these rows, which take the place of filters
        pre, post = (None if gate is None else gate[row : row + 1] for gate in (pre_gate, post_gate))
        transform = _transforming(plan, x[row : row + 1], pre)
        take_apart = _taking_apart(plan, dy[row : row + 1], post)
        found = dh if row == 0 else torch.empty_like(dh)
        put_together = _putting_together(plan, found, None, None, None)
        for first, count in groups:
            transform(transforms, first, count)
            multiply(planes, take_apart(planes, first, count), scales, transforms, 0, count)
            put_together(planes, scales, first, count)
        if row > 0:
            dh += found
    return dh


def oldest_capability(seqlen: int) -> tuple[int, int]:
    """Return the oldest compute capability that rows of so many tokens need."""
    return OLDEST_WITH_CLUSTERS if plan_for(seqlen).split.cluster > 1 else OLDEST_CAPABILITY


def _taking_apart(
    plan: Plan, x: Tensor, gate: Tensor | None, *, is_filter: bool = False
) -> Callable[[Tensor, int, int], Tensor]:
    """Return what fills planes with the residues of so many channels from one on, and says how loud columns are."""
    batch = x.shape[0]
    defines = _segment_defines(plan, x, gate) | {
        "HAS_PRE": int(gate is not None), "IS_FILTER": int(is_filter), "BLOCKS": _blocks_of_gpu(plan),
    }  # fmt: skip
    matrix = matrix_of_columns(plan.segments, x.device)
    strides = strides_of_rows(x, gate)

    def take_apart(planes: Tensor, first: int, count: int) -> Tensor:
        loudness = torch.empty(count * batch, plan.warps_of_row, 2, device=x.device, dtype=torch.float32)
        launch(
            COLUMNS, defines, _blocks(plan, count * batch), THREADS, 0, x, gate, matrix, planes, loudness, first,
            batch, planes.shape[-1], x.shape[-1], *strides,
        )  # fmt: skip
        return loudness

    return take_apart


def _transforming(
    plan: Plan, x: Tensor, gate: Tensor | None, *, is_filter: bool = False
) -> Callable[[Tensor, int, int], None]:
    """Return what fills rows with the transforms of so many channels of ``x`` from one on, which has a batch of one."""
    take_apart = _taking_apart(plan, x, gate, is_filter=is_filter)
    split, defines = plan.split, _row_defines(plan)
    of_rows = _row_tables(plan, x.device)

    def transform(prepared: Tensor, first: int, count: int) -> None:
        loudness = take_apart(prepared, first, count)
        launch(
            SPECTRUM, defines, (count, plan.segments), 32 * split.warps, shared_bytes(split), prepared, loudness,
            *of_rows, cluster=split.cluster,
        )  # fmt: skip

    return transform


def _multiplying(
    plan: Plan, batch: int, skip: Tensor | None, device: torch.device, *, is_adjoint: bool
) -> Callable[[Tensor, Tensor, Tensor, Tensor, int, int], None]:
    """Return what filters planes of so many channels by the transforms from that of one channel on, in place."""
    split = plan.split
    defines = _row_defines(plan) | {"IS_ADJOINT": int(is_adjoint), "SKIP": element_of(skip)}
    of_rows = _row_tables(plan, device)

    def multiply(
        planes: Tensor, loudness: Tensor, scales: Tensor, prepared: Tensor, first: int, count: int
    ) -> None:
        launch(
            CONVOLVE, defines, (count * batch, plan.segments), 32 * split.warps, shared_bytes(split), planes, loudness,
            scales, prepared, skip, *of_rows, first, batch, cluster=split.cluster,
        )  # fmt: skip

    return multiply


def _putting_together(
    plan: Plan,
    y: Tensor,
    post_gate: Tensor | None,
    second: Tensor | None,
    second_gate: Tensor | None,
) -> Callable[[Tensor, Tensor, int, int], None]:
    """Return what fills so many channels of ``y`` from one on, (B, D, L), or (D, K) in fp32, from planes and scales."""
    is_filter = y.dtype is torch.float32
    batch = 1 if is_filter else y.shape[0]
    defines = _segment_defines(plan, y, post_gate, second, second_gate) | {
        "IS_FILTER": int(is_filter), "HAS_POST": int(post_gate is not None),
        "SECOND": 0 if second is None else 1 if second_gate is None else 2,
        "BLOCKS": _blocks_of_gpu(plan),
    }  # fmt: skip
    matrix = matrix_of_residues(plan.segments, y.device)
    strides = strides_of_rows(post_gate, second_gate)

    def put_together(planes: Tensor, scales: Tensor, first: int, count: int) -> None:
        launch(
            COMBINE, defines, _blocks(plan, count * batch), THREADS, 0, planes, scales, matrix, post_gate,
            second_gate, y, second, first, batch, y.shape[-2], y.shape[-1], *strides,
        )  # fmt: skip

    return put_together


def _row_defines(plan: Plan) -> dict[str, int | str]:
    # planes are the same whatever the dtype of the signals
    return plan.defines | {
        "VECTOR": 1, "FP16": 1, "TWISTS": twists(plan.split.cluster), "SEGMENTS": plan.segments,
        "COLUMNS": WIDTH, "BLOCKS": 2,
    }  # fmt: skip


def _segment_defines(plan: Plan, *signals: Tensor | None) -> dict[str, int | str]:
    rows = [x for x in signals if x is not None]
    at_once = 16 // rows[0].element_size()
    is_aligned = all(
        x.data_ptr() % 16 == 0 and all(n % at_once == 0 for n in (x.shape[-1], *x.stride()[:-1]))
        for x in rows
    )
    return plan.defines | {
        "SEGMENTS": plan.segments, "VECTOR": at_once if is_aligned else 1,
        "FP16": int(rows[0].dtype is torch.float16),
    }  # fmt: skip


def _blocks_of_gpu(plan: Plan) -> int:
    """Return how many blocks of rows in pieces a multiprocessor shall hold: registers are for the pieces of a lane."""
    return 4 if plan.segments <= 16 else 3 if plan.segments <= 32 else 2


def _row_tables(plan: Plan, device: torch.device) -> tuple[Tensor, Tensor | None]:
    split = plan.split
    roots = roots_of_rows(split.cluster, plan.segments, device) if split.cluster > 1 else None
    return tables_of_rows(*split, plan.segments, device), roots


def _blocks(plan: Plan, rows: int) -> tuple[int, int]:
    return 32 * plan.warps_of_row // THREADS, rows


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
