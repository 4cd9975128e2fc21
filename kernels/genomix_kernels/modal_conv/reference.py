"""The equation of `modal_conv`, made literal: one step of the recurrence after the other."""

import torch
from jaxtyping import Float, Num
from torch import Tensor


def modal_conv_reference(
    u: Float[Tensor, "B D L"],
    log_poles: Num[Tensor, "D N"],
    residues: Num[Tensor, "D N"],
    skip: Float[Tensor, " D"] | None = None,
    state: Num[Tensor, "B D N"] | None = None,
) -> tuple[Float[Tensor, "B D L"], Num[Tensor, "B D N"]]:
    """``s <- exp(log_poles) s + u[t]``, ``y[t] = sum_n residues s + skip u[t]``."""
    dtype = torch.promote_types(torch.promote_types(u.dtype, log_poles.dtype), torch.float32)
    signal, weights = u.to(dtype), residues.to(dtype)
    poles = torch.exp(log_poles.to(dtype))
    s = signal.new_zeros(u.shape[0], *log_poles.shape) if state is None else state.to(dtype)
    outputs = []
    for t in range(u.shape[-1]):
        s = poles * s + signal[..., t, None]
        outputs.append((weights * s).sum(-1))
    y = torch.stack(outputs, dim=-1)
    if y.is_complex():
        y = y.real
    if skip is not None:
        y = y + skip.to(y.dtype)[:, None] * u.to(y.dtype)
    return y.to(u.dtype), s
