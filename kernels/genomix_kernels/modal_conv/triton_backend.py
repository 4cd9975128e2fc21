"""`modal_conv` on a GPU as a scan of chunks on tensor cores, with every gradient."""

import torch
from torch import Tensor

from genomix_kernels.modal_conv.autograd import modal_conv_on
from genomix_kernels.triton_support import why_not_triton

MOST_MODES = 64


def modal_conv_triton(
    u: Tensor,
    log_poles: Tensor,
    residues: Tensor,
    skip: Tensor | None = None,
    state: Tensor | None = None,
    pre_gate: Tensor | None = None,
    post_gate: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """As `modal_conv`; differentiable in every tensor, and through the final state."""
    from genomix_kernels.hyena_gated import modal_launch

    return modal_conv_on(modal_launch, u, log_poles, residues, skip, state, pre_gate, post_gate)


def why_not(
    u: Tensor,
    log_poles: Tensor,
    residues: Tensor,
    skip: Tensor | None = None,
    state: Tensor | None = None,
    pre_gate: Tensor | None = None,
    post_gate: Tensor | None = None,
) -> str | None:
    """Return why this backend cannot serve, or None."""
    if log_poles.is_complex():
        return "the poles are complex"
    reason = why_not_triton(
        *(x for x in (u, log_poles, residues, skip, state, pre_gate, post_gate) if x is not None)
    )
    if reason is not None:
        return reason
    has_gradient = torch.is_grad_enabled() and any(
        x is not None and x.requires_grad for x in (u, log_poles, residues, skip, state, pre_gate, post_gate)
    )
    if u.dtype is torch.float32 and has_gradient:
        return "gradients of fp32 inputs need more digits than its products have"
    if log_poles.dtype is not torch.float32 or residues.dtype is not torch.float32:
        return "poles and residues are not in fp32"
    if log_poles.shape[1] > MOST_MODES:
        return f"{log_poles.shape[1]} modes are more than {MOST_MODES}"
    if any(gate is not None and gate.dtype != u.dtype for gate in (pre_gate, post_gate)):
        return "gates and input differ in dtype"
    return None
