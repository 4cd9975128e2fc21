"""The equation of `gated_product`, made literal."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from genomix_kernels.gated_product import Activation


def gated_product_reference(
    gate: Float[Tensor, "*shape D"], value: Float[Tensor, "*shape D"], *, activation: Activation
) -> Float[Tensor, "*shape D"]:
    """``act(gate) * value``."""
    if activation == "identity":
        return gate * value
    out = torch.promote_types(gate.dtype, value.dtype)
    dtype = torch.promote_types(out, torch.float32)
    return (F.gelu(gate.to(dtype)) * value.to(dtype)).to(out)
