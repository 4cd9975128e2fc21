"""Layer norm of the last axis, alone or together with the addition that precedes it, in the dtype that reads it.

``y = scale (x - mean x) / sqrt(var x + eps) + bias``. Source: Ba et al. 2016, arXiv:1607.06450.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from genomix_kernels.dispatch import Backend, choose, dispatch, register
from genomix_kernels.triton_support import why_not_triton, why_unavailable

LONGEST_ROW = 8192
"""Features that the Triton kernels hold in the registers of one program."""


def layer_norm(
    x: Float[Tensor, "*shape D"],
    scale: Float[Tensor, " D"],
    bias: Float[Tensor, " D"],
    *,
    eps: float,
    out_dtype: torch.dtype | None = None,
    backend: Backend = "auto",
) -> Float[Tensor, "*shape D"]:
    """Return the layer norm of ``x``.

    Args:
        x: Features on the last axis; any leading shape, any strides.
        scale: Gain of each feature.
        bias: What is added to each.
        eps: Keeps constant rows finite.
        out_dtype: Of the result; that of ``scale`` if None. A matrix product in bf16 wants it in bf16 at once.
        backend: ``"auto"``, or the name of a backend.

    Returns:
        Same shape as ``x``; computed in fp32 (fp64 when an input is fp64) and rounded once.

    Raises:
        ValueError: if shapes do not fit together.
    """
    _check(x, scale, bias)
    y: Tensor = dispatch("layer_norm", backend, x, scale, bias, eps=eps, out_dtype=out_dtype or scale.dtype)
    return y


def add_layer_norm(
    x: Float[Tensor, "*shape D"],
    residual: Float[Tensor, "*shape D"],
    scale: Float[Tensor, " D"],
    bias: Float[Tensor, " D"],
    *,
    x_bias: Float[Tensor, " D"] | None = None,
    eps: float,
    out_dtype: torch.dtype | None = None,
    backend: Backend = "auto",
) -> tuple[Float[Tensor, "*shape D"], Float[Tensor, "*shape D"]]:
    """Return `layer_norm` of ``s = residual + x``, and ``s`` itself, in the dtype that PyTorch gives it.

    Args:
        x: One summand.
        residual: The other, of the same shape.
        scale: As in `layer_norm`, like the rest.
        bias: Likewise.
        x_bias: Added to ``x``: what the linear map that made it left out. Its gradient then costs no pass of its own.
        eps: Likewise.
        out_dtype: Likewise.
        backend: Likewise.

    Raises:
        ValueError: if shapes do not fit together.
    """
    _check(x, scale, bias)
    if residual.shape != x.shape:
        raise ValueError(f"residual has shape {tuple(residual.shape)}; expected {tuple(x.shape)}, that of x.")
    if x_bias is not None and x_bias.shape != scale.shape:
        raise ValueError(f"x_bias has shape {tuple(x_bias.shape)}; expected {tuple(scale.shape)}.")
    options = {"x_bias": x_bias, "eps": eps, "out_dtype": out_dtype or scale.dtype}
    serving = choose("add_layer_norm", backend, x, residual, scale, bias, **options)
    normed, s = serving.load()(x, residual, scale, bias, **options)
    return normed, s


def _check(x: Tensor, scale: Tensor, bias: Tensor) -> None:
    if x.ndim < 1 or not scale.shape == bias.shape == x.shape[-1:]:
        raise ValueError(
            f"layer_norm takes x (..., D), scale and bias (D,); "
            f"it got {tuple(x.shape)}, {tuple(scale.shape)} and {tuple(bias.shape)}."
        )


def _load_reference() -> Callable[..., Tensor]:
    from genomix_kernels.layer_norm.reference import layer_norm_reference

    return layer_norm_reference


def _load_add_reference() -> Callable[..., tuple[Tensor, Tensor]]:
    from genomix_kernels.layer_norm.reference import add_layer_norm_reference

    return add_layer_norm_reference


def _load_triton() -> Callable[..., Tensor]:
    from genomix_kernels.layer_norm.triton_backend import layer_norm_triton

    return layer_norm_triton


def _load_add_triton() -> Callable[..., tuple[Tensor, Tensor]]:
    from genomix_kernels.layer_norm.triton_backend import add_layer_norm_triton

    return add_layer_norm_triton


def _why_not(
    x: Tensor, *others: Tensor, eps: float, out_dtype: torch.dtype, x_bias: Tensor | None = None
) -> str | None:
    del eps
    if x.shape[-1] > LONGEST_ROW:
        return f"rows of {x.shape[-1]} are longer than the {LONGEST_ROW} that one program holds"
    if x.numel() == 0:
        return "there is nothing to compute"
    if out_dtype is torch.float64:
        return "the kernel does not compute in torch.float64"
    return why_not_triton(x, *others, *([] if x_bias is None else [x_bias]))


for _name, _load, _reference in (
    ("layer_norm", _load_triton, _load_reference),
    ("add_layer_norm", _load_add_triton, _load_add_reference),
):
    register(_name, "triton", priority=20, load=_load, supports=_why_not, why_unavailable=why_unavailable)
    register(_name, "reference", priority=0, load=_reference)
