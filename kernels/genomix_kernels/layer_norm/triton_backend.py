"""`layer_norm` and `add_layer_norm` as one Triton kernel forward and one backward.

Backward keeps the inputs alone. Gradients of parameters are summed in a fixed order: they are the same each time.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from genomix_kernels.layer_norm.triton_kernels import layer_norm_bwd_kernel, layer_norm_fwd_kernel
from genomix_kernels.triton_support import launched_on, n_processors, rows_of

PROGRAMS_A_PROCESSOR = 8
"""Of the backward pass: each sums its part of the gradients of scale and bias over many rows."""


def layer_norm_triton(
    x: Float[Tensor, "*shape D"],
    scale: Float[Tensor, " D"],
    bias: Float[Tensor, " D"],
    *,
    eps: float,
    out_dtype: torch.dtype,
) -> Float[Tensor, "*shape D"]:
    """As `layer_norm`."""
    normed, _ = _LayerNorm.apply(x, None, scale, bias, None, eps, out_dtype)  # type: ignore[no-untyped-call]
    assert isinstance(normed, Tensor)
    return normed


def add_layer_norm_triton(
    x: Float[Tensor, "*shape D"],
    residual: Float[Tensor, "*shape D"],
    scale: Float[Tensor, " D"],
    bias: Float[Tensor, " D"],
    *,
    x_bias: Float[Tensor, " D"] | None = None,
    eps: float,
    out_dtype: torch.dtype,
) -> tuple[Float[Tensor, "*shape D"], Float[Tensor, "*shape D"]]:
    """As `add_layer_norm`."""
    normed, s = _LayerNorm.apply(x, residual, scale, bias, x_bias, eps, out_dtype)  # type: ignore[no-untyped-call]
    return normed, s


class _LayerNorm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        residual: Tensor | None,
        scale: Tensor,
        bias: Tensor,
        x_bias: Tensor | None,
        eps: float,
        out_dtype: torch.dtype,
    ) -> tuple[Tensor, Tensor | None]:
        x, scale, bias = x.contiguous(), scale.contiguous(), bias.contiguous()
        residual = None if residual is None else residual.contiguous()
        normed = torch.empty_like(x, dtype=out_dtype)
        s = None
        if residual is not None:
            s = torch.empty_like(x, dtype=torch.promote_types(x.dtype, residual.dtype))
        n_rows, n_tiles, settings = rows_of(x)
        with launched_on(x):
            layer_norm_fwd_kernel[(n_tiles,)](
                x, scale if x_bias is None else x_bias.contiguous(), x if residual is None else residual, scale, bias,
                normed, normed if s is None else s, n_rows, eps, HAS_RESIDUAL=residual is not None,
                HAS_X_BIAS=x_bias is not None, **settings,
            )  # fmt: skip
        ctx.save_for_backward(x if s is None else s, scale)
        ctx.set_materialize_grads(False)
        ctx.dtypes = x.dtype, None if residual is None else residual.dtype, bias.dtype
        ctx.x_bias_dtype = None if x_bias is None else x_bias.dtype
        ctx.eps = eps
        return normed, s

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dnormed: Tensor | None, ds: Tensor | None) -> tuple[Tensor | None, ...]:
        x, scale = ctx.saved_tensors
        x_dtype, residual_dtype, bias_dtype = ctx.dtypes
        has_x_bias = ctx.x_bias_dtype is not None
        if dnormed is None:
            return _of_sum_alone(ctx, ds)
        dnormed, ds = dnormed.contiguous(), None if ds is None else ds.contiguous()
        n_rows, n_tiles, settings = rows_of(x)
        n_programs = min(n_tiles, PROGRAMS_A_PROCESSOR * n_processors(x.device))
        dx = torch.empty_like(x)
        # a branch in 16 bits beside a stream in 32
        low = torch.empty_like(x, dtype=x_dtype) if x_dtype != dx.dtype and ctx.needs_input_grad[0] else None
        parts = torch.empty(n_programs, 3, x.shape[-1], device=x.device, dtype=torch.float32)
        with launched_on(x):
            layer_norm_bwd_kernel[(n_programs,)](
                x, scale, dnormed, dnormed if ds is None else ds, dx, dx if low is None else low, parts, n_rows,
                ctx.eps, HAS_DSUM=ds is not None, HAS_LOW=low is not None, HAS_X_BIAS=has_x_bias, **settings,
            )  # fmt: skip
        of_scale, of_bias, *rest = parts[:, : 3 if has_x_bias else 2].sum(0)
        return (
            dx if low is None else low,
            dx.to(residual_dtype) if ctx.needs_input_grad[1] else None,
            of_scale.to(scale.dtype),
            of_bias.to(bias_dtype),
            rest[0].to(ctx.x_bias_dtype) if rest else None,
            None,
            None,
        )


def _of_sum_alone(ctx: Any, ds: Tensor | None) -> tuple[Tensor | None, ...]:
    """Return the gradients where nothing has read the norm."""
    x_dtype, residual_dtype, _ = ctx.dtypes
    if ds is None:
        return (None,) * 7
    dx_bias = None if ctx.x_bias_dtype is None else ds.flatten(0, -2).sum(0, dtype=torch.float32)
    return (
        ds.to(x_dtype),
        ds.to(residual_dtype) if ctx.needs_input_grad[1] else None,
        None,
        None,
        None if dx_bias is None else dx_bias.to(ctx.x_bias_dtype),
        None,
        None,
    )
