"""`sine_filter` as one Triton kernel forward and two backward; nothing as long as the sequence is kept between them.

Gradients of parameters are summed in a fixed order: they are the same each time.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from genomix_kernels.implicit_filter.triton_kernels import (
    sine_filter_bwd_last_kernel,
    sine_filter_bwd_sines_kernel,
    sine_filter_fwd_kernel,
)
from genomix_kernels.triton_support import launched_on, n_processors, next_power_of_two, with_unit_stride

CHANNELS_A_TILE = 64
TILES_A_PROGRAM = 4
"""Tiles of the last layer whose weights fit in shared memory; more channels are served by another launch."""

FORWARD = {"BLOCK_L": 64, "num_warps": 4, "num_stages": 1}
FORWARD_PROGRAMS_A_PROCESSOR = 2
BACKWARD_LAST = {"BLOCK_L": 128, "num_warps": 8, "num_stages": 1}
BACKWARD_SINES = {"BLOCK_L": 64, "num_warps": 4, "num_stages": 1}
SINES_PROGRAMS_A_PROCESSOR = 2
"""Positions a block, and how many programs the shared memory of a multiprocessor has room for."""


def sine_filter_triton(
    z: Float[Tensor, "L E"],
    weights: tuple[Float[Tensor, "_ _"], ...],
    biases: tuple[Float[Tensor, " F"], ...],
    freq: Float[Tensor, " F"] | None,
    *,
    t: Float[Tensor, " L"] | None,
    decay: Float[Tensor, " C"] | None,
    shift: float,
) -> Float[Tensor, "C L"]:
    """As `sine_filter`; differentiable once."""
    assert freq is not None
    first, *inner, last = weights
    # one tensor for all inner layers, so that the kernels know where each begins
    width = freq.shape[0]
    inner_weights = torch.stack(inner) if inner else first.new_empty(0, width, width)
    inner_biases = torch.stack(biases[1:]) if inner else first.new_empty(0, width)
    k = _SineFilter.apply(z, first, biases[0], inner_weights, inner_biases, last, freq, t, decay, shift)  # type: ignore[no-untyped-call]
    assert isinstance(k, Tensor)
    return k


class _SineFilter(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        z: Tensor,
        first: Tensor,
        first_bias: Tensor,
        inner: Tensor,
        inner_biases: Tensor,
        last: Tensor,
        freq: Tensor,
        t: Tensor | None,
        decay: Tensor | None,
        shift: float,
    ) -> Tensor:
        tensors = [x.contiguous() for x in (z, first, first_bias, inner, inner_biases, last, freq)]
        window = [None if x is None or decay is None else x.contiguous() for x in (t, decay)]
        ctx.save_for_backward(*tensors, *window)
        ctx.shift = shift
        z, first, first_bias, inner, inner_biases, last, freq = tensors
        seqlen = z.shape[0]
        k = z.new_empty(last.shape[0], seqlen)
        n_programs = _n_programs(z, FORWARD["BLOCK_L"], FORWARD_PROGRAMS_A_PROCESSOR)
        with launched_on(z):
            for start, end in _slices(last.shape[0]):
                t_of, decay_of = _window_of(window, start, end, z)
                sine_filter_fwd_kernel[(n_programs,)](
                    z, first, first_bias, inner, inner_biases, last[start:end], freq, t_of, decay_of, k[start:end],
                    shift, end - start, seqlen,
                    HAS_WINDOW=decay is not None, **_tiles(end - start), **_sizes(z, inner), **FORWARD,
                )  # fmt: skip
        return k

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dk: Tensor) -> tuple[Tensor | None, ...]:
        *tensors, t, decay = ctx.saved_tensors
        z, first, first_bias, inner, inner_biases, last, freq = tensors
        dk = with_unit_stride(dk)
        seqlen, n_features = z.shape
        n_inner, width = inner.shape[:2]
        sizes = _sizes(z, inner)
        da = z.new_empty(seqlen, width)
        n_last = _n_programs(z, BACKWARD_LAST["BLOCK_L"], 1)
        dlast = []
        n_sines = _n_programs(z, BACKWARD_SINES["BLOCK_L"], SINES_PROGRAMS_A_PROCESSOR)
        dinner = z.new_empty(n_sines, n_inner, width, width)
        dfeatures = z.new_empty(n_sines, n_inner + 1, width, n_features + 1)
        dz = torch.empty_like(z) if ctx.needs_input_grad[0] else None
        with launched_on(z):
            for start, end in _slices(last.shape[0]):
                t_of, decay_of = _window_of([t, decay], start, end, z)
                parts = z.new_empty(n_last, end - start, width)
                sine_filter_bwd_last_kernel[(n_last,)](
                    z, first, first_bias, inner, inner_biases, last[start:end], freq, t_of, decay_of, dk[start:end],
                    dk.stride(0), parts, da, ctx.shift, end - start, seqlen,
                    HAS_WINDOW=decay is not None, IS_FIRST=start == 0, **_tiles(end - start), **sizes, **BACKWARD_LAST,
                )  # fmt: skip
                dlast.append(parts.sum(0))
            sine_filter_bwd_sines_kernel[(n_sines,)](
                z, first, first_bias, inner, inner_biases, freq, da, dinner, dfeatures, z if dz is None else dz,
                seqlen, HAS_DZ=dz is not None, **sizes, **BACKWARD_SINES,
            )  # fmt: skip
        dinner, dfeatures = dinner.sum(0), dfeatures.sum(0)
        # of the angles a = freq (W h + b): dW = freq da h, db = freq da, and dfreq = da (W h + b)
        dfirst, dbiases = dfeatures[0, :, :-1], dfeatures[..., -1]
        dfreq = (first * dfirst).sum(1) + first_bias * dbiases[0]
        dfreq = dfreq + (inner * dinner).sum((0, 2)) + (inner_biases * dbiases[1:]).sum(0)
        column = freq[:, None]
        return (
            dz, column * dfirst, freq * dbiases[0], column * dinner, freq * dbiases[1:], torch.cat(dlast), dfreq,
            None, None, None,
        )  # fmt: skip


def _n_programs(z: Tensor, block: int, programs_a_processor: int) -> int:
    return min(-(-z.shape[0] // block), programs_a_processor * n_processors(z.device))


def _slices(n_filters: int) -> list[tuple[int, int]]:
    """Return first and last channel of each launch."""
    most = CHANNELS_A_TILE * TILES_A_PROGRAM
    return [(start, min(start + most, n_filters)) for start in range(0, n_filters, most)]


def _tiles(n_filters: int) -> dict[str, int]:
    return {"BLOCK_C": CHANNELS_A_TILE, "C_TILES": -(-n_filters // CHANNELS_A_TILE)}


def _window_of(window: list[Tensor | None], start: int, end: int, other: Tensor) -> tuple[Tensor, Tensor]:
    """Return times and decays of these channels; without a window anything, as a kernel takes no None."""
    t, decay = window
    return (other, other) if t is None or decay is None else (t, decay[start:end])


def _sizes(z: Tensor, inner: Tensor) -> dict[str, int]:
    n_inner, width = inner.shape[:2]
    block_f = max(16, next_power_of_two(width))
    return {"E": z.shape[1], "BLOCK_E": 16, "F": width, "BLOCK_F": block_f, "N_INNER": n_inner}
