"""Short causal depthwise filter."""

from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor

from genomix_kernels.dispatch import Backend, dispatch, register


def causal_fir(
    u: Float[Tensor, "B D L"],
    taps: Float[Tensor, "G K"],
    bias: Float[Tensor, " D"] | None = None,
    *,
    backend: Backend = "auto",
) -> Float[Tensor, "B D L"]:
    """Short causal filter of each channel, ``y[t] = sum_i taps[i] u[t-i] + bias``; inputs before 0 are 0.

    Args:
        u: Input signal, ``(batch, channel, seqlen)``; any strides.
        taps: Filters, ``(group, filter_len)``: ``taps[:, i]`` weighs the input ``i`` steps back. A ``Conv1d`` weight
            is this reversed, ``weight[:, 0].flip(-1)``. ``filter_len`` may be longer than ``seqlen``. Each filter
            serves ``D / G`` neighbouring channels; as many filters as channels is the plain case.
        bias: Added to every position.
        backend: ``"auto"``, or the name of a backend.

    Returns:
        Same shape and dtype as ``u``; the sum is taken in fp32 (in fp64 when an input is fp64).

    Raises:
        ValueError: if shapes do not fit together.
    """
    fits = u.ndim == 3 and taps.ndim == 2 and taps.shape[0] >= 1 and taps.shape[1] >= 1
    if not fits or u.shape[1] % taps.shape[0]:
        raise ValueError(
            "causal_fir takes u (B, D, L) and taps (G, K >= 1), G a divisor of D; "
            f"it got {tuple(u.shape)} and {tuple(taps.shape)}."
        )
    if bias is not None and bias.shape != u.shape[1:2]:
        raise ValueError(f"bias has shape {tuple(bias.shape)}; expected ({u.shape[1]},).")
    y: Tensor = dispatch("causal_fir", backend, u, taps, bias)
    return y


def _load_reference() -> Callable[..., Tensor]:
    from genomix_kernels.causal_fir.reference import causal_fir_reference

    return causal_fir_reference


def _load_torch_conv() -> Callable[..., Tensor]:
    from genomix_kernels.causal_fir.torch_conv import causal_fir_torch_conv

    return causal_fir_torch_conv


def _why_not_torch_conv(u: Tensor, taps: Tensor, bias: Tensor | None) -> str | None:
    from genomix_kernels.causal_fir.torch_conv import why_not

    return why_not(u, taps, bias)


def _load_torch_blocked() -> Callable[..., Tensor]:
    from genomix_kernels.causal_fir.torch_blocked import causal_fir_torch_blocked

    return causal_fir_torch_blocked


def _why_not_torch_blocked(u: Tensor, taps: Tensor, bias: Tensor | None) -> str | None:
    from genomix_kernels.causal_fir.torch_blocked import why_not

    return why_not(u, taps, bias)


register(
    "causal_fir", "torch_blocked", priority=20, load=_load_torch_blocked, supports=_why_not_torch_blocked
)
register("causal_fir", "torch_conv", priority=10, load=_load_torch_conv, supports=_why_not_torch_conv)
register("causal_fir", "reference", priority=0, load=_load_reference)
