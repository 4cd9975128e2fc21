"""The equation of `gelu_mlp` by PyTorch, differentiated by autograd."""

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F


def gelu_mlp_reference(
    x: Float[Tensor, "*shape D"],
    weight_in: Float[Tensor, "F D"],
    bias_in: Float[Tensor, " F"],
    weight_out: Float[Tensor, "E F"],
) -> Float[Tensor, "*shape E"]:
    """As `gelu_mlp`."""
    return F.linear(F.gelu(F.linear(x, weight_in, bias_in), approximate="tanh"), weight_out)
