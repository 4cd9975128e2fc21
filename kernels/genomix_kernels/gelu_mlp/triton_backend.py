"""`gelu_mlp` with matrix products by PyTorch and one Triton kernel between those of the backward pass.

Autograd keeps both wide tensors, before and after GELU, and passes over the gradient once more to sum it for the bias.
Here one wide tensor is kept, and the kernel that needs it makes the other again. Sums are taken in a fixed order.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from genomix_kernels.gelu_mlp.triton_kernels import gelu_backward_kernel
from genomix_kernels.triton_support import launched_on, n_processors

ROWS, COLUMNS, WARPS = 8, 256, 4
"""Of a tile, and the warps that it is dealt out to: 16 elements a thread."""

PROGRAMS_A_PROCESSOR = 8


def gelu_mlp_triton(
    x: Float[Tensor, "*shape D"],
    weight_in: Float[Tensor, "F D"],
    bias_in: Float[Tensor, " F"],
    weight_out: Float[Tensor, "E F"],
) -> Float[Tensor, "*shape E"]:
    """As `gelu_mlp`."""
    kind = x.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype
    parts = [part.to(dtype) for part in (x, weight_in, bias_in, weight_out)]
    with torch.autocast(device_type=kind, enabled=False):
        y: Tensor = _GeluMLP.apply(*parts)  # type: ignore[no-untyped-call]
    return y


class _GeluMLP(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight_in: Tensor, bias_in: Tensor, weight_out: Tensor) -> Tensor:
        rows = x.reshape(-1, x.shape[-1])
        hidden = F.linear(rows, weight_in, bias_in)
        ctx.save_for_backward(rows, hidden, weight_in, weight_out)
        y = F.linear(F.gelu(hidden, approximate="tanh"), weight_out)
        return y.view(*x.shape[:-1], y.shape[-1])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, hidden, weight_in, weight_out = ctx.saved_tensors
        d_out = dy.reshape(-1, dy.shape[-1])
        dhidden = d_out @ weight_out
        activated, of_bias = _between(hidden, dhidden)
        return (
            (dhidden @ weight_in).view(*dy.shape[:-1], x.shape[-1]),
            dhidden.t() @ x,
            of_bias.to(dy.dtype),
            d_out.t() @ activated,
        )


def _between(hidden: Float[Tensor, "N F"], dactivated: Float[Tensor, "N F"]) -> tuple[Tensor, Tensor]:
    """Return gelu(hidden) and the sums over rows of the gradient of ``hidden``, which replaces ``dactivated``."""
    n_rows, width = hidden.shape
    n_tiles = -(-width // COLUMNS)
    n_shares = max(1, min(-(-n_rows // ROWS), PROGRAMS_A_PROCESSOR * n_processors(hidden.device) // n_tiles))
    activated = torch.empty_like(hidden)
    parts = torch.empty(n_shares, width, device=hidden.device, dtype=torch.float32)
    with launched_on(hidden):
        gelu_backward_kernel[(n_tiles, n_shares)](
            hidden, dactivated, activated, dactivated, parts, n_rows, width,
            ROWS=ROWS, COLUMNS=COLUMNS, num_warps=WARPS,
        )  # fmt: skip
    return activated, parts.sum(0)
