"""The MLP of a transformer block, ``W2 gelu(W1 x + b1)``, that keeps one wide tensor for its backward pass."""

from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor

from genomix_kernels.dispatch import Backend, dispatch, register
from genomix_kernels.triton_support import why_not_triton, why_unavailable


def gelu_mlp(
    x: Float[Tensor, "*shape D"],
    weight_in: Float[Tensor, "F D"],
    bias_in: Float[Tensor, " F"],
    weight_out: Float[Tensor, "E F"],
    *,
    backend: Backend = "auto",
) -> Float[Tensor, "*shape E"]:
    """Return ``weight_out gelu(weight_in x + bias_in)``, GELU in its tanh form.

    The bias of the second map is left to what reads the result: `add_layer_norm` adds it, and takes its gradient, on
    the way.

    Args:
        x: Features on the last axis.
        weight_in: Of the first linear map.
        bias_in: Of the first linear map.
        weight_out: Of the second.
        backend: ``"auto"``, or the name of a backend.

    Returns:
        In the dtype of autocast, where it is on, or of ``x``.

    Raises:
        ValueError: if shapes do not fit together.

    Source: Hendrycks and Gimpel 2016, arXiv:1606.08415.
    """
    hidden = weight_in.shape[:1]
    if weight_in.shape[1:] != x.shape[-1:] or bias_in.shape != hidden or weight_out.shape[1:] != hidden:
        raise ValueError(
            "gelu_mlp takes x (..., D), weight_in (F, D), bias_in (F,) and weight_out (E, F); it got "
            f"{tuple(x.shape)}, {tuple(weight_in.shape)}, {tuple(bias_in.shape)} and {tuple(weight_out.shape)}."
        )
    y: Tensor = dispatch("gelu_mlp", backend, x, weight_in, bias_in, weight_out)
    return y


def _load_reference() -> Callable[..., Tensor]:
    from genomix_kernels.gelu_mlp.reference import gelu_mlp_reference

    return gelu_mlp_reference


def _load_triton() -> Callable[..., Tensor]:
    from genomix_kernels.gelu_mlp.triton_backend import gelu_mlp_triton

    return gelu_mlp_triton


def _why_not(x: Tensor, *others: Tensor) -> str | None:
    return "there is nothing to compute" if x.numel() == 0 else why_not_triton(x, *others)


register(
    "gelu_mlp", "triton", priority=20, load=_load_triton, supports=_why_not, why_unavailable=why_unavailable
)
register("gelu_mlp", "reference", priority=0, load=_load_reference)
