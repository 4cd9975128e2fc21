"""`hyena_gated` from the operations that it is made of, each rounded to the activations' dtype."""

import torch
from torch import Tensor

from genomix_kernels.causal_fir import causal_fir, causal_fir_extend, tail_after
from genomix_kernels.hyena_gated.filters import HyenaState, Modes, Taps
from genomix_kernels.hyena_gated.reference import streams
from genomix_kernels.modal_conv import modal_conv

FEW_TOKENS = 4
"""Up to so many new tokens are summed directly; a kernel for whole sequences would compute outputs that are known."""


def hyena_gated_composed(
    p: Tensor,
    featurizer: Taps,
    inner: Taps | Modes,
    is_interleaved: bool,
    state: HyenaState | None = None,
    wants_state: bool = True,
) -> tuple[Tensor, HyenaState | None]:
    """As `hyena_gated`; the state after the last token if wanted."""
    del wants_state  # it comes along
    batch, channels = p.shape[0], p.shape[1] // 3
    z, tail = _filtered(p, featurizer, None if state is None else state.featurizer)
    q, k, v = streams(z, channels, is_interleaved)
    m = k * v
    if isinstance(inner, Taps):
        y, after = _filtered(m, inner, None if state is None else state.inner)
        if inner.skip is not None:
            y = torch.addcmul(y, inner.skip.to(y.dtype)[:, None], m)
    else:
        before = None if state is None else state.inner
        if before is None:
            precise = torch.promote_types(p.dtype, torch.float32)
            before = p.new_zeros(batch, *inner.log_poles.shape, dtype=precise)
        if inner.rounds_before_skip and inner.skip is not None:
            y, after = modal_conv(m, inner.log_poles, inner.residues, state=before)
            y = y + inner.skip.to(m.dtype)[:, None] * m
        else:
            y, after = modal_conv(m, inner.log_poles, inner.residues, inner.skip, state=before)
    return q * y, HyenaState(tail, after)


def _filtered(u: Tensor, taps: Taps, tail: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return the filtered inputs, without the skip term, and the tail after them."""
    n_taps = taps.h.shape[1]
    if tail is None:
        y = causal_fir(u, taps.h, tap_order=taps.order)
        return y, tail_after(u.new_zeros(*u.shape[:2], n_taps - 1), u)
    if u.shape[-1] > FEW_TOKENS:
        return causal_fir_extend(u, taps.h, tail, tap_order=taps.order)
    joined = torch.cat([tail.to(u.dtype), u], dim=-1)
    precise = torch.promote_types(u.dtype, torch.float32)
    oldest_first = taps.h if taps.order == "cross_correlation" else taps.h.flip(-1)
    windows = torch.unflatten(joined.unfold(-1, n_taps, 1), 1, (taps.h.shape[0], -1))
    y = (windows.to(precise) * oldest_first[:, None, None].to(precise)).sum(-1)
    return y.flatten(1, 2).to(u.dtype), tail_after(tail, u)
