"""The equations of `skinny_linear` and `gated_pair`, made literal: summed in fp32, rounded once."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F


def skinny_linear_reference(
    x: Float[Tensor, "M K"],
    weight: Float[Tensor, "N K"],
    bias: Float[Tensor, " N"] | None = None,
    residual: Float[Tensor, "M N"] | None = None,
) -> Float[Tensor, "M N"]:
    """``x W^T + bias + residual``."""
    y = _precise(x) @ _precise(weight).T
    for term in (bias, residual):
        if term is not None:
            y = y + _precise(term)
    return y.to(x.dtype)


def gated_pair_reference(
    x: Float[Tensor, "M K"], w1: Float[Tensor, "N K"], w2: Float[Tensor, "N K"], activation: str
) -> Float[Tensor, "M N"]:
    """``act(x w1^T) * (x w2^T)``."""
    gate = _precise(x) @ _precise(w1).T
    if activation == "gelu":
        gate = F.gelu(gate)
    return (gate * (_precise(x) @ _precise(w2).T)).to(x.dtype)


def _precise(tensor: Tensor) -> Tensor:
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))
