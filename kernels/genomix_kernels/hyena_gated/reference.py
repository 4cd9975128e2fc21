"""The equation of `hyena_gated`, made literal, from the references of its parts."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from genomix_kernels.hyena_gated.filters import HyenaState, Modes, Taps
from genomix_kernels.modal_conv.reference import modal_conv_reference


def hyena_gated_reference(
    p: Float[Tensor, "B C L"],
    featurizer: Taps,
    inner: Taps | Modes,
    is_interleaved: bool,
    state: HyenaState | None = None,
    wants_state: bool = True,
) -> tuple[Float[Tensor, "B D L"], HyenaState]:
    """``q, k, v = featurized p``; ``m = k v``; ``y = q (h * m + skip m)``; and the state after the last token."""
    del wants_state  # it comes along
    channels = p.shape[1] // 3
    precise = torch.promote_types(p.dtype, torch.float32)
    before = None if state is None else state.featurizer
    z, tail = fir_reference(p.to(precise), featurizer, before)
    q, k, v = streams(z, channels, is_interleaved)
    m = k * v
    if isinstance(inner, Taps):
        y, after = fir_reference(m, inner, None if state is None else state.inner)
        after = after.to(p.dtype)
    else:
        y, after = modal_conv_reference(
            m, inner.log_poles, inner.residues, None, None if state is None else state.inner
        )
        if inner.rounds_before_skip:
            y = y.to(p.dtype).to(precise)
    if inner.skip is not None:
        y = y + inner.skip.to(precise)[:, None] * m
    return (q * y).to(p.dtype), HyenaState(tail.to(p.dtype), after)


def fir_reference(
    u: Float[Tensor, "B D L"], taps: Taps, before: Float[Tensor, "B D T"] | None
) -> tuple[Float[Tensor, "B D L"], Float[Tensor, "B D T"]]:
    """Return the filtered input without the skip term, and its last inputs."""
    h = taps.h if taps.order == "convolution" else taps.h.flip(-1)
    n_taps, seqlen = h.shape[1], u.shape[-1]
    if before is None:
        before = u.new_zeros(*u.shape[:2], n_taps - 1)
    joined = torch.cat([before.to(u.dtype), u], dim=-1)
    each = h.repeat_interleave(u.shape[1] // h.shape[0], dim=0).to(u.dtype)
    y = u * each[:, 0, None]
    for lag in range(1, n_taps):
        y = y + joined[..., n_taps - 1 - lag : n_taps - 1 - lag + seqlen] * each[:, lag, None]
    return y, joined[..., joined.shape[-1] - (n_taps - 1) :]


def streams(
    z: Float[Tensor, "B C L"], channels: int, is_interleaved: bool
) -> tuple[Float[Tensor, "B D L"], Float[Tensor, "B D L"], Float[Tensor, "B D L"]]:
    """Return q, k and v as views: every third channel, or the three thirds."""
    order: Literal[1, 2] = 2 if is_interleaved else 1
    shape = (channels, 3) if is_interleaved else (3, channels)
    q, k, v = torch.unflatten(z, 1, shape).unbind(order)
    return q, k, v
