"""`hyena_gated` in CUDA C++: one kernel forward, one backward (two with taps), nothing but the streams in memory."""

import torch
from torch import Tensor

from genomix_kernels.hyena_gated import fir_cuda, modal_cuda
from genomix_kernels.hyena_gated.filters import HyenaState, Modes, Taps
from genomix_kernels.hyena_gated.fir_autograd import hyena_fir
from genomix_kernels.hyena_gated.modal_autograd import hyena_modal
from genomix_kernels.hyena_gated.streams import streams_of


def hyena_gated_cuda(
    p: Tensor,
    featurizer: Taps,
    inner: Taps | Modes,
    is_interleaved: bool,
    state: HyenaState | None = None,
    wants_state: bool = True,
) -> tuple[Tensor, HyenaState | None]:
    """As `hyena_gated`; the state after the last token if wanted."""
    if isinstance(inner, Taps):
        return hyena_fir(fir_cuda, p, featurizer, inner, is_interleaved, state, wants_state)
    return hyena_modal(modal_cuda, p, featurizer, inner, is_interleaved, state, wants_state)


def why_not(
    p: Tensor,
    featurizer: Taps,
    inner: Taps | Modes,
    is_interleaved: bool = True,
    state: HyenaState | None = None,
    wants_state: bool = True,
) -> str | None:
    """Return why this backend cannot serve, or None."""
    signals, _ = streams_of(p, is_interleaved)
    if isinstance(inner, Taps):
        reason = fir_cuda.why_not(signals, featurizer, inner)
    else:
        reason = modal_cuda.why_not(signals, featurizer, inner)
    if reason is not None:
        return reason
    parts = (p, featurizer.h, *inner[:3], *(state or ()))
    if any(isinstance(x, Tensor) and not x.is_cuda for x in parts):
        return "the state is not on the device"
    if torch.is_grad_enabled() and any(isinstance(x, Tensor) and x.requires_grad for x in parts):
        if state is not None:
            return "gradients behind a state are not taken"
        if wants_state and isinstance(inner, Modes):
            return "gradients of a state are not taken"
    return None
