"""Causal long convolutions of 131,073 to 4,194,304 tokens in three passes, the middle one over rows of a block.

A row is taken apart into R rows of complex numbers, one for each residue of its frequencies modulo R
(``cuda/split_segments.cuh``); blocks, or clusters of them, transform these as they do shorter real rows, multiply and
transform back in place (``cuda/split_rows.cuh``); and the results are put together. Planes between passes are fp16 with
powers of two.
"""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from genomix_kernels.cuda_support import PACKAGE, CudaSource, element_of, launch
from genomix_kernels.fftconv.onepass_cuda import (
    OLDEST_CAPABILITY,
    OLDEST_WITH_CLUSTERS,
    Gradients,
    Split,
    shared_bytes,
)
from genomix_kernels.fftconv.onepass_tables import twists
from genomix_kernels.fftconv.split_passes import (
    groups_of,
    planes_of,
    putting_together,
    summing,
    taking_apart,
)
from genomix_kernels.fftconv.split_plan import WIDTH, Plan, plan_for, roots_of_rows, tables_of_rows

FOLDER = PACKAGE / "fftconv" / "cuda"
_ROWS = (
    PACKAGE / "cuda" / "element.cuh",
    *(FOLDER / f"onepass_{part}.cuh" for part in ("tile", "signals", "row", "exchange", "kept")),
    FOLDER / "split_rows.cuh",
)
SPECTRUM = CudaSource("split_spectrum", (*_ROWS, FOLDER / "split_spectrum.cu"))
CONVOLVE = CudaSource("split_convolve", (*_ROWS, FOLDER / "split_convolve.cu"))
FILTERED = CudaSource("split_filtered", (*_ROWS, FOLDER / "split_filtered.cu"))
GRADIENTS = CudaSource("split_gradients", (*_ROWS, FOLDER / "split_gradients.cu"))

WARPS_OF_SM = 16
"""Warps of rows that a multiprocessor shall hold, with 128 registers a thread."""

BLOCKS_OF_GPU = 1024
"""Fewer blocks than these leave a part of a GPU idle, if each takes the rows of a batch one after the other."""

EACH = 4
"""Rows that a block takes one after the other where there are many."""

RESERVED = 1024
"""Bytes of shared memory that a block takes besides its own."""


