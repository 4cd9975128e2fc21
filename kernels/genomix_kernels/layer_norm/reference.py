"""The equation of `layer_norm` by PyTorch, differentiated by autograd."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F


def layer_norm_reference(
    x: Float[Tensor, "*shape D"],
    scale: Float[Tensor, " D"],
    bias: Float[Tensor, " D"],
    *,
    eps: float,
    out_dtype: torch.dtype,
) -> Float[Tensor, "*shape D"]:
    """As `layer_norm`; whatever autocast."""
    dtype = torch.promote_types(torch.promote_types(x.dtype, scale.dtype), torch.float32)
    with torch.autocast(device_type=x.device.type, enabled=False):
        y: Tensor = F.layer_norm(x.to(dtype), scale.shape, scale.to(dtype), bias.to(dtype), eps)
    return y.to(out_dtype)


def add_layer_norm_reference(
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
    s = residual + (x if x_bias is None else x + x_bias.to(x.dtype))
    return layer_norm_reference(s, scale, bias, eps=eps, out_dtype=out_dtype), s
