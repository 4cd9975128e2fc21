"""Gated modal filters with gradients, on kernels that are to be named: Triton's or those in CUDA C++."""

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from genomix_kernels.causal_fir import tail_after
from genomix_kernels.hyena_gated.filters import HyenaState, Modes, Taps
from genomix_kernels.hyena_gated.streams import Streams, streams_of
from genomix_kernels.triton_support import launched_on, with_unit_stride


@dataclass(frozen=True, kw_only=True)
class ModalGradients:
    """Gradients of a gated modal filter's parameters and state, in fp32; those of the streams go to tensors given."""

    log_poles: Tensor
    residues: Tensor
    skip: Tensor
    state: Tensor
    featurizer: Tensor | None


class ModalKernels(Protocol):
    """A module that launches modal filters."""

    def modal_forward(
        self,
        streams: Streams,
        featurizer: Taps | None,
        inner: Modes,
        state: Tensor | None,
        tail: Tensor | None,
        *,
        saves: bool,
        wants_final: bool = True,
        rows: tuple[int, int] = (0, 0),
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return ``q (h * m + skip m)``, the state after the last token and, if ``saves``, those before each tile."""
        ...

    def modal_backward(
        self,
        streams: Streams,
        featurizer: Taps | None,
        inner: Modes,
        saved: Tensor,
        dy: Tensor,
        d_final: Tensor | None,
        d_streams: Streams,
        rows: tuple[int, int] = (0, 0),
    ) -> ModalGradients:
        """Write the gradients of the streams, and return those of parameters and of the state before."""
        ...

    def backward_tile(self, streams: Streams, seqlen: int, featurizer: Taps | None = None) -> int:
        """Return the tokens of a tile; the gradient of a final state inside one is not taken."""
        ...


def hyena_modal(
    kernels: ModalKernels,
    p: Tensor,
    featurizer: Taps,
    inner: Modes,
    is_interleaved: bool,
    state: HyenaState | None,
    wants_state: bool,
) -> tuple[Tensor, HyenaState | None]:
    """As `hyena_gated` with a modal filter; the state after the last token if wanted."""
    y, modes = _HyenaModal.apply(  # type: ignore[no-untyped-call]
        kernels, p, featurizer.h, inner.log_poles, inner.residues, inner.skip, featurizer.order,
        inner.rounds_before_skip, is_interleaved, state, wants_state,
    )  # fmt: skip
    return y, HyenaState(tail_of(p, featurizer, state), modes) if wants_state else None


class _HyenaModal(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        kernels: ModalKernels,
        p: Tensor,
        featurizer_h: Tensor,
        log_poles: Tensor,
        residues: Tensor,
        skip: Tensor | None,
        featurizer_order: Any,
        rounds: bool,
        is_interleaved: bool,
        state: HyenaState | None,
        wants_state: bool,
    ) -> tuple[Tensor, Tensor]:
        signals, rows = streams_of(p, is_interleaved)
        featurizer = Taps(featurizer_h.contiguous(), None, featurizer_order)
        inner = Modes(log_poles.contiguous(), residues.contiguous(), skip, rounds)
        before = contiguous(state, p.dtype)
        with launched_on(p):
            y, modes, saved = kernels.modal_forward(
                signals, featurizer, inner,
                None if before is None else before.inner, None if before is None else before.featurizer,
                saves=any(ctx.needs_input_grad), wants_final=wants_state, rows=rows,
            )  # fmt: skip
        ctx.save_for_backward(p, featurizer_h, log_poles, residues, skip, saved)
        ctx.kernels = kernels
        ctx.settings = featurizer_order, rounds, is_interleaved
        ctx.mark_non_differentiable(modes)
        return y, modes

    @staticmethod
    def backward(ctx: Any, dy: Tensor, _d_modes: Tensor) -> tuple[Tensor | None, ...]:
        p, featurizer_h, log_poles, residues, skip, saved = ctx.saved_tensors
        featurizer_order, rounds, is_interleaved = ctx.settings
        signals, rows = streams_of(p, is_interleaved)
        dp = torch.empty_like(p)
        d_signals, _ = streams_of(dp, is_interleaved)
        featurizer = Taps(featurizer_h.contiguous(), None, featurizer_order)
        inner = Modes(log_poles.contiguous(), residues.contiguous(), skip, rounds)
        with launched_on(p):
            found = ctx.kernels.modal_backward(
                signals, featurizer, inner, saved, with_unit_stride(dy), None, d_signals, rows
            )
        assert found.featurizer is not None
        return (
            None, dp, found.featurizer.to(featurizer_h.dtype), found.log_poles, found.residues,
            None if skip is None else found.skip.to(skip.dtype), None, None, None, None, None,
        )  # fmt: skip


def tail_of(p: Tensor, featurizer: Taps, state: HyenaState | None) -> Tensor:
    """Return the last projections that the featurizer still reaches."""
    length = featurizer.h.shape[1] - 1
    before = p.new_zeros(*p.shape[:2], length) if state is None else state.featurizer
    return tail_after(before, p)


def contiguous(state: HyenaState | None, dtype: torch.dtype) -> HyenaState | None:
    """Return a state as kernels take it."""
    if state is None:
        return None
    # taps remember inputs, in the dtype of the activations; modes are sums, in fp32
    inner = state.inner if state.inner.dtype is torch.float32 else state.inner.to(dtype)
    return HyenaState(state.featurizer.to(dtype).contiguous(), inner.contiguous())
