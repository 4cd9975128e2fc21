"""Causal long convolutions of 16,385 to 4,194,304 tokens in three passes, the middle one over rows of a block.

A row is taken apart into R rows of complex numbers, one for each residue of its frequencies modulo R
(``cuda/split_segments.cuh``, ``cuda/staged.cuh``); blocks, or clusters of them, transform these as they do shorter real
rows, multiply and transform back in place (``cuda/split_rows.cuh``); and the results are put together. Planes between
passes are fp16 with powers of two.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from genomix_kernels.cuda_support import PACKAGE, CudaSource, element_of, launch
from genomix_kernels.fftconv.onepass_cuda import (
    OLDEST_CAPABILITY,
    OLDEST_WITH_CLUSTERS,
    Gradients,
)
from genomix_kernels.fftconv.split_passes import (
    groups_of,
    planes_of,
    putting_together,
    summing,
    taking_apart,
)
from genomix_kernels.fftconv.split_plan import LONGEST_OF_CLUSTERS, SHORTEST, Plan, plan_for
from genomix_kernels.fftconv.split_rows import BLOCKS_OF_GPU, PAIRS_OF_SM, Rows

FOLDER = PACKAGE / "fftconv" / "cuda"
_ROWS = (
    PACKAGE / "cuda" / "element.cuh",
    *(FOLDER / f"onepass_{part}.cuh" for part in ("tile", "signals", "row", "exchange", "kept")),
    *(FOLDER / f"split_{part}.cuh" for part in ("rows", "cubes", "cube_rows", "blocks")),
)
SPECTRUM = CudaSource("split_spectrum", (*_ROWS, FOLDER / "split_spectrum.cu"))
CONVOLVE = CudaSource("split_convolve", (*_ROWS, FOLDER / "split_convolve.cu"))
FILTERED = CudaSource("split_filtered", (*_ROWS, FOLDER / "split_filtered.cu"))
GRADIENTS = CudaSource("split_gradients", (*_ROWS, FOLDER / "split_gradients.cu"))
PAIR_FILTERED = CudaSource("split_pair_filtered", (*_ROWS, FOLDER / "split_pair_filtered.cu"))
PAIR_GRADIENTS = CudaSource("split_pair_gradients", (*_ROWS, FOLDER / "split_pair_gradients.cu"))


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
    rows = Rows(plan, h.device)
    for first, count in groups_of(plan, 1, len(h)):
        filters = prepared[first * plan.segments :]
        loudness = take_apart(filters, first, count)
        launch(
            SPECTRUM, rows.defines, rows.grid(count), rows.threads, rows.slots, filters, loudness, *rows.tables,
            cluster=plan.split.cluster,
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
    rows = Rows(plan, u.device)
    defines = rows.defines | {"IS_ADJOINT": int(is_adjoint), "SKIP": element_of(skip)}
    for first, count in groups:
        loudness = take_apart(planes, first, count)
        launch(
            CONVOLVE, defines, rows.grid(count * batch), rows.threads, rows.slots, planes, loudness, scales, prepared,
            skip, *rows.tables, first, batch, cluster=plan.split.cluster,
        )  # fmt: skip
        put_together(planes, scales, first, count)
    return y


def spectrum_bytes(channels: int, seqlen: int) -> int:
    """Return the bytes of `spectrum` of so many filters."""
    plan = plan_for(seqlen)
    return 4 * channels * plan.segments * plan.words_of_filter


def takes_filter(u: Float[Tensor, "B D L"]) -> bool:
    """Return whether `convolve_with` serves: shared memory has room for filters, and they are enough."""
    plan, (batch, channels, _seqlen) = plan_for(u.shape[-1]), u.shape
    return Rows(plan, u.device).has_room and (batch == 1 or channels * plan.segments >= BLOCKS_OF_GPU)


def goes_back(u: Float[Tensor, "B D L"]) -> bool:
    """Return whether `backward` is the faster one where clusters took rows forward: where it takes two rows at once."""
    plan = plan_for(u.shape[-1])
    return SHORTEST <= u.shape[-1] <= LONGEST_OF_CLUSTERS and Rows(plan, u.device).takes_pairs


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
    take_apart = taking_apart(plan, u, pre_gate)
    take_filter_apart = taking_apart(plan, h[None], None, is_filter=True)
    put_together = putting_together(plan, y, post_gate, second)
    rows = Rows(plan, u.device)
    defines = rows.defines | {"LEAVES": int(leaves_spectrum), "SKIP": element_of(skip)}
    each = rows.each(at_once)
    for first, count in groups:
        filters = prepared[first * plan.segments :] if leaves_spectrum else prepared
        loudness_of_filters = take_filter_apart(filters, first, count)
        loudness = take_apart(planes, first, count)
        grid, of_rows = rows.grid(count, each), (planes, loudness, scales, filters, loudness_of_filters, skip)
        if batch == 1 and rows.takes_pairs:
            launch(
                PAIR_FILTERED, defines | {"BLOCKS": PAIRS_OF_SM}, grid, rows.threads, rows.slots_of_pair, *of_rows,
                rows.tables[0], first, count, each,
            )  # fmt: skip
        else:
            launch(
                FILTERED, defines, grid, rows.threads, rows.slots_and_transform, *of_rows, *rows.tables, first, batch,
                count, each,
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
    groups = groups_of(plan, batch, channels)  # as many for the planes of u as for those of dy
    at_once = groups[0][1]
    inputs, scales_of_inputs = planes_of(plan, at_once * batch, u.device)
    planes, scales = planes_of(plan, at_once * batch, u.device)
    take_apart, take_apart_dy = taking_apart(plan, u, pre_gate), taking_apart(plan, dy, post_gate)
    rows = Rows(plan, u.device)
    is_summed = rows.takes_sums(at_once, batch)
    sums, scales_of_sums = planes_of(plan, at_once, u.device) if is_summed else (inputs, scales_of_inputs)
    sum_up = summing(plan, dh, 1 if is_summed else batch)
    each = batch if is_summed else rows.each(at_once * batch)
    defines = rows.defines | {"HAS_SIGNALS": int(prepared is not None), "SKIP": element_of(skip)}
    for first, count in groups:
        loudness_of_inputs, loudness = take_apart(inputs, first, count), take_apart_dy(planes, first, count)
        n = count * batch
        grid = rows.grid(n, each)
        if rows.takes_pairs:
            launch(
                PAIR_GRADIENTS, defines | {"SUMS": int(is_summed), "BLOCKS": PAIRS_OF_SM}, grid, rows.threads,
                rows.slots_and_sums if is_summed else rows.slots_of_pair, inputs, loudness_of_inputs, planes, loudness,
                scales, sums, scales_of_sums, prepared, skip, rows.tables[0], first, batch, n, each,
            )  # fmt: skip
        else:
            launch(
                GRADIENTS, defines | {"IN_SHARED": int(rows.has_room)}, grid, rows.threads,
                rows.slots_and_transform if rows.has_room else rows.slots, inputs, loudness_of_inputs,
                scales_of_inputs, planes, loudness, scales, prepared, skip, *rows.tables, first, batch, n, each,
                cluster=plan.split.cluster,
            )  # fmt: skip
        if put_together is not None:
            put_together(planes, scales, first, count)
        sum_up(sums, scales_of_sums, first, count)
    return dh


def oldest_capability(seqlen: int) -> tuple[int, int]:
    """Return the oldest compute capability that rows of so many tokens need."""
    return OLDEST_WITH_CLUSTERS if plan_for(seqlen).split.cluster > 1 else OLDEST_CAPABILITY


def _check_spectrum(prepared: Tensor, plan: Plan, channels: int) -> None:
    expected = (channels * plan.segments, plan.words_of_filter)
    if prepared.shape != expected:
        raise ValueError(
            f"the prepared filter has shape {tuple(prepared.shape)}, not that of {channels} channels at this seqlen, "
            f"{expected}; prepare it by spectrum(h, seqlen)."
        )
