"""`modal_conv` in CUDA C++: the layout of fragments in registers is chosen so that nothing is reordered on the way."""

import torch
from torch import Tensor

from genomix_kernels.hyena_gated import modal_cuda
from genomix_kernels.hyena_gated.filters import Modes
from genomix_kernels.hyena_gated.streams import Streams
from genomix_kernels.modal_conv.autograd import modal_conv_on


def modal_conv_cuda(
    u: Tensor,
    log_poles: Tensor,
    residues: Tensor,
    skip: Tensor | None = None,
    state: Tensor | None = None,
    pre_gate: Tensor | None = None,
    post_gate: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """As `modal_conv`; differentiable in every tensor, and through the final state."""
    return modal_conv_on(modal_cuda, u, log_poles, residues, skip, state, pre_gate, post_gate)


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
    if any(gate is not None and gate.dtype != u.dtype for gate in (pre_gate, post_gate)):
        return "gates and input differ in dtype"
    if state is not None and not (state.is_cuda and state.dtype is torch.float32):
        return "the state is not in fp32 on the device"
    return modal_cuda.why_not(Streams(post_gate, u, pre_gate), None, Modes(log_poles, residues, skip))
