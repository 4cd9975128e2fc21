"""`rms_norm` and `add_rms_norm` as one Triton kernel forward and one backward.

Backward keeps the inputs alone. The gradient of ``scale`` is summed in a fixed order, so that it is the same each time.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from genomix_kernels.rms_norm.triton_kernels import rms_norm_bwd_kernel, rms_norm_fwd_kernel
from genomix_kernels.triton_support import launched_on, n_processors, rows_of

THREADS_A_PROCESSOR = {2: 700, 4: 512}
"""By bytes an element, about how many threads the registers of a multiprocessor allow at once in the backward pass.

Its programs loop over rows, so that each sums its part of the gradient of ``scale``. More would run in a second, short
round.
"""


def rms_norm_triton(
    x: Float[Tensor, "*shape D"],
    scale: Float[Tensor, " D"],
    *,
    eps: float,
    eps_outside_root: bool,
    out_dtype: torch.dtype | None = None,
) -> Float[Tensor, "*shape D"]:
    """As `rms_norm`."""
    normed, _ = _RMSNorm.apply(x, None, scale, eps, eps_outside_root, out_dtype)  # type: ignore[no-untyped-call]
    assert isinstance(normed, Tensor)
    return normed


def add_rms_norm_triton(
    x: Float[Tensor, "*shape D"],
    residual: Float[Tensor, "*shape D"],
    scale: Float[Tensor, " D"],
    *,
    eps: float,
    eps_outside_root: bool,
    out_dtype: torch.dtype | None = None,
) -> tuple[Float[Tensor, "*shape D"], Float[Tensor, "*shape D"]]:
    """As `add_rms_norm`."""
    normed, s = _RMSNorm.apply(x, residual, scale, eps, eps_outside_root, out_dtype)  # type: ignore[no-untyped-call]
    return normed, s


class _RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        residual: Tensor | None,
        scale: Tensor,
        eps: float,
        eps_outside_root: bool,
        out_dtype: torch.dtype | None,
    ) -> tuple[Tensor, Tensor | None]:
        x, scale = x.contiguous(), scale.contiguous()
        residual = None if residual is None else residual.contiguous()
        dtype = x.dtype if residual is None else torch.promote_types(x.dtype, residual.dtype)
        normed = torch.empty_like(x, dtype=out_dtype or dtype)
        s = None if residual is None else torch.empty_like(x, dtype=dtype)
        n_rows, n_tiles, settings = rows_of(x)
        with launched_on(x):
            rms_norm_fwd_kernel[(n_tiles,)](
                x,
                x if residual is None else residual,
                scale,
                normed,
                x if s is None else s,
                n_rows,
                eps,
                EPS_OUTSIDE_ROOT=eps_outside_root,
                HAS_RESIDUAL=residual is not None,
                **settings,
            )
        ctx.save_for_backward(x if s is None else s, scale)
        ctx.set_materialize_grads(False)
        ctx.dtypes = x.dtype, dtype if residual is None else residual.dtype
        ctx.eps, ctx.eps_outside_root = eps, eps_outside_root
        return normed, s

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dnormed: Tensor | None, ds: Tensor | None) -> tuple[Tensor | None, ...]:
        x, scale = ctx.saved_tensors
        dx, dscale = ds, None
        if dnormed is not None:
            dx, dscale = _backward(x, scale, dnormed, ds, ctx.eps, ctx.eps_outside_root)
        if dx is None:
            return None, None, dscale, None, None, None
        x_dtype, residual_dtype = ctx.dtypes
        return (
            dx.to(x_dtype),
            dx.to(residual_dtype) if ctx.needs_input_grad[1] else None,
            dscale,
            None,
            None,
            None,
        )


def _backward(
    x: Tensor, scale: Tensor, dnormed: Tensor, ds: Tensor | None, eps: float, eps_outside_root: bool
) -> tuple[Tensor, Tensor]:
    dnormed = dnormed.contiguous()
    ds = None if ds is None else ds.contiguous()
    n_rows, n_tiles, settings = rows_of(x)
    threads = THREADS_A_PROCESSOR[max(x.element_size(), dnormed.element_size())]
    at_once = n_processors(x.device) * max(1, round(threads / (32 * settings["num_warps"])))
    n_programs = min(n_tiles, at_once)
    dx = torch.empty_like(x)
    parts = torch.empty(n_programs, x.shape[-1], device=x.device, dtype=torch.float32)
    with launched_on(x):
        rms_norm_bwd_kernel[(n_programs,)](
            x,
            scale,
            dnormed,
            dnormed if ds is None else ds,
            dx,
            parts,
            n_rows,
            eps,
            HAS_DSUM=ds is not None,
            EPS_OUTSIDE_ROOT=eps_outside_root,
            **settings,
        )
    return dx, parts.sum(0).to(scale.dtype)
