"""Long rows taken apart into residues and put together again: the passes before and after `split_cuda`'s own.

Planes between passes are fp16 with powers of two; see ``cuda/split_segments.cuh``.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from genomix_kernels.cuda_support import PACKAGE, CudaSource, launch, strides_of_rows
from genomix_kernels.fftconv.split_plan import (
    Plan,
    matrix_of_columns,
    matrix_of_residues,
    tables_of_stages,
)

GROUP_BYTES = 512 << 20
"""Planes of the channels that are worked on at once."""

THREADS, STAGED_THREADS = 128, 256
"""Of a block that takes rows apart or puts them together, by one product or in two stages."""

FOLDER = PACKAGE / "fftconv" / "cuda"
_SEGMENTS = (
    PACKAGE / "cuda" / "element.cuh",
    *(
        FOLDER / f"{part}.cuh"
        for part in ("onepass_tile", "onepass_signals", "split_sectors", "split_segments")
    ),
)
COLUMNS = CudaSource("split_columns", (*_SEGMENTS, FOLDER / "split_columns.cu"))
COMBINE = CudaSource("split_combine", (*_SEGMENTS, FOLDER / "split_combine.cu"))
SUM = CudaSource("split_sum", (*_SEGMENTS, FOLDER / "split_sum.cu"))
_STAGED = (*_SEGMENTS[:-2], FOLDER / "staged.cuh")
STAGED_COLUMNS = CudaSource("staged_columns", (*_STAGED, FOLDER / "staged_columns.cu"))
STAGED_COMBINE = CudaSource("staged_combine", (*_STAGED, FOLDER / "staged_combine.cu"))
STAGED_SUM = CudaSource("staged_sum", (*_STAGED, FOLDER / "staged_sum.cu"))


def taking_apart(
    plan: Plan, x: Tensor, gate: Tensor | None, *, is_filter: bool = False
) -> Callable[[Tensor, int, int], Tensor]:
    """Return what fills planes with the residues of so many channels from one on, and says how loud columns are."""
    batch = x.shape[0]
    defines = _defines(plan, 2 if plan.is_staged else 3, x, gate) | {
        "HAS_PRE": int(gate is not None),
        "IS_FILTER": int(is_filter),
    }
    if plan.is_staged:
        source, matrix = STAGED_COLUMNS, tables_of_stages(x.device, is_backward=False)
        # lines of 64 tokens of each segment, then of 32 words of both parts of each residue
        shared = 128 + plan.segments * max(
            256, 64 * sum(y.element_size() for y in (x, gate) if y is not None)
        )
    else:
        source, matrix, shared = COLUMNS, matrix_of_columns(plan.segments, x.device), 0
    strides = strides_of_rows(x, gate)

    def take_apart(planes: Tensor, first: int, count: int) -> Tensor:
        loudness = torch.empty(count * batch, plan.warps_of_row, 2, device=x.device, dtype=torch.float32)
        launch(
            source, defines, _blocks(plan, count * batch), _threads(plan), shared, x, gate, matrix, planes, loudness,
            first, batch, planes.shape[-1], x.shape[-1], *strides,
        )  # fmt: skip
        return loudness

    return take_apart


def putting_together(
    plan: Plan,
    y: Tensor,
    post_gate: Tensor | None = None,
    second: Tensor | None = None,
    second_gate: Tensor | None = None,
) -> Callable[[Tensor, Tensor, int, int], None]:
    """Return what fills so many channels of ``y`` (B, D, L) from one on from planes and scales."""
    batch = y.shape[0]
    defines = _defines(plan, 2, y, post_gate, second, second_gate) | {
        "HAS_POST": int(post_gate is not None), "SECOND": 0 if second is None else 1 if second_gate is None else 2,
    }  # fmt: skip
    source, matrix, shared = _back(plan, COMBINE, STAGED_COMBINE, y.device)
    strides = strides_of_rows(post_gate, second_gate)

    def put_together(planes: Tensor, scales: Tensor, first: int, count: int) -> None:
        launch(
            source, defines, _blocks(plan, count * batch), _threads(plan), shared, planes, scales, matrix, post_gate,
            second_gate, y, second, first, batch, y.shape[-2], y.shape[-1], *strides,
        )  # fmt: skip

    return put_together


def summing(plan: Plan, dh: Tensor, batch: int) -> Callable[[Tensor, Tensor, int, int], None]:
    """Return what fills so many channels of ``dh`` (D, K), in fp32, from planes and scales of their rows of a batch."""
    defines = _defines(plan, 2, dh)
    source, matrix, shared = _back(plan, SUM, STAGED_SUM, dh.device)

    def sum_up(planes: Tensor, scales: Tensor, first: int, count: int) -> None:
        launch(
            source, defines, _blocks(plan, count), _threads(plan), shared, planes, scales, matrix, dh, first, batch,
            dh.shape[-1],
        )  # fmt: skip

    return sum_up


def planes_of(plan: Plan, rows: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return where rows taken apart go, and the scales that clusters leave them with."""
    count = rows * plan.segments
    planes = torch.empty(count, plan.points, device=device, dtype=torch.int32)
    return planes, torch.empty(count, device=device, dtype=torch.float32)


def groups_of(plan: Plan, planes_of_channel: int, channels: int) -> list[tuple[int, int]]:
    """Return the first channel of each group, and how many they are."""
    at_once = max(1, min(channels, GROUP_BYTES // (4 * planes_of_channel * plan.points * plan.segments)))
    return [(first, min(at_once, channels - first)) for first in range(0, channels, at_once)]


def _defines(plan: Plan, blocks: int, *signals: Tensor | None) -> dict[str, int | str]:
    """Return macros; ``blocks`` is how many a multiprocessor shall hold where a lane's pieces take most registers."""
    rows = [x for x in signals if x is not None]
    at_once = 16 // rows[0].element_size()
    is_aligned = all(
        x.data_ptr() % 16 == 0 and all(n % at_once == 0 for n in (x.shape[-1], *x.stride()[:-1]))
        for x in rows
    )
    if plan.segments <= 32:
        blocks = 4 if plan.segments <= 16 else 3
    return plan.defines | {
        "SEGMENTS": plan.segments, "VECTOR": at_once if is_aligned else 1,
        "FP16": int(rows[0].dtype is torch.float16), "BLOCKS": blocks,
    }  # fmt: skip


def _blocks(plan: Plan, rows: int) -> tuple[int, int]:
    # in two stages a block has as many columns as else a warp
    return plan.warps_of_row // (1 if plan.is_staged else THREADS // 32), rows


def _threads(plan: Plan) -> int:
    return STAGED_THREADS if plan.is_staged else THREADS


def _back(
    plan: Plan, source: CudaSource, staged: CudaSource, device: torch.device
) -> tuple[CudaSource, Tensor, int]:
    """Return the kernel that puts rows together, its matrices, and the bytes of shared memory of a block."""
    if plan.is_staged:
        return staged, tables_of_stages(device, is_backward=True), 256 * plan.segments
    return source, matrix_of_residues(plan.segments, device), 0
