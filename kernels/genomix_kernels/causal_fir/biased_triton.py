"""`biased_causal_fir` by the kernels of `causal_fir`, its two biases as one, and the first tokens by themselves."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from genomix_kernels.causal_fir.reference import causal_fir_reference
from genomix_kernels.hyena_gated.filters import Taps
from genomix_kernels.hyena_gated.fir_launch import fir_backward, fir_forward
from genomix_kernels.hyena_gated.streams import Streams
from genomix_kernels.triton_support import launched_on, with_unit_stride


def biased_causal_fir_triton(
    u: Tensor, input_bias: Tensor, taps: Tensor, bias: Tensor, tap_order: str = "convolution"
) -> Tensor:
    """As `biased_causal_fir`; gradients of first order."""
    y: Tensor = _BiasedFir.apply(with_unit_stride(u), input_bias, taps, bias, tap_order)  # type: ignore[no-untyped-call]
    return y


class _BiasedFir(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, u: Tensor, input_bias: Tensor, taps: Tensor, bias: Tensor, tap_order: Any
    ) -> Tensor:
        ctx.save_for_backward(u, input_bias, taps, bias)
        ctx.order = tap_order
        h = _in_convolution_order(taps, tap_order).float()
        together = bias.float() + input_bias.float() * h.sum(1)
        n_first = min(taps.shape[1] - 1, u.shape[-1])
        with launched_on(u):
            y = fir_forward(
                Streams(None, u, None), None, Taps(taps.contiguous(), None, tap_order), together, None
            )
        if n_first:
            first = u[..., :n_first].float() + input_bias.float()[:, None]
            y[..., :n_first] = causal_fir_reference(first, h, bias.float())
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        u, input_bias, taps, bias = ctx.saved_tensors
        dy = with_unit_stride(dy)
        du = u.new_empty(u.shape)
        streams, gradients = Streams(None, u, None), Streams(None, du, None)
        inner = Taps(taps.contiguous(), None, ctx.order)
        with launched_on(u):
            found = fir_backward(streams, None, inner, bias, dy, gradients)
        assert found.bias is not None
        # what a tap has seen of the constant: all outputs' gradients but those before its delay
        of_first = dy[..., : taps.shape[1] - 1].float().sum(0)
        before = torch.nn.functional.pad(of_first.cumsum(1), (1, taps.shape[1] - 1 - of_first.shape[1]))
        if of_first.shape[1] < taps.shape[1] - 1:  # a sequence shorter than the filter
            before[:, of_first.shape[1] + 1 :] = before[:, of_first.shape[1], None]
        seen = found.bias.float()[:, None] - before
        h = _in_convolution_order(taps, ctx.order).float()
        dh = found.h.float() + _in_convolution_order(seen * input_bias.float()[:, None], ctx.order)
        return (
            du,
            (seen * h).sum(1).to(input_bias.dtype),
            dh.to(taps.dtype),
            found.bias.to(bias.dtype),
            None,
        )


def _in_convolution_order(taps: Tensor, tap_order: str) -> Tensor:
    """Return taps in convolution order, or such in the order of ``taps``: it is its own inverse."""
    return taps if tap_order == "convolution" else taps.flip(-1)
