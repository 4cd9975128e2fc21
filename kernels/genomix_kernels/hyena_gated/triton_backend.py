"""`hyena_gated` on a GPU: one kernel forward; backward with recomputation, so that no intermediate is kept in between.

Short filters take one kernel backward, the others three, with one temporary of the size of the output.
"""

import torch
from torch import Tensor

from genomix_kernels.hyena_gated.filters import HyenaState, Modes, Taps
from genomix_kernels.hyena_gated.fir_autograd import hyena_fir
from genomix_kernels.hyena_gated.modal_autograd import hyena_modal
from genomix_kernels.triton_support import why_not_triton, with_unit_stride

LONGEST_FEATURIZER = 8
"""Taps of a featurizer: what a lane of eight tokens and the eight before it can see."""

MOST_MODES = 64


def hyena_gated_triton(
    p: Tensor,
    featurizer: Taps,
    inner: Taps | Modes,
    is_interleaved: bool,
    state: HyenaState | None = None,
    wants_state: bool = True,
) -> tuple[Tensor, HyenaState | None]:
    """As `hyena_gated`; the state after the last token if wanted."""
    p = with_unit_stride(p)
    if isinstance(inner, Taps):
        from genomix_kernels.hyena_gated import fir_launch

        return hyena_fir(fir_launch, p, featurizer, inner, is_interleaved, state, wants_state)
    from genomix_kernels.hyena_gated import modal_launch

    return hyena_modal(modal_launch, p, featurizer, inner, is_interleaved, state, wants_state)


def why_not(
    p: Tensor,
    featurizer: Taps,
    inner: Taps | Modes,
    is_interleaved: bool = True,
    state: HyenaState | None = None,
    wants_state: bool = True,
) -> str | None:
    """Return why this backend cannot serve, or None."""
    parts = (featurizer.h, *(part for part in inner[:3] if isinstance(part, Tensor)), *(state or ()))
    reason = why_not_triton(p, *parts)
    if reason is not None:
        return reason
    if featurizer.h.shape[1] > LONGEST_FEATURIZER:
        return f"the featurizer has {featurizer.h.shape[1]} taps, more than {LONGEST_FEATURIZER}"
    if isinstance(inner, Taps):
        from genomix_kernels.hyena_gated.fir_launch import LONGEST

        if inner.h.shape[1] > LONGEST:
            return f"{inner.h.shape[1]} taps are more than {LONGEST}"
    elif inner.log_poles.dtype is not torch.float32 or inner.residues.dtype is not torch.float32:
        return "poles and residues are not in fp32"
    elif inner.log_poles.shape[1] > MOST_MODES:
        return f"{inner.log_poles.shape[1]} modes are more than {MOST_MODES}"
    has_gradient = torch.is_grad_enabled() and any(x.requires_grad for x in (p, *parts))
    if state is not None and has_gradient:
        return "gradients behind a state are not taken"
    if has_gradient and isinstance(inner, Modes) and p.dtype is torch.float32:
        return "gradients of fp32 inputs need more digits than its products have"
    if wants_state and has_gradient and isinstance(inner, Modes):
        return "gradients of a state are not taken"
    return None
