"""One token of the gated Hyena operator, between its projections, with its state changed in place."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from genomix_kernels.dispatch import Backend, dispatch, register
from genomix_kernels.hyena_gated.filters import HyenaState, Modes, Taps
from genomix_kernels.triton_support import why_not_triton, why_unavailable

MAX_PLACES = 256
"""Taps or modes of the Triton kernel, which holds a row of them at once."""


def hyena_step(
    p: Float[Tensor, "B C"],
    featurizer: Taps,
    inner: Taps | Modes,
    state: HyenaState,
    *,
    is_interleaved: bool,
    backend: Backend = "auto",
) -> Float[Tensor, "B D"]:
    """One token of ``q, k, v`` = featurized ``p``; ``m = k v``; ``y = q (h * m + skip m)``.

    Args:
        p: The token's projections, ``(batch, 3 channels)``; any strides.
        featurizer: Short filter of the projections; its rows serve ``3 D / groups`` neighbouring ones. No skip.
        inner: `Taps`, whose rows serve ``D / groups`` neighbouring channels, or `Modes`, a row a channel.
        state: What the tokens before left; **changed in place** to what the next one needs.
        is_interleaved: Channel ``c`` of q, k and v stands at ``3c, 3c+1, 3c+2``; else in three thirds.
        backend: ``"auto"``, or the name of a backend.

    Returns:
        ``(batch, channel)`` in the dtype of ``p``; sums and modes are held in fp32. The Triton kernel rounds ``m`` to
        the dtype of ``p`` before it is filtered, as kernels for whole sequences do; the reference rounds ``y`` only.

    Raises:
        ValueError: if shapes do not fit together.

    Source: Ku et al. 2025, arXiv:2503.01868.
    """
    _check(p, featurizer, inner, state)
    y: Tensor = dispatch("hyena_step", backend, p, featurizer, inner, state, is_interleaved)
    return y


def _check(p: Tensor, featurizer: Taps, inner: Taps | Modes, state: HyenaState) -> None:
    if p.ndim != 2 or p.shape[1] % 3 or p.shape[1] == 0:
        raise ValueError(f"hyena_step takes p (B, 3 D); it got {tuple(p.shape)}.")
    batch, channels = p.shape[0], p.shape[1] // 3
    if featurizer.skip is not None:
        raise ValueError("the featurizer of hyena_step has no skip term: add its gain to the tap of lag 0.")
    _check_rows("featurizer taps", featurizer.h, 3 * channels)
    _check_shape("state.featurizer", state.featurizer, (batch, 3 * channels, featurizer.h.shape[1] - 1))
    if isinstance(inner, Taps):
        _check_rows("inner taps", inner.h, channels)
        _check_shape("state.inner", state.inner, (batch, channels, inner.h.shape[1] - 1))
    else:
        _check_shape("log_poles", inner.log_poles, (channels, inner.residues.shape[-1]))
        _check_shape("residues", inner.residues, tuple(inner.log_poles.shape))
        _check_shape("state.inner", state.inner, (batch, *inner.log_poles.shape))
    if inner.skip is not None:
        _check_shape("skip", inner.skip, (channels,))


def _check_rows(name: str, h: Tensor, channels: int) -> None:
    if h.ndim != 2 or min(h.shape) < 1 or channels % h.shape[0]:
        raise ValueError(
            f"{name} have shape {tuple(h.shape)}; expected (G, K >= 1), G a divisor of {channels}."
        )


def _check_shape(name: str, tensor: Tensor, expected: tuple[int, ...]) -> None:
    if tensor.shape != expected:
        raise ValueError(f"{name} has shape {tuple(tensor.shape)}; expected {expected}.")


def _why_not(
    p: Tensor, featurizer: Taps, inner: Taps | Modes, state: HyenaState, _is_interleaved: bool
) -> str | None:
    if p.shape[0] == 0:
        return "the batch is empty"
    filters = [featurizer.h, *(each for each in inner if isinstance(each, Tensor))]
    reason = why_not_triton(p, *filters, *(each for each in state if each.numel()))
    if reason is not None:
        return reason
    if isinstance(inner, Modes) and any(
        each.dtype is not torch.float32 for each in (inner.log_poles, inner.residues, state.inner)
    ):
        return "log_poles, residues and modes have to be fp32"
    if state.featurizer.dtype is not p.dtype or (
        isinstance(inner, Taps) and state.inner.dtype is not p.dtype
    ):
        return f"tails have to be {p.dtype}, as p is"
    places = max(featurizer.h.shape[1], (inner.h if isinstance(inner, Taps) else inner.log_poles).shape[1])
    if places > MAX_PLACES:
        return f"{places} taps or modes are more than {MAX_PLACES}"
    if not all(each.is_contiguous() for each in (*filters, *state)):
        return "filters and state have to be contiguous"
    if torch.is_grad_enabled() and any(each.requires_grad for each in (p, *filters, *state)):
        return "it has no gradient"
    return None


def _load_triton() -> Callable[..., Tensor]:
    from genomix_kernels.hyena_step.triton_kernels import hyena_step_triton

    return hyena_step_triton


def _load_reference() -> Callable[..., Tensor]:
    from genomix_kernels.hyena_step.reference import hyena_step_reference

    return hyena_step_reference


register(
    "hyena_step",
    "triton",
    priority=20,
    load=_load_triton,
    supports=_why_not,
    why_unavailable=why_unavailable,
)
register("hyena_step", "reference", priority=0, load=_load_reference)
