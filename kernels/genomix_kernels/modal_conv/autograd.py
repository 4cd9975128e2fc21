"""`modal_conv` with gradients, on kernels that are to be named: Triton's or those in CUDA C++."""

from typing import Any

import torch
from torch import Tensor

from genomix_kernels.hyena_gated.filters import Modes
from genomix_kernels.hyena_gated.modal_autograd import ModalKernels
from genomix_kernels.hyena_gated.streams import Streams
from genomix_kernels.triton_support import launched_on, with_unit_stride


def modal_conv_on(
    kernels: ModalKernels,
    u: Tensor,
    log_poles: Tensor,
    residues: Tensor,
    skip: Tensor | None = None,
    state: Tensor | None = None,
    pre_gate: Tensor | None = None,
    post_gate: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """As `modal_conv`; differentiable in every tensor, and through the final state."""
    signals = [None if x is None else with_unit_stride(x) for x in (post_gate, u, pre_gate)]
    before = None if state is None else state.float()
    y, final = _Modal.apply(kernels, *signals, log_poles, residues, skip, before)  # type: ignore[no-untyped-call]
    return y, final


class _Modal(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        kernels: ModalKernels,
        q: Tensor | None,
        k: Tensor,
        v: Tensor | None,
        log_poles: Tensor,
        residues: Tensor,
        skip: Tensor | None,
        state: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        ctx.kernels = kernels
        inner = Modes(log_poles.contiguous(), residues.contiguous(), skip)
        start = None if state is None else state.contiguous()
        with launched_on(k):
            y, final, saved = kernels.modal_forward(
                Streams(q, k, v), None, inner, start, None, saves=any(ctx.needs_input_grad)
            )
        ctx.save_for_backward(q, k, v, log_poles, residues, skip, state, saved)
        return y, final

    @staticmethod
    def backward(ctx: Any, dy: Tensor | None, d_final: Tensor | None) -> tuple[Tensor | None, ...]:
        q, k, v, log_poles, residues, skip, state, saved = ctx.saved_tensors
        rest = None
        if d_final is not None and k.shape[-1] % ctx.kernels.backward_tile(Streams(q, k, v), k.shape[-1]):
            # inside a tile the last token's state has a gradient of its own kind, which the plain formula takes
            rest, d_final = _through_final_state(ctx, d_final), None
        dq, dk, dv = (None if x is None else torch.empty_like(x) for x in (q, k, v))
        assert dk is not None
        gradients = Streams(dq, dk, dv)
        inner = Modes(log_poles.contiguous(), residues.contiguous(), skip)
        dy = torch.zeros_like(k) if dy is None else with_unit_stride(dy)
        d_end = None if d_final is None else d_final.contiguous()
        with launched_on(k):
            found = ctx.kernels.modal_backward(Streams(q, k, v), None, inner, saved, dy, d_end, gradients)
        all_found = [
            *gradients, found.log_poles, found.residues,
            None if skip is None else found.skip.to(skip.dtype), None if state is None else found.state,
        ]  # fmt: skip
        if rest is not None:
            all_found = [a if b is None else a + b for a, b in zip(all_found, rest, strict=True)]
        return None, *all_found


def _through_final_state(ctx: Any, d_final: Tensor) -> list[Tensor | None]:
    """Return the gradients of ``sum(d_final final)`` by every input, by the formula in torch."""
    from genomix_kernels.modal_conv.chunked import modal_conv_chunked

    _, k, v, log_poles, residues, _, state, _ = ctx.saved_tensors
    with torch.enable_grad():
        inputs = [
            None if x is None else x.detach().requires_grad_() for x in (k, v, log_poles, residues, state)
        ]
        signal, gate, poles, weights, start = inputs
        assert signal is not None
        assert poles is not None
        assert weights is not None
        m = signal if gate is None else signal * gate
        _, final = modal_conv_chunked(m, poles, weights, None, start)
        present = [x for x in inputs if x is not None]
        found = iter(torch.autograd.grad(final, present, d_final, allow_unused=True))
    dk, dv, d_poles, d_residues, d_state = (None if x is None else next(found) for x in inputs)
    return [None, dk, dv, d_poles, d_residues, None, d_state]