def spectrum(h: Float[Tensor, "D K"], seqlen: int) -> Int[Tensor, "rows words"]:
    """Return the filters' transforms for `convolve`: opaque, for rows of this length.

    Args:
        h: Filters, ``(channel, filter_len)``; converted to fp32.
        seqlen: Length of the rows to be filtered; at least ``filter_len``.
    """
    plan = plan_for(seqlen)
    assert h.shape[1] <= seqlen, f"{h.shape[1]} taps, {seqlen} tokens"
    h = h.float().contiguous()
    prepared = torch.empty(len(h) * plan.segments, plan.words_of_filter, device=h.device, dtype=torch.int32)
    take_apart = taking_apart(plan, h[None], None, is_filter=True)
    split, of_rows = plan.split, _row_tables(plan, h.device)
    defines, slots = _row_defines(plan, h.device), _slots(plan, h.device)
    for first, count in groups_of(plan, 1, len(h)):
        rows = prepared[first * plan.segments :]
        loudness = take_apart(rows, first, count)
        launch(
            SPECTRUM, defines, (count, plan.segments), 32 * split.warps, slots, rows, loudness, *of_rows,
            _ahead(plan, count, h.device), cluster=split.cluster,
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
    groups = groups_of(plan, batch, channels)
    planes, scales = planes_of(plan, groups[0][1] * batch, u.device)
    take_apart = taking_apart(plan, u, pre_gate)
    put_together = putting_together(plan, y, post_gate, second, second_gate)
    split, of_rows = plan.split, _row_tables(plan, u.device)
    defines = _row_defines(plan, u.device) | {"IS_ADJOINT": int(is_adjoint), "SKIP": element_of(skip)}
    for first, count in groups:
        loudness = take_apart(planes, first, count)
        launch(
            CONVOLVE, defines, (count * batch, plan.segments), 32 * split.warps, _slots(plan, u.device), planes,
            loudness, scales, prepared, skip, *of_rows, first, batch, _ahead(plan, count * batch, u.device),
            cluster=split.cluster,
        )  # fmt: skip
        put_together(planes, scales, first, count)
    return y


def takes_filter(u: Float[Tensor, "B D L"]) -> bool:
    """Return whether `convolve_with` serves: shared memory has room for filters, and they are enough."""
    plan, (batch, channels, _seqlen) = plan_for(u.shape[-1]), u.shape
    return _is_kept_in_shared(plan, u.device) and (batch == 1 or channels * plan.segments >= BLOCKS_OF_GPU)


def convolve_with(
    u: Float[Tensor, "B D L"],
    h: Float[Tensor, "D K"],
    skip: Float[Tensor, " D"] | None,
    pre_gate: Float[Tensor, "B D L"] | None = None,
    post_gate: Float[Tensor, "B D L"] | None = None,
    *,
    leaves_spectrum: bool = False,
    second: Float[Tensor, "B D L"] | None = None,
) -> tuple[Float[Tensor, "B D L"], Int[Tensor, "rows words"] | None]:
    """Return what `convolve` does with the `spectrum` of ``h``, bit for bit, and that spectrum if asked for.

    A filter's transform stays on the chip between the two: 32 bytes for each of its numbers and one of the input's move
    instead of 40. `takes_filter` says for which ``u``.

    Args:
        u: As in `convolve`, like everything that is not named here.
        h: Filters, ``(channel, filter_len)``; converted to fp32.
        leaves_spectrum: Whether the spectrum is wanted too.
    """
    batch, channels, seqlen = u.shape
    plan = plan_for(seqlen)
    h = h.float().contiguous()
    y = torch.empty(u.shape, device=u.device, dtype=u.dtype)
    groups = groups_of(plan, batch, channels)
    at_once = groups[0][1]
    planes, scales = planes_of(plan, at_once * batch, u.device)
    rows_of_filters = (channels if leaves_spectrum else at_once) * plan.segments
    prepared = torch.empty(rows_of_filters, plan.words_of_filter, device=u.device, dtype=torch.int32)
    take_apart, take_filter_apart = (
        taking_apart(plan, u, pre_gate),
        taking_apart(plan, h[None], None, is_filter=True),
    )
    put_together = putting_together(plan, y, post_gate, second)
    split, of_rows = plan.split, _row_tables(plan, u.device)
    defines = _row_defines(plan, u.device) | {"LEAVES": int(leaves_spectrum), "SKIP": element_of(skip)}
    shared, each = _slots(plan, u.device) + _kept(plan), _each(plan, at_once)
    for first, count in groups:
        filters = prepared[first * plan.segments :] if leaves_spectrum else prepared
        loudness_of_filters, loudness = (
            take_filter_apart(filters, first, count),
            take_apart(planes, first, count),
        )
        launch(
            FILTERED, defines, (math.ceil(count / each), plan.segments), 32 * split.warps, shared, planes, loudness,
            scales, filters, loudness_of_filters, skip, *of_rows, first, batch, count, each,
            _ahead(plan, count, u.device),
        )  # fmt: skip
        put_together(planes, scales, first, count)
    return y, prepared if leaves_spectrum else None


def backward(
    u: Float[Tensor, "B D L"],
    dy: Float[Tensor, "B D L"],
    prepared: Int[Tensor, "rows words"],
    skip: Float[Tensor, " D"] | None,
    filter_len: int,
    pre_gate: Float[Tensor, "B D L"] | None = None,
    post_gate: Float[Tensor, "B D L"] | None = None,
) -> Gradients:
    """Return the gradients of `convolve` (without ``is_adjoint``), but for that of ``post_gate``.

    Args:
        u: As in `convolve`, like everything that is not named here.
        dy: Gradient of its output, in the dtype of ``u``; last stride 1.
        filter_len: K, at most L.
    """
    plan = plan_for(u.shape[-1])
    _check_spectrum(prepared, plan, u.shape[1])
    du = torch.empty(u.shape, device=u.device, dtype=u.dtype)
    d_pre = None if pre_gate is None else torch.empty_like(du)
    put_together = putting_together(plan, du, pre_gate, d_pre, None if pre_gate is None else u)
    dh = _backward(plan, u, dy, filter_len, pre_gate, post_gate, prepared, skip, put_together)
    return Gradients(du, dh, d_pre, None)


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
    return _backward(plan_for(x.shape[-1]), x, dy, filter_len, pre_gate, post_gate)


def _backward(
    plan: Plan,
    u: Tensor,
    dy: Tensor,
    filter_len: int,
    pre_gate: Tensor | None,
    post_gate: Tensor | None,
    prepared: Tensor | None = None,
    skip: Tensor | None = None,
    put_together: Callable[[Tensor, Tensor, int, int], None] | None = None,
) -> Tensor:
    """Return the gradient of the filter; ``put_together`` gets the planes of the input's, if ``prepared`` is there."""
    batch, channels, _seqlen = u.shape
    dh = torch.empty(channels, filter_len, device=u.device, dtype=torch.float32)
    groups = groups_of(
        plan, batch, channels
    )  # for the planes of u and as many of dy: with half of each it took 6 % longer
    inputs, scales_of_inputs = planes_of(plan, groups[0][1] * batch, u.device)
    planes, scales = planes_of(plan, groups[0][1] * batch, u.device)
    take_apart, take_apart_dy = taking_apart(plan, u, pre_gate), taking_apart(plan, dy, post_gate)
    sum_up = summing(plan, dh, batch)
    each = _each(plan, groups[0][1] * batch)
    split, of_rows = plan.split, _row_tables(plan, u.device)
    is_in_shared = _is_kept_in_shared(plan, u.device)
    shared = _slots(plan, u.device) + (_kept(plan) if is_in_shared else 0)
    defines = _row_defines(plan, u.device) | {
        "HAS_SIGNALS": int(prepared is not None), "SKIP": element_of(skip), "IN_SHARED": int(is_in_shared),
    }  # fmt: skip
    for first, count in groups:
        loudness_of_inputs, loudness = take_apart(inputs, first, count), take_apart_dy(planes, first, count)
        launch(
            GRADIENTS, defines, (math.ceil(count * batch / each), plan.segments), 32 * split.warps, shared, inputs,
            loudness_of_inputs, scales_of_inputs, planes, loudness, scales, prepared, skip, *of_rows, first, batch,
            count * batch, each, _ahead(plan, count * batch, u.device), cluster=split.cluster,
        )  # fmt: skip
        if put_together is not None:
            put_together(planes, scales, first, count)
        sum_up(inputs, scales_of_inputs, first, count)
    return dh


def oldest_capability(seqlen: int) -> tuple[int, int]:
    """Return the oldest compute capability that rows of so many tokens need."""
    return OLDEST_WITH_CLUSTERS if plan_for(seqlen).split.cluster > 1 else OLDEST_CAPABILITY


def _row_defines(plan: Plan, device: torch.device) -> dict[str, int | str]:
    # planes are the same whatever the dtype of the signals
    return plan.defines | {
        "VECTOR": 1, "FP16": 1, "TWISTS": twists(plan.split.cluster), "SEGMENTS": plan.segments,
        "COLUMNS": WIDTH, "BLOCKS": _blocks(plan.split), "PARTS": _parts(plan, device),
    }  # fmt: skip


def _blocks(split: Split) -> int:
    """Return how many blocks of rows a multiprocessor shall hold."""
    return WARPS_OF_SM // split.warps


def _each(plan: Plan, rows: int) -> int:
    """Return how many rows of a residue a block takes: several, if there are blocks enough to fill a GPU many times."""
    return EACH if plan.split.cluster == 1 and rows * plan.segments >= EACH * 8 * BLOCKS_OF_GPU else 1


def _ahead(plan: Plan, rows: int, device: torch.device) -> int:
    """Return how many residues further the blocks are that begin once all that a GPU holds have ended."""
    if device.type != "cuda":
        return 1
    held = _blocks(plan.split) * torch.cuda.get_device_properties(device).multi_processor_count
    return math.ceil(held / (plan.split.cluster * rows))


def _parts(plan: Plan, device: torch.device) -> int:
    """Return whether threads exchange real and imaginary parts at once (2), or one after the other (1)."""
    has_room = _blocks(plan.split) * (shared_bytes(plan.split) + _kept(plan) + RESERVED) <= _shared_of_sm(
        device
    )
    return 2 if plan.split.cluster > 1 or has_room else 1


def _slots(plan: Plan, device: torch.device) -> int:
    """Return the bytes that a block's threads exchange through, and need besides."""
    half = 512 * plan.split.points * plan.split.warps
    return shared_bytes(plan.split) - (0 if _parts(plan, device) == 2 else half)


def _kept(plan: Plan) -> int:
    """Return the bytes of a transform that waits in shared memory."""
    return 4 * plan.points


def _is_kept_in_shared(plan: Plan, device: torch.device) -> bool:
    """Return whether the blocks of a multiprocessor find room for a transform each besides their slots."""
    needed = _blocks(plan.split) * (_slots(plan, device) + _kept(plan) + RESERVED)
    return plan.split.cluster == 1 and needed <= _shared_of_sm(device)


def _shared_of_sm(device: torch.device) -> int:
    """Return the bytes of shared memory of a multiprocessor; where there is no GPU, an H100's."""
    if device.type != "cuda":
        return 228 << 10
    shared: int = torch.cuda.get_device_properties(device).shared_memory_per_multiprocessor
    return shared


def _row_tables(plan: Plan, device: torch.device) -> tuple[Tensor, Tensor | None]:
    split = plan.split
    roots = roots_of_rows(split.cluster, plan.segments, device) if split.cluster > 1 else None
    return tables_of_rows(*split, plan.segments, device), roots


def _check_spectrum(prepared: Tensor, plan: Plan, channels: int) -> None:
    expected = (channels * plan.segments, plan.words_of_filter)
    if prepared.shape != expected:
        raise ValueError(
            f"the prepared filter has shape {tuple(prepared.shape)}, not that of {channels} channels at this seqlen, "
            f"{expected}; prepare it by spectrum(h, seqlen)."
        )
