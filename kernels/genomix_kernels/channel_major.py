"""Linear maps between features-last and channels-first tensors, where no copy transposes anything.

Filters read and write ``(B, C, L)``; the rest of a model has ``(B, L, D)``. A matrix product writes either layout as
easily, forward and backward, if it is asked to: these two functions ask. What autograd makes of ``linear`` and
``transpose`` instead hands the filters gradients whose last axis is not the one that they walk along.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor


def to_channels(
    x: Float[Tensor, "B L D"], weight: Float[Tensor, "C D"], bias: Float[Tensor, " C"] | None = None
) -> Float[Tensor, "B C L"]:
    """Return ``weight x + bias`` with the channels first; its gradients are written features last."""
    x, weight = _autocast(x, weight)
    y: Tensor = _ToChannels.apply(x, weight, None if bias is None else bias.to(x.dtype))  # type: ignore[no-untyped-call]
    return y


def from_channels(
    y: Float[Tensor, "B D L"], weight: Float[Tensor, "E D"], bias: Float[Tensor, " E"] | None = None
) -> Float[Tensor, "B L E"]:
    """Return ``weight y + bias`` with the features last; its gradients are written channels first."""
    y, weight = _autocast(y, weight)
    out: Tensor = _FromChannels.apply(y, weight, None if bias is None else bias.to(y.dtype))  # type: ignore[no-untyped-call]
    return out


class _ToChannels(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        if bias is None:
            return _products(weight, x.transpose(1, 2))
        return torch.baddbmm(bias[:, None], weight.expand(len(x), -1, -1), x.transpose(1, 2))

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        dx = None
        if ctx.needs_input_grad[0]:
            dx = torch.bmm(dy.transpose(1, 2), weight.expand(len(dy), -1, -1))
        dw = _summed_products(dy, x) if ctx.needs_input_grad[1] else None
        return dx, dw, dy.sum((0, 2)) if ctx.needs_input_grad[2] else None


class _FromChannels(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, y: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(y, weight)
        ctx.has_bias = bias is not None
        if bias is None:
            return torch.bmm(y.transpose(1, 2), weight.t().expand(len(y), -1, -1))
        if len(y) == 1:
            return torch.addmm(bias, y[0].t(), weight.t())[None]
        return torch.baddbmm(bias, y.transpose(1, 2), weight.t().expand(len(y), -1, -1))

    @staticmethod
    def backward(ctx: Any, d_out: Tensor) -> tuple[Tensor | None, ...]:
        y, weight = ctx.saved_tensors
        dy = _products(weight.t(), d_out.transpose(1, 2)) if ctx.needs_input_grad[0] else None
        dw = _summed_products(d_out.transpose(1, 2), y.transpose(1, 2)) if ctx.needs_input_grad[1] else None
        return dy, dw, d_out.sum((0, 1)) if ctx.has_bias and ctx.needs_input_grad[2] else None


def _products(matrix: Float[Tensor, "C D"], x: Float[Tensor, "B D L"]) -> Float[Tensor, "B C L"]:
    """Return ``matrix x[b]`` for each b, contiguous: ``torch.matmul`` may compute its transpose and return a view."""
    return torch.bmm(matrix.expand(len(x), -1, -1), x)


def _summed_products(left: Float[Tensor, "B C L"], right: Float[Tensor, "B L D"]) -> Float[Tensor, "C D"]:
    """Return ``sum_b left[b] right[b]``."""
    if len(left) == 1:
        return left[0] @ right[0]
    return torch.bmm(left, right).sum(0)


def _autocast(x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return both in the dtype that autocast, if it is on, takes matrix products in."""
    if torch.is_autocast_enabled(x.device.type):
        dtype = torch.get_autocast_dtype(x.device.type)
        return x.to(dtype), weight.to(dtype)
    return x, weight
