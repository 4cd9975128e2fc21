"""Product with an activated gate, the middle of a gated MLP: ``y = act(gate) * value``.

The GELU is the exact one, ``gelu(g) = g Phi(g)`` with ``Phi(g) = (1 + erf(g / sqrt 2)) / 2``, the distribution function
of the normal distribution. Source: Hendrycks & Gimpel 2016, arXiv:1606.08415; Shazeer 2020, arXiv:2002.05202.
"""

from collections.abc import Callable
from typing import Literal

from jaxtyping import Float
from torch import Tensor

from genomix_kernels.dispatch import Backend, dispatch, register
from genomix_kernels.triton_support import why_not_triton, why_unavailable

Activation = Literal["gelu", "identity"]


def gated_product(
    gate: Float[Tensor, "*shape D"],
    value: Float[Tensor, "*shape D"],
    *,
    activation: Activation,
    backend: Backend = "auto",
) -> Float[Tensor, "*shape D"]:
    """Return ``act(gate) * value``.

    Args:
        gate: Any shape; any strides, but read without a copy only where the last axis is contiguous and the others
            are evenly spaced, as in one half of a projection's output.
        value: Of the same shape.
        activation: ``"gelu"`` (by erf) or ``"identity"``.
        backend: ``"auto"``, or the name of a backend.

    Returns:
        Same shape, in the dtype that PyTorch gives ``gate * value``; computed in fp32 (fp64 when an input is fp64) and
        rounded once.

    Raises:
        ValueError: if shapes differ or the activation is unknown.
    """
    if gate.shape != value.shape:
        raise ValueError(f"shapes differ: gate has {tuple(gate.shape)}, value has {tuple(value.shape)}.")
    if activation not in ("gelu", "identity"):
        raise ValueError(f"activation is {activation!r}; it must be 'gelu' or 'identity'.")
    y: Tensor = dispatch("gated_product", backend, gate, value, activation=activation)
    return y


def _load_reference() -> Callable[..., Tensor]:
    from genomix_kernels.gated_product.reference import gated_product_reference

    return gated_product_reference


def _load_triton() -> Callable[..., Tensor]:
    from genomix_kernels.gated_product.triton_backend import gated_product_triton

    return gated_product_triton


def _why_not(gate: Tensor, value: Tensor, *, activation: Activation) -> str | None:
    if gate.numel() == 0 or gate.ndim == 0:
        return "there is nothing to compute"
    return why_not_triton(gate, value)


register(
    "gated_product",
    "triton",
    priority=20,
    load=_load_triton,
    supports=_why_not,
    why_unavailable=why_unavailable,
)
register("gated_product", "reference", priority=0, load=_load_reference)
