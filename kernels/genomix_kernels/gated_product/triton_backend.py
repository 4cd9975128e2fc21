"""`gated_product` as one Triton kernel forward and one backward, which recomputes from the inputs."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from genomix_kernels.gated_product import Activation
from genomix_kernels.gated_product.triton_kernels import gated_product_bwd_kernel, gated_product_fwd_kernel
from genomix_kernels.triton_support import launched_on

BLOCK, WARPS = 1024, 4
"""Elements a program, and its warps: one load of 16 bytes a thread and tensor in bf16; 11264 is 11 such blocks."""


def gated_product_triton(
    gate: Float[Tensor, "*shape D"], value: Float[Tensor, "*shape D"], *, activation: Activation
) -> Float[Tensor, "*shape D"]:
    """As `gated_product`."""
    y = _GatedProduct.apply(gate, value, activation == "gelu")  # type: ignore[no-untyped-call]
    assert isinstance(y, Tensor)
    return y


class _GatedProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gate: Tensor, value: Tensor, has_gelu: bool) -> Tensor:
        ctx.save_for_backward(gate, value)
        ctx.has_gelu = has_gelu
        dtype = torch.promote_types(gate.dtype, value.dtype)
        y = torch.empty(gate.shape, device=gate.device, dtype=dtype)
        row_len, (gate, value) = _as_rows(gate, value)
        with launched_on(gate):
            gated_product_fwd_kernel[_grid(gate, row_len)](
                gate,
                value,
                y,
                row_len,
                gate.stride(0),
                value.stride(0),
                HAS_GELU=has_gelu,
                BLOCK=BLOCK,
                num_warps=WARPS,
            )
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        gate, value = ctx.saved_tensors
        dgate = torch.empty(gate.shape, device=gate.device, dtype=gate.dtype)
        dvalue = torch.empty(value.shape, device=value.device, dtype=value.dtype)
        row_len, (gate, value, dy) = _as_rows(gate, value, dy)
        with launched_on(gate):
            gated_product_bwd_kernel[_grid(gate, row_len)](
                gate,
                value,
                dy,
                dgate,
                dvalue,
                row_len,
                gate.stride(0),
                value.stride(0),
                dy.stride(0),
                HAS_GELU=ctx.has_gelu,
                BLOCK=BLOCK,
                num_warps=WARPS,
            )
        return dgate, dvalue, None


def _as_rows(*tensors: Tensor) -> tuple[int, list[Tensor]]:
    """Return the length of a row and each tensor as rows of contiguous elements; all of it as one row if it is one."""
    if all(tensor.is_contiguous() for tensor in tensors):
        return tensors[0].numel(), [tensor.reshape(1, -1) for tensor in tensors]
    row_len = tensors[0].shape[-1]
    # no copy where the leading axes can be merged and elements of a row touch
    rows = [tensor.reshape(-1, row_len) for tensor in tensors]
    return row_len, [row if row.stride(1) == 1 else row.contiguous() for row in rows]


def _grid(rows: Tensor, row_len: int) -> tuple[int]:
    return (rows.shape[0] * -(-row_len // BLOCK),)
