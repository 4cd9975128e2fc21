"""Implicit filters: a small sine MLP of features of the position, under an exponential window.

``k = (W_last sin(freq (.. sin(freq (W_0 z + b_0)) ..))) (exp(-decay t) + shift)``. Source: Poli et al. 2023,
arXiv:2302.10866, section 3.3; Nguyen et al. 2023, arXiv:2306.15794.
"""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from genomix_kernels.dispatch import Backend, dispatch, register
from genomix_kernels.triton_support import why_not_triton, why_unavailable

MOST_FEATURES = 15
"""Features of a position that the Triton kernels take; with the one of the bias they are the 16 columns of a tile."""

WIDEST_LAYER = 64
"""Sines a layer, of which a program holds all weights."""

MOST_INNER_LAYERS = 2
"""Sine layers after the first one: their weights and sines are what shared memory holds."""

CAPABILITY = 9
"""Major compute capability whose shared memory and matrix instructions the kernels are made for (H100, H200)."""


def sine_filter(
    z: Float[Tensor, "L E"],
    weights: Sequence[Float[Tensor, "_ _"]],
    biases: Sequence[Float[Tensor, " F"]],
    freq: Float[Tensor, " F"] | None = None,
    *,
    t: Float[Tensor, " L"] | None = None,
    decay: Float[Tensor, " C"] | None = None,
    shift: float = 0.0,
    backend: Backend = "auto",
) -> Float[Tensor, "C L"]:
    """Return one filter a channel as a function of the features of each position.

    Args:
        z: Features, ``(seqlen, feature)``; in the dtype of everything else.
        weights: Of the sine layers, ``(F, E)`` and then ``(F, F)``, and of the last layer, ``(C, F)``. The last one
            alone, ``(C, E)``, makes filters that are linear in the features.
        biases: Of the sine layers.
        freq: What multiplies the argument of each sine; all layers share it. None without sine layers.
        t: Time of each position, for the window.
        decay: Rate at which the window of each channel falls, per unit of ``t``; no window if None.
        shift: What the window falls to.
        backend: ``"auto"``, or the name of a backend.

    Returns:
        The filters, ``(channel, seqlen)``, in the dtype of ``z``; differentiable in all but the window.

    Raises:
        ValueError: if shapes do not fit together.
    """
    weights, biases = tuple(weights), tuple(biases)
    _check(z, weights, biases, freq, t, decay)
    k: Tensor = dispatch("sine_filter", backend, z, weights, biases, freq, t=t, decay=decay, shift=shift)
    return k


def _check(
    z: Tensor,
    weights: tuple[Tensor, ...],
    biases: tuple[Tensor, ...],
    freq: Tensor | None,
    t: Tensor | None,
    decay: Tensor | None,
) -> None:
    if z.ndim != 2 or not weights or any(weight.ndim != 2 for weight in weights):
        raise ValueError(
            "sine_filter takes z (L, E) and weights of two axes, at least those of the last layer; "
            f"it got {tuple(z.shape)} and {[tuple(weight.shape) for weight in weights]}."
        )
    width = z.shape[1]
    for index, weight in enumerate(weights):
        if weight.shape[1] != width:
            raise ValueError(
                f"weights[{index}] has shape {tuple(weight.shape)}; expected {width} columns, one for each input."
            )
        width = weight.shape[0] if index == 0 else width
        if 0 < index < len(weights) - 1 and weight.shape[0] != width:
            raise ValueError(f"weights[{index}] has shape {tuple(weight.shape)}; expected {(width, width)}.")
    if len(biases) != len(weights) - 1 or any(bias.shape != (width,) for bias in biases):
        raise ValueError(
            f"biases have shapes {[tuple(bias.shape) for bias in biases]}; "
            f"expected {len(weights) - 1} of ({width},), one for each sine layer."
        )
    if biases and (freq is None or freq.shape != (width,)):
        got = None if freq is None else tuple(freq.shape)
        raise ValueError(f"freq has shape {got}; expected ({width},).")
    if decay is None:
        return
    n_filters = weights[-1].shape[0]
    if decay.shape != (n_filters,) or t is None or t.shape != z.shape[:1]:
        raise ValueError(
            f"a window takes decay ({n_filters},) and t ({z.shape[0]},); "
            f"it got {tuple(decay.shape)} and {None if t is None else tuple(t.shape)}."
        )


def _load_reference() -> Callable[..., Tensor]:
    from genomix_kernels.implicit_filter.reference import sine_filter_reference

    return sine_filter_reference


def _load_triton() -> Callable[..., Tensor]:
    from genomix_kernels.implicit_filter.triton_backend import sine_filter_triton

    return sine_filter_triton


def _why_not(
    z: Tensor,
    weights: tuple[Tensor, ...],
    biases: tuple[Tensor, ...],
    freq: Tensor | None,
    *,
    t: Tensor | None,
    decay: Tensor | None,
    shift: float,
) -> str | None:
    del shift
    if freq is None or len(weights) < 2:
        return "there is no sine layer"
    if len(weights) - 2 > MOST_INNER_LAYERS:
        return f"{len(weights) - 2} inner layers are more than {MOST_INNER_LAYERS}"
    if weights[0].shape[0] > WIDEST_LAYER:
        return f"layers of {weights[0].shape[0]} sines are wider than {WIDEST_LAYER}"
    if z.shape[1] > MOST_FEATURES:
        return f"{z.shape[1]} features are more than {MOST_FEATURES}"
    if z.shape[0] == 0 or weights[-1].shape[0] == 0:
        return "there is nothing to compute"
    window = [x for x in (t, decay) if x is not None]
    tensors = [z, *weights, *biases, freq, *window]
    if any(x.dtype is not torch.float32 for x in tensors):
        return "the kernel computes in torch.float32 only"
    if torch.is_grad_enabled() and any(x.requires_grad for x in window):
        return "the window has no gradient in the kernel"
    if (reason := why_not_triton(*tensors)) is not None:
        return reason
    major, minor = torch.cuda.get_device_capability(z.device)
    if torch.version.hip is not None or major != CAPABILITY:
        return f"the kernel is made for compute capability {CAPABILITY}.x, not for {major}.{minor}"
    return None


register(
    "sine_filter", "triton", priority=20, load=_load_triton, supports=_why_not, why_unavailable=why_unavailable,
)  # fmt: skip
register("sine_filter", "reference", priority=0, load=_load_reference)
