"""`hyena_gated` on a GPU: one kernel forward; backward with recomputation, so that no intermediate is kept in between.

Short filters take one kernel backward, the others three, with one temporary of the size of the output.
"""

from typing import Any

import torch
from torch import Tensor

from genomix_kernels.causal_fir import tail_after
from genomix_kernels.hyena_gated.filters import HyenaState, Modes, Taps
from genomix_kernels.hyena_gated.modal_autograd import contiguous, hyena_modal, tail_of
from genomix_kernels.hyena_gated.reference import fir_reference, streams
from genomix_kernels.hyena_gated.streams import streams_of
from genomix_kernels.triton_support import launched_on, why_not_triton, with_unit_stride

LONGEST_FEATURIZER = 8
"""Taps of a featurizer: what a lane of eight tokens and the eight before it can see."""

MOST_MODES = 64


def hyena_gated_triton(
    p: Tensor,
    featurizer: Taps,
    inner: Taps | Modes,
    is_interleaved: bool,
    state: HyenaState | None = None,
    wants_state: bool = True,
) -> tuple[Tensor, HyenaState | None]:
    """As `hyena_gated`; the state after the last token if wanted."""
    p = with_unit_stride(p)
    if isinstance(inner, Taps):
        y: Tensor = _HyenaFir.apply(  # type: ignore[no-untyped-call]
            p, featurizer.h, inner.h, inner.skip, featurizer.order, inner.order, is_interleaved, state
        )
        return y, _taps_state(p, featurizer, inner, is_interleaved, state) if wants_state else None
    from genomix_kernels.hyena_gated import modal_launch

    return hyena_modal(modal_launch, p, featurizer, inner, is_interleaved, state, wants_state)


def why_not(
    p: Tensor,
    featurizer: Taps,
    inner: Taps | Modes,
    is_interleaved: bool = True,
    state: HyenaState | None = None,
    wants_state: bool = True,
) -> str | None:
    """Return why this backend cannot serve, or None."""
    parts = (featurizer.h, *(part for part in inner[:3] if isinstance(part, Tensor)), *(state or ()))
    reason = why_not_triton(p, *parts)
    if reason is not None:
        return reason
    if featurizer.h.shape[1] > LONGEST_FEATURIZER:
        return f"the featurizer has {featurizer.h.shape[1]} taps, more than {LONGEST_FEATURIZER}"
    if isinstance(inner, Taps):
        from genomix_kernels.hyena_gated.fir_launch import LONGEST

        if inner.h.shape[1] > LONGEST:
            return f"{inner.h.shape[1]} taps are more than {LONGEST}"
    elif inner.log_poles.dtype is not torch.float32 or inner.residues.dtype is not torch.float32:
        return "poles and residues are not in fp32"
    elif inner.log_poles.shape[1] > MOST_MODES:
        return f"{inner.log_poles.shape[1]} modes are more than {MOST_MODES}"
    has_gradient = torch.is_grad_enabled() and any(x.requires_grad for x in (p, *parts))
    if state is not None and has_gradient:
        return "gradients behind a state are not taken"
    if has_gradient and isinstance(inner, Modes) and p.dtype is torch.float32:
        return "gradients of fp32 inputs need more digits than its products have"
    if wants_state and has_gradient and isinstance(inner, Modes):
        return "gradients of a state are not taken"
    return None


class _HyenaFir(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        p: Tensor,
        featurizer_h: Tensor,
        h: Tensor,
        skip: Tensor | None,
        featurizer_order: Any,
        order: Any,
        is_interleaved: bool,
        state: HyenaState | None,
    ) -> Tensor:
        from genomix_kernels.hyena_gated.fir_launch import fir_forward

        ctx.save_for_backward(p, featurizer_h, h, skip)
        ctx.settings = featurizer_order, order, is_interleaved
        signals, rows = streams_of(p, is_interleaved)
        featurizer, inner = (
            Taps(featurizer_h.contiguous(), None, featurizer_order),
            Taps(h.contiguous(), skip, order),
        )
        with launched_on(p):
            return fir_forward(signals, featurizer, inner, None, contiguous(state, p.dtype), rows)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        from genomix_kernels.hyena_gated.fir_launch import fir_backward

        p, featurizer_h, h, skip = ctx.saved_tensors
        featurizer_order, order, is_interleaved = ctx.settings
        signals, rows = streams_of(p, is_interleaved)
        dp = torch.empty_like(p)
        d_signals, _ = streams_of(dp, is_interleaved)
        featurizer, inner = (
            Taps(featurizer_h.contiguous(), None, featurizer_order),
            Taps(h.contiguous(), skip, order),
        )
        with launched_on(p):
            found = fir_backward(signals, featurizer, inner, None, with_unit_stride(dy), d_signals, rows)
        assert found.featurizer is not None
        d_skip = None if skip is None else found.skip.to(skip.dtype)
        return (
            dp,
            found.featurizer.to(featurizer_h.dtype),
            found.h.to(h.dtype),
            d_skip,
            None,
            None,
            None,
            None,
        )


def _taps_state(
    p: Tensor, featurizer: Taps, inner: Taps, is_interleaved: bool, state: HyenaState | None
) -> HyenaState:
    """Return the state after ``p``: the gated inputs at its end are computed again from its last tokens."""
    reach, length = featurizer.h.shape[1] - 1, inner.h.shape[1] - 1
    seqlen = p.shape[-1]
    first = max(seqlen - length, 0)
    if first >= reach:
        before = p[..., first - reach : first]
    else:
        older = p.new_zeros(*p.shape[:2], reach) if state is None else state.featurizer.to(p.dtype)
        before = torch.cat([older, p[..., :first]], dim=-1)[..., first:]
    precise = torch.promote_types(p.dtype, torch.float32)
    z, _ = fir_reference(p[..., first:].to(precise), featurizer, before.to(precise))
    _, k, v = streams(z, p.shape[1] // 3, is_interleaved)
    m = (k * v).to(p.dtype)
    past = p.new_zeros(p.shape[0], p.shape[1] // 3, length) if state is None else state.inner
    return HyenaState(tail_of(p, featurizer, state), tail_after(past, m))
