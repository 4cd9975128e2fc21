"""Gated filters with taps, with gradients, on kernels that are to be named: Triton's or those in CUDA C++."""

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from genomix_kernels.causal_fir import tail_after
from genomix_kernels.hyena_gated.filters import HyenaState, Taps
from genomix_kernels.hyena_gated.modal_autograd import contiguous, tail_of
from genomix_kernels.hyena_gated.reference import fir_reference, streams
from genomix_kernels.hyena_gated.streams import Streams, streams_of
from genomix_kernels.triton_support import launched_on, why_not_triton, with_unit_stride


@dataclass(frozen=True, kw_only=True)
class FirGradients:
    """Gradients of a gated filter's parameters, in fp32; those of the streams are written to tensors given."""

    h: Tensor
    skip: Tensor
    bias: Tensor
    featurizer: Tensor | None


class FirKernels(Protocol):
    """A module that launches gated filters with taps."""

    def fir_forward(
        self,
        streams: Streams,
        featurizer: Taps,
        inner: Taps,
        bias: Tensor | None,
        state: HyenaState | None,
        rows: tuple[int, int],
    ) -> Tensor:
        """Return ``q (h * m + skip m + bias)`` of the featurized streams, ``(B, D, L)``."""
        ...

    def fir_backward(
        self,
        streams: Streams,
        featurizer: Taps,
        inner: Taps,
        bias: Tensor | None,
        dy: Tensor,
        d_streams: Streams,
        rows: tuple[int, int],
    ) -> FirGradients:
        """Write the gradients of the streams, and return those of the parameters."""
        ...


def hyena_fir(
    kernels: FirKernels,
    p: Tensor,
    featurizer: Taps,
    inner: Taps,
    is_interleaved: bool,
    state: HyenaState | None,
    wants_state: bool,
) -> tuple[Tensor, HyenaState | None]:
    """As `hyena_gated` with taps; the state after the last token if wanted."""
    y: Tensor = _HyenaFir.apply(  # type: ignore[no-untyped-call]
        kernels, p, featurizer.h, inner.h, inner.skip, featurizer.order, inner.order, is_interleaved, state
    )
    return y, taps_state(p, featurizer, inner, is_interleaved, state) if wants_state else None


class _HyenaFir(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        kernels: FirKernels,
        p: Tensor,
        featurizer_h: Tensor,
        h: Tensor,
        skip: Tensor | None,
        featurizer_order: Any,
        order: Any,
        is_interleaved: bool,
        state: HyenaState | None,
    ) -> Tensor:
        ctx.save_for_backward(p, featurizer_h, h, skip)
        ctx.kernels = kernels
        ctx.settings = featurizer_order, order, is_interleaved
        signals, rows = streams_of(p, is_interleaved)
        featurizer, inner = (
            Taps(featurizer_h.contiguous(), None, featurizer_order),
            Taps(h.contiguous(), skip, order),
        )
        with launched_on(p):
            return kernels.fir_forward(signals, featurizer, inner, None, contiguous(state, p.dtype), rows)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
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
            found = ctx.kernels.fir_backward(
                signals, featurizer, inner, None, with_unit_stride(dy), d_signals, rows
            )
        assert found.featurizer is not None
        d_skip = None if skip is None else found.skip.to(skip.dtype)
        return (
            None, dp, found.featurizer.to(featurizer_h.dtype), found.h.to(h.dtype), d_skip, None, None, None, None,
        )  # fmt: skip


def taps_state(
    p: Tensor, featurizer: Taps, inner: Taps, is_interleaved: bool, state: HyenaState | None
) -> HyenaState:
    """Return the state after ``p``: the gated inputs at its end are computed again from its last tokens."""
    tensors = [p, featurizer.h, *(() if state is None else state)]
    has_gradient = torch.is_grad_enabled() and any(x.requires_grad for x in tensors)
    if inner.h.shape[1] > 1 and not has_gradient and why_not_triton(*tensors) is None:
        from genomix_kernels.hyena_gated.last_inputs import last_inputs

        (_, k, v), _ = streams_of(p, is_interleaved)
        assert v is not None
        m = last_inputs(k, v, featurizer, inner.h.shape[1] - 1, state, is_interleaved)
        return HyenaState(tail_of(p, featurizer, state), m)
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
