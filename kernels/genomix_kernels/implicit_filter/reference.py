"""The equation of `sine_filter` by PyTorch, differentiated by autograd."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F


def sine_filter_reference(
    z: Float[Tensor, "L E"],
    weights: Sequence[Float[Tensor, "_ _"]],
    biases: Sequence[Float[Tensor, " F"]],
    freq: Float[Tensor, " F"] | None,
    *,
    t: Float[Tensor, " L"] | None,
    decay: Float[Tensor, " C"] | None,
    shift: float,
) -> Float[Tensor, "C L"]:
    """As `sine_filter`; in the dtype of the inputs, whatever autocast."""
    with torch.autocast(device_type=z.device.type, enabled=False):
        hidden = z
        for weight, bias in zip(weights[:-1], biases, strict=True):
            assert freq is not None
            hidden = torch.sin(freq * F.linear(hidden, weight, bias))
        k = weights[-1] @ hidden.T
        if decay is None:
            return k
        assert t is not None
        return k * (torch.exp(-decay[:, None] * t) + shift)
