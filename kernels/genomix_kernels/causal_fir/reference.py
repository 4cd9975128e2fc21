"""The equation of `causal_fir`, made literal: one shifted product a tap."""

import torch
from jaxtyping import Float
from torch import Tensor


def causal_fir_reference(
    u: Float[Tensor, "B D L"], taps: Float[Tensor, "G K"], bias: Float[Tensor, " D"] | None = None
) -> Float[Tensor, "B D L"]:
    """Sum of shifted copies of the input, each weighed by its tap."""
    seqlen = u.shape[-1]
    dtype = torch.promote_types(torch.promote_types(u.dtype, taps.dtype), torch.float32)
    signal = u.to(dtype)
    taps = taps.repeat_interleave(u.shape[1] // taps.shape[0], dim=0)
    y = signal * taps[:, 0, None].to(dtype)
    for lag in range(1, min(taps.shape[1], seqlen)):
        delayed = torch.nn.functional.pad(signal[..., : seqlen - lag], (lag, 0))
        y = y + delayed * taps[:, lag, None].to(dtype)
    if bias is not None:
        y = y + bias[:, None].to(dtype)
    return y.to(u.dtype)
