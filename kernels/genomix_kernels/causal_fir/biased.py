"""A causal filter of inputs that still lack a constant of their channel: what the linear map before it left out.

A matrix product that writes channels first cannot add a bias on the way; added by itself it costs a pass over all of
the output, and its gradient another. Behind the filter it is a constant, ``input_bias sum_i h[i]``, but for the first
tokens, whose window is not full.
"""

from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor

from genomix_kernels.causal_fir import TapOrder, causal_fir
from genomix_kernels.dispatch import Backend, dispatch, register
from genomix_kernels.triton_support import why_unavailable


def biased_causal_fir(
    u: Float[Tensor, "B D L"],
    input_bias: Float[Tensor, " D"],
    taps: Float[Tensor, "D K"],
    bias: Float[Tensor, " D"],
    *,
    tap_order: TapOrder = "convolution",
    backend: Backend = "auto",
) -> Float[Tensor, "B D L"]:
    """Return ``y[t] = sum_(i <= t) h[i] (u[t-i] + input_bias) + bias``.

    Args:
        u: As in `causal_fir`, like what is not named here.
        input_bias: Added to every input from token 0 on.
        taps: One filter a channel.
        bias: Added to every output.
        tap_order: As in `causal_fir`.
        backend: ``"auto"``, or the name of a backend.

    Raises:
        ValueError: if shapes do not fit together.
    """
    expected = u.shape[1:2]
    if taps.ndim != 2 or not taps.shape[:1] == input_bias.shape == bias.shape == expected:
        raise ValueError(
            "biased_causal_fir takes u (B, D, L), taps (D, K), input_bias and bias (D,); it got "
            f"{tuple(u.shape)}, {tuple(taps.shape)}, {tuple(input_bias.shape)} and {tuple(bias.shape)}."
        )
    y: Tensor = dispatch("biased_causal_fir", backend, u, input_bias, taps, bias, tap_order)
    return y


def _added_before(u: Tensor, input_bias: Tensor, taps: Tensor, bias: Tensor, tap_order: TapOrder) -> Tensor:
    return causal_fir(u + input_bias.to(u.dtype)[:, None], taps, bias, tap_order=tap_order)


def _why_not_triton(
    u: Tensor, input_bias: Tensor, taps: Tensor, bias: Tensor, tap_order: TapOrder
) -> str | None:
    from genomix_kernels.causal_fir.triton_backend import why_not

    del tap_order
    return why_not(u, taps, bias, skip=input_bias)


def _load_triton() -> Callable[..., Tensor]:
    from genomix_kernels.causal_fir.biased_triton import biased_causal_fir_triton

    return biased_causal_fir_triton


register(
    "biased_causal_fir", "triton", priority=30, load=_load_triton, supports=_why_not_triton,
    why_unavailable=why_unavailable,
)  # fmt: skip
register("biased_causal_fir", "reference", priority=0, load=lambda: _added_before)
