"""Root-mean-square norm of the last axis, alone or together with the addition that precedes it.

With eps outside the root ``y = scale x / (rms(x) + eps)``, else ``y = scale x / sqrt(mean x^2 + eps)``, where
``rms(x) = sqrt(mean x^2)``. Source: Zhang & Sennrich 2019, arXiv:1910.07467.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from genomix_kernels.dispatch import Backend, choose, dispatch, register
from genomix_kernels.triton_support import why_not_triton, why_unavailable

LONGEST_ROW = 8192
"""Features that the Triton kernels hold in the registers of one program."""


def rms_norm(
    x: Float[Tensor, "*shape D"],
    scale: Float[Tensor, " D"],
    *,
    eps: float,
    eps_outside_root: bool,
    out_dtype: torch.dtype | None = None,
    backend: Backend = "auto",
) -> Float[Tensor, "*shape D"]:
    """Return ``scale x / (rms(x) + eps)``, or with eps inside the root.

    Args:
        x: Features on the last axis; any leading shape, any strides.
        scale: Gain of each feature.
        eps: Keeps rows of zeros finite.
        eps_outside_root: Where eps is added: to the root, or under it.
        out_dtype: Of the result; None: that of ``x``.
        backend: ``"auto"``, or the name of a backend.

    Returns:
        Same shape as ``x``; computed in fp32 (fp64 when an input is fp64) and rounded once.

    Raises:
        ValueError: if shapes do not fit together.
    """
    _check(x, scale)
    y: Tensor = dispatch(
        "rms_norm", backend, x, scale, eps=eps, eps_outside_root=eps_outside_root, out_dtype=out_dtype
    )
    return y


def add_rms_norm(
    x: Float[Tensor, "*shape D"],
    residual: Float[Tensor, "*shape D"],
    scale: Float[Tensor, " D"],
    *,
    eps: float,
    eps_outside_root: bool,
    out_dtype: torch.dtype | None = None,
    backend: Backend = "auto",
) -> tuple[Float[Tensor, "*shape D"], Float[Tensor, "*shape D"]]:
    """Return `rms_norm` of ``s = x + residual``, and ``s`` itself.

    Args:
        x: One summand.
        residual: The other, of the same shape.
        scale: Gain of each feature.
        eps: Keeps rows of zeros finite.
        eps_outside_root: Where eps is added: to the root, or under it.
        out_dtype: Of the normed sum; None: that of the sum.
        backend: ``"auto"``, or the name of a backend.

    Returns:
        The normed sum and the sum, which has the dtype that PyTorch gives ``x + residual`` and is rounded to it before
        it is normed.

    Raises:
        ValueError: if shapes do not fit together.
    """
    _check(x, scale)
    if residual.shape != x.shape:
        raise ValueError(f"residual has shape {tuple(residual.shape)}; expected {tuple(x.shape)}, that of x.")
    settings = {"eps": eps, "eps_outside_root": eps_outside_root, "out_dtype": out_dtype}
    serving = choose("add_rms_norm", backend, x, residual, scale, **settings)
    normed, s = serving.load()(x, residual, scale, **settings)
    return normed, s


def _check(x: Tensor, scale: Tensor) -> None:
    if x.ndim < 1 or scale.shape != x.shape[-1:]:
        raise ValueError(
            f"rms_norm takes x (..., D) and scale (D,); it got {tuple(x.shape)} and {tuple(scale.shape)}."
        )


def _load_reference() -> Callable[..., Tensor]:
    from genomix_kernels.rms_norm.reference import rms_norm_reference

    return rms_norm_reference


def _load_add_reference() -> Callable[..., tuple[Tensor, Tensor]]:
    from genomix_kernels.rms_norm.reference import add_rms_norm_reference

    return add_rms_norm_reference


def _load_triton() -> Callable[..., Tensor]:
    from genomix_kernels.rms_norm.triton_backend import rms_norm_triton

    return rms_norm_triton


def _load_add_triton() -> Callable[..., tuple[Tensor, Tensor]]:
    from genomix_kernels.rms_norm.triton_backend import add_rms_norm_triton

    return add_rms_norm_triton


def _why_not(x: Tensor, scale: Tensor, **_settings: object) -> str | None:
    return _why_not_these(x, scale)


def _why_not_add(x: Tensor, residual: Tensor, scale: Tensor, **_settings: object) -> str | None:
    return _why_not_these(x, residual, scale)


def _why_not_these(x: Tensor, *others: Tensor) -> str | None:
    if x.shape[-1] > LONGEST_ROW:
        return f"rows of {x.shape[-1]} are longer than the {LONGEST_ROW} that one program holds"
    if x.numel() == 0:
        return "there is nothing to compute"
    return why_not_triton(x, *others)


register(
    "rms_norm",
    "triton",
    priority=20,
    load=_load_triton,
    supports=_why_not,
    why_unavailable=why_unavailable,
)
register("rms_norm", "reference", priority=0, load=_load_reference)
register(
    "add_rms_norm",
    "triton",
    priority=20,
    load=_load_add_triton,
    supports=_why_not_add,
    why_unavailable=why_unavailable,
)
register("add_rms_norm", "reference", priority=0, load=_load_add_reference)
