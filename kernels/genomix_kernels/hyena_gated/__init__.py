"""The whole gated Hyena operator between its two projections."""

from collections.abc import Callable
from typing import Any

from jaxtyping import Float
from torch import Tensor

from genomix_kernels.cuda_support import why_unavailable as why_no_cuda
from genomix_kernels.dispatch import Backend, dispatch, register
from genomix_kernels.hyena_gated.filters import HyenaState, Modes, TapOrder, Taps
from genomix_kernels.triton_support import why_unavailable

__all__ = ["HyenaState", "Modes", "TapOrder", "Taps", "hyena_gated", "hyena_gated_extend"]


def hyena_gated(
    p: Float[Tensor, "B C L"],
    featurizer: Taps,
    inner: Taps | Modes,
    *,
    is_interleaved: bool = True,
    state: HyenaState | None = None,
    backend: Backend = "auto",
) -> Float[Tensor, "B D L"]:
    """Gated filter of three projections: ``y = q (h * m + skip m)``, ``m = k v``; q, k, v are featurized ``p``.

    Args:
        p: Projections, ``(batch, 3 D, seqlen)``.
        featurizer: A short filter for each of the 3 D channels, ``h`` of shape ``(3 D, F)``; without skip.
        inner: The filter of ``m``: `Taps` shared by groups of channels (Hyena-SE, -MR), or `Modes` (Hyena-LI).
        is_interleaved: Channel ``c`` of q, k, v stands at ``3c, 3c+1, 3c+2``; else q, k, v are the three thirds.
        state: What came before, of `hyena_gated_extend`; None: nothing. Has no gradient; left unchanged.
        backend: ``"auto"``, or the name of a backend.

    Returns:
        ``(batch, D, seqlen)`` in the dtype of ``p``; sums are taken in fp32 (fp64). The fused backend keeps everything
        between ``p`` and ``y`` in fp32 but ``m``, which is rounded to the dtype of ``p``; nothing of it is stored, and
        the backward pass computes it again.

    Raises:
        ValueError: if shapes do not fit together.

    Source: the mixers of StripedHyena 2, Ku et al. 2025, arXiv:2503.01868.
    """
    _check(p, featurizer, inner)
    if state is not None:
        _check_state(p, featurizer, inner, state)
    y, _ = dispatch("hyena_gated", backend, p, featurizer, inner, is_interleaved, state, False)
    assert isinstance(y, Tensor)
    return y


def hyena_gated_extend(
    p: Float[Tensor, "B C L"],
    featurizer: Taps,
    inner: Taps | Modes,
    state: HyenaState,
    *,
    is_interleaved: bool = True,
    backend: Backend = "auto",
) -> tuple[Float[Tensor, "B D L"], HyenaState]:
    """`hyena_gated` of more tokens, and the state after them: any chunking gives what the whole sequence would.

    Args:
        p: Projections of the new tokens, at least one.
        featurizer: As in `hyena_gated`.
        inner: Likewise.
        state: Of an earlier call, or zeros; left unchanged.
        is_interleaved: As in `hyena_gated`.
        backend: Likewise.
    """
    _check(p, featurizer, inner)
    _check_state(p, featurizer, inner, state)
    y, after = dispatch("hyena_gated", backend, p, featurizer, inner, is_interleaved, state, True)
    assert isinstance(y, Tensor)
    assert isinstance(after, HyenaState)
    return y, after


def _check(p: Tensor, featurizer: Taps, inner: Taps | Modes) -> None:
    if p.ndim != 3 or p.shape[1] % 3 or p.shape[2] < 1:
        raise ValueError(f"hyena_gated takes projections (B, 3 D, L >= 1); it got {tuple(p.shape)}.")
    channels = p.shape[1] // 3
    if featurizer.h.ndim != 2 or featurizer.h.shape[0] != p.shape[1] or featurizer.skip is not None:
        raise ValueError(
            f"the featurizer has taps {tuple(featurizer.h.shape)}; expected ({p.shape[1]}, F), without a skip term."
        )
    if isinstance(inner, Taps):
        if inner.h.ndim != 2 or inner.h.shape[1] < 1 or channels % inner.h.shape[0]:
            raise ValueError(
                f"the filter has taps {tuple(inner.h.shape)}; expected (G, K), G a divisor of {channels}."
            )
    elif inner.log_poles.shape != inner.residues.shape or inner.log_poles.shape[:1] != (channels,):
        raise ValueError(
            f"log_poles and residues have shapes {tuple(inner.log_poles.shape)} and {tuple(inner.residues.shape)}; "
            f"expected ({channels}, N) both."
        )
    if inner.skip is not None and inner.skip.shape != (channels,):
        raise ValueError(f"skip has shape {tuple(inner.skip.shape)}; expected ({channels},).")


def _check_state(p: Tensor, featurizer: Taps, inner: Taps | Modes, state: HyenaState) -> None:
    batch, channels = p.shape[0], p.shape[1] // 3
    inner_len = inner.h.shape[1] - 1 if isinstance(inner, Taps) else inner.log_poles.shape[1]
    expected = (batch, 3 * channels, featurizer.h.shape[1] - 1), (batch, channels, inner_len)
    if (state.featurizer.shape, state.inner.shape) != expected:
        raise ValueError(
            f"the state has shapes {tuple(state.featurizer.shape)} and {tuple(state.inner.shape)}; "
            f"expected {expected[0]} and {expected[1]}."
        )


def _why_not_cuda(*arguments: Any) -> str | None:
    from genomix_kernels.hyena_gated.cuda_backend import why_not

    return why_not(*arguments)


def _load_cuda() -> Callable[..., Any]:
    from genomix_kernels.hyena_gated.cuda_backend import hyena_gated_cuda

    return hyena_gated_cuda


def _why_not_triton(*arguments: Any) -> str | None:
    from genomix_kernels.hyena_gated.triton_backend import why_not

    return why_not(*arguments)


def _load_triton() -> Callable[..., Any]:
    from genomix_kernels.hyena_gated.triton_backend import hyena_gated_triton

    return hyena_gated_triton


def _load_composed() -> Callable[..., Any]:
    from genomix_kernels.hyena_gated.composed import hyena_gated_composed

    return hyena_gated_composed


def _load_reference() -> Callable[..., Any]:
    from genomix_kernels.hyena_gated.reference import hyena_gated_reference

    return hyena_gated_reference


register(
    "hyena_gated", "cuda", priority=40, load=_load_cuda, supports=_why_not_cuda, why_unavailable=why_no_cuda,
)  # fmt: skip
register(
    "hyena_gated", "triton", priority=30, load=_load_triton, supports=_why_not_triton,
    why_unavailable=why_unavailable,
)  # fmt: skip
register("hyena_gated", "composed", priority=10, load=_load_composed)
register("hyena_gated", "reference", priority=0, load=_load_reference)
