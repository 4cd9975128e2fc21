"""`causal_fir` on a GPU: in registers up to nine taps, on tensor cores from there to 256."""

from typing import Any

import torch
from torch import Tensor

from genomix_kernels.hyena_gated.filters import HyenaState, Taps
from genomix_kernels.hyena_gated.streams import Streams
from genomix_kernels.triton_support import launched_on, why_not_triton, with_unit_stride


def causal_fir_triton(
    u: Tensor,
    taps: Tensor,
    bias: Tensor | None = None,
    skip: Tensor | None = None,
    pre_gate: Tensor | None = None,
    post_gate: Tensor | None = None,
    tap_order: str = "convolution",
    tail: Tensor | None = None,
) -> Tensor:
    """As `causal_fir`, of all its arguments and, in inference, a tail; differentiable in all others."""
    signals = [None if x is None else with_unit_stride(x) for x in (post_gate, u, pre_gate)]
    y: Tensor = _GatedFir.apply(*signals, taps, skip, bias, tap_order, tail)  # type: ignore[no-untyped-call]
    return y


def why_not(
    u: Tensor,
    taps: Tensor,
    bias: Tensor | None = None,
    skip: Tensor | None = None,
    pre_gate: Tensor | None = None,
    post_gate: Tensor | None = None,
    tap_order: str = "convolution",
    tail: Tensor | None = None,
) -> str | None:
    """Return why this backend cannot serve, or None."""
    present = [x for x in (u, taps, bias, skip, pre_gate, post_gate, tail) if x is not None]
    reason = why_not_triton(*present)
    if reason is not None:
        return reason
    from genomix_kernels.hyena_gated.fir_launch import LONGEST

    if taps.shape[1] > LONGEST:
        return f"{taps.shape[1]} taps are more than {LONGEST}"
    if any(gate is not None and gate.dtype != u.dtype for gate in (pre_gate, post_gate)):
        return "gates and input differ in dtype"
    if tail is not None and torch.is_grad_enabled() and any(x.requires_grad for x in present):
        return "gradients behind a tail are not taken"
    return None


class _GatedFir(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        q: Tensor | None,
        k: Tensor,
        v: Tensor | None,
        h: Tensor,
        skip: Tensor | None,
        bias: Tensor | None,
        order: Any,
        tail: Tensor | None,
    ) -> Tensor:
        from genomix_kernels.hyena_gated.fir_launch import fir_forward

        ctx.save_for_backward(q, k, v, h, skip, bias)
        ctx.order = order
        state = None if tail is None else HyenaState(tail, tail.to(k.dtype).contiguous())
        inner = Taps(h.contiguous(), skip, order)
        with launched_on(k):
            return fir_forward(Streams(q, k, v), None, inner, bias, state)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        from genomix_kernels.hyena_gated.fir_launch import fir_backward

        q, k, v, h, skip, bias = ctx.saved_tensors
        dq, dk, dv = (None if x is None else x.new_empty(x.shape) for x in (q, k, v))
        assert dk is not None
        gradients = Streams(dq, dk, dv)
        with launched_on(k):
            found = fir_backward(
                Streams(q, k, v),
                None,
                Taps(h.contiguous(), skip, ctx.order),
                bias,
                with_unit_stride(dy),
                gradients,
            )
        return (
            *gradients,
            found.h.to(h.dtype),
            None if skip is None else found.skip.to(skip.dtype),
            None if bias is None else found.bias.to(bias.dtype),
            None,
            None,
        )
