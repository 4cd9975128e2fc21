"""The equation of `rms_norm`, made literal."""

import math

import torch
from jaxtyping import Float
from torch import Tensor


def rms_norm_reference(
    x: Float[Tensor, "*shape D"],
    scale: Float[Tensor, " D"],
    *,
    eps: float,
    eps_outside_root: bool,
    out_dtype: torch.dtype | None = None,
) -> Float[Tensor, "*shape D"]:
    """``scale x / (rms(x) + eps)``, or with eps inside the root."""
    dtype = torch.promote_types(torch.promote_types(x.dtype, scale.dtype), torch.float32)
    features, gain = x.to(dtype), scale.to(dtype)
    if eps_outside_root:
        # the norm, not the mean of squares: its gradient is 0, not NaN, for a row of zeros
        rms: Tensor = torch.linalg.vector_norm(features, dim=-1, keepdim=True) / math.sqrt(x.shape[-1])
        return (gain * (features / (rms + eps))).to(out_dtype or x.dtype)
    mean_square = features.pow(2).mean(-1, keepdim=True)
    return (gain * (features * torch.rsqrt(mean_square + eps))).to(out_dtype or x.dtype)


def add_rms_norm_reference(
    x: Float[Tensor, "*shape D"],
    residual: Float[Tensor, "*shape D"],
    scale: Float[Tensor, " D"],
    *,
    eps: float,
    eps_outside_root: bool,
    out_dtype: torch.dtype | None = None,
) -> tuple[Float[Tensor, "*shape D"], Float[Tensor, "*shape D"]]:
    """``s = x + residual``; `rms_norm_reference` of it, and it."""
    s = x + residual
    return rms_norm_reference(s, scale, eps=eps, eps_outside_root=eps_outside_root, out_dtype=out_dtype), s
