"""Products of a few rows with a large matrix, as decoding needs them: bound by the reading of the weights."""

from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from genomix_kernels.dispatch import Backend, dispatch, register
from genomix_kernels.skinny_linear.tiles import MAX_ROWS
from genomix_kernels.triton_support import why_not_triton, why_unavailable

Activation = Literal["gelu", "identity"]
"""``gelu``: the exact one, with erf."""


def skinny_linear(
    x: Float[Tensor, "M K"],
    weight: Float[Tensor, "N K"],
    bias: Float[Tensor, " N"] | None = None,
    *,
    residual: Float[Tensor, "M N"] | None = None,
    backend: Backend = "auto",
) -> Float[Tensor, "M N"]:
    """``x W^T + bias + residual``, summed in fp32 and rounded once.

    Args:
        x: Few rows: the Triton kernels serve up to 16.
        weight: As of `torch.nn.Linear`.
        bias: Added to every row.
        residual: Added to the result.
        backend: ``"auto"``, or the name of a backend.

    Returns:
        ``(M, N)`` in the dtype of ``x``. A row's result does not depend on the other rows of the batch; batches of 1,
        2 and more rows may be summed in different orders.

    Raises:
        ValueError: if shapes do not fit together.
    """
    _check_product("weight", x, weight)
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(f"bias has shape {tuple(bias.shape)}; expected ({weight.shape[0]},).")
    if residual is not None and residual.shape != (x.shape[0], weight.shape[0]):
        raise ValueError(
            f"residual has shape {tuple(residual.shape)}; expected {(x.shape[0], weight.shape[0])}."
        )
    y: Tensor = dispatch("skinny_linear", backend, x, weight, bias, residual)
    return y


def gated_pair(
    x: Float[Tensor, "M K"],
    w1: Float[Tensor, "N K"],
    w2: Float[Tensor, "N K"],
    activation: Activation,
    *,
    backend: Backend = "auto",
) -> Float[Tensor, "M N"]:
    """``act(x w1^T) * (x w2^T)``, the first half of a gated MLP, in fp32 and rounded once.

    Args:
        x: Few rows: the Triton kernels serve up to 16.
        w1: Of the gate, as of `torch.nn.Linear`.
        w2: Of what is gated.
        activation: ``"gelu"`` (exact) or ``"identity"``.
        backend: ``"auto"``, or the name of a backend.

    Returns:
        ``(M, N)`` in the dtype of ``x``; batches as for `skinny_linear`.

    Raises:
        ValueError: if shapes do not fit together, or the activation is another.
    """
    _check_product("w1", x, w1)
    if w1.shape != w2.shape:
        raise ValueError(
            f"w1 and w2 have to be of one shape; they are {tuple(w1.shape)} and {tuple(w2.shape)}."
        )
    if activation not in ("gelu", "identity"):
        raise ValueError(f"unknown activation {activation!r}; it is 'gelu' or 'identity'.")
    y: Tensor = dispatch("gated_pair", backend, x, w1, w2, activation)
    return y


def _check_product(name: str, x: Tensor, weight: Tensor) -> None:
    if x.ndim != 2 or weight.ndim != 2 or x.shape[1] != weight.shape[1]:
        raise ValueError(
            f"x (M, K) and {name} (N, K) do not fit: {tuple(x.shape)} and {tuple(weight.shape)}."
        )


def _why_not(x: Tensor, *others: Tensor | str | None) -> str | None:
    tensors = [each for each in others if isinstance(each, Tensor)]
    reason = why_not_triton(x, *tensors)
    if reason is not None:
        return reason
    if x.dtype not in (torch.float16, torch.bfloat16):
        return f"x is {x.dtype}; it takes fp16 and bf16"
    if any(each.dtype is not x.dtype for each in tensors):
        return f"all tensors have to be {x.dtype}, as x is"
    if not 1 <= x.shape[0] <= MAX_ROWS:
        return f"it takes 1 to {MAX_ROWS} rows; x has {x.shape[0]}"
    if 0 in tensors[0].shape:
        return "the weight is empty"
    if x.stride(1) != 1 or any(not each.is_contiguous() for each in tensors):
        return "rows of x, and all other tensors, have to be contiguous"
    if torch.is_grad_enabled() and any(each.requires_grad for each in (x, *tensors)):
        return "it has no gradient"
    return None


def _load_linear() -> Callable[..., Tensor]:
    from genomix_kernels.skinny_linear.triton_kernels import skinny_linear_triton

    return skinny_linear_triton


def _load_pair() -> Callable[..., Tensor]:
    from genomix_kernels.skinny_linear.triton_kernels import gated_pair_triton

    return gated_pair_triton


def _load_linear_reference() -> Callable[..., Tensor]:
    from genomix_kernels.skinny_linear.reference import skinny_linear_reference

    return skinny_linear_reference


def _load_pair_reference() -> Callable[..., Tensor]:
    from genomix_kernels.skinny_linear.reference import gated_pair_reference

    return gated_pair_reference


for _operation, _load, _load_plain in (
    ("skinny_linear", _load_linear, _load_linear_reference),
    ("gated_pair", _load_pair, _load_pair_reference),
):
    register(
        _operation,
        "triton",
        priority=20,
        load=_load,
        supports=_why_not,
        why_unavailable=why_unavailable,
    )
    register(_operation, "reference", priority=0, load=_load_plain)
