"""A long sequence through a shorter filter in pieces: the result of the whole convolution in bounded memory.

Overlap-save: an output needs the ``filter_len - 1`` inputs before it and no others, so each piece is convolved with
them in front and they are cut off again. Nothing but input and output is as long as the sequence, also backward.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from genomix_kernels.dispatch import Backend
from genomix_kernels.fftconv import check_arguments, fftconv

_N_SIGNALS = 3
"""Input and gates come first among what gradients are of; filter and skip gain are whole in every piece."""


def fftconv_chunked(
    u: Float[Tensor, "B D L"],
    h: Float[Tensor, "D K"],
    skip: Float[Tensor, " D"],
    *,
    chunk_len: int,
    pre_gate: Float[Tensor, "B D L"] | None = None,
    post_gate: Float[Tensor, "B D L"] | None = None,
    backend: Backend = "auto",
) -> Float[Tensor, "B D L"]:
    """Return what `fftconv` does, computed ``chunk_len`` tokens at a time; gradients of first order.

    Args:
        u: See `fftconv`, as for the others.
        h: Its ``filter_len`` sets what a piece carries along: work grows by ``1 + filter_len / chunk_len``.
        skip: Gain on the unfiltered input.
        chunk_len: Outputs of a piece. Its transforms have about ``chunk_len + 2 * filter_len`` points.
        pre_gate: What ``u`` is multiplied by.
        post_gate: What the result is multiplied by.
        backend: Of `fftconv`, for every piece.

    Raises:
        ValueError: if ``chunk_len`` is below 1, or `fftconv` would raise.
    """
    check_arguments(u, h, skip, pre_gate, post_gate)
    if chunk_len < 1:
        raise ValueError(f"chunk_len is {chunk_len}; it must be at least 1.")
    y: Tensor = _Chunked.apply(u, pre_gate, post_gate, h, skip, chunk_len, backend)  # type: ignore[no-untyped-call]
    return y


def _windows(seqlen: int, filter_len: int, chunk_len: int) -> Iterator[tuple[slice, int]]:
    """Yield the tokens that each piece reads, and how many of the first of them only serve the others."""
    for start in range(0, seqlen, chunk_len):
        first = max(0, start - filter_len + 1)
        yield slice(first, min(seqlen, start + chunk_len)), start - first


def _convolve(tensors: Sequence[Tensor | None], window: slice, backend: Backend) -> Tensor:
    """Return the convolution of a piece: of ``u, pre_gate, post_gate``, cut to the window, and ``h, skip``, whole."""
    u, pre_gate, post_gate, h, skip = tensors
    assert u is not None
    assert h is not None
    assert skip is not None
    taps = h[:, : window.stop - window.start]
    return fftconv(u, taps, skip, pre_gate=pre_gate, post_gate=post_gate, backend=backend)


def _leaf(x: Tensor | None, window: slice, *, needs_gradient: bool) -> Tensor | None:
    """Return what a piece reads of an input, cut off from the graph that it came from."""
    return None if x is None else x[..., window].detach().requires_grad_(needs_gradient)


class _Chunked(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        u: Tensor,
        pre_gate: Tensor | None,
        post_gate: Tensor | None,
        h: Tensor,
        skip: Tensor,
        chunk_len: int,
        backend: Backend,
    ) -> Tensor:
        ctx.save_for_backward(u, pre_gate, post_gate, h, skip)
        ctx.chunk_len, ctx.backend = chunk_len, backend
        y = torch.empty_like(u)
        for window, n_before in _windows(u.shape[-1], h.shape[-1], chunk_len):
            signals = [None if x is None else x[..., window] for x in (u, pre_gate, post_gate)]
            piece = _convolve([*signals, h, skip], window, backend)
            y[..., window.start + n_before : window.stop] = piece[..., n_before:]
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        inputs: tuple[Tensor | None, ...] = ctx.saved_tensors
        *_, h, _ = ctx.saved_tensors
        # an input of several pieces has a sum of gradients, which is taken in fp32 at least
        sums = {
            index: torch.zeros_like(x, dtype=torch.promote_types(x.dtype, torch.float32))
            for index, x in enumerate(inputs)
            if x is not None and ctx.needs_input_grad[index]
        }
        for window, n_before in _windows(dy.shape[-1], h.shape[-1], ctx.chunk_len):
            leaves = [
                _leaf(x, window if index < _N_SIGNALS else slice(None), needs_gradient=index in sums)
                for index, x in enumerate(inputs)
            ]
            with torch.enable_grad():
                piece = _convolve(leaves, window, ctx.backend)[..., n_before:]
            found = torch.autograd.grad(
                piece,
                [x for index, x in enumerate(leaves) if x is not None and index in sums],
                dy[..., window.start + n_before : window.stop],
            )
            for index, gradient in zip(sums, found, strict=True):
                total = sums[index]
                (total[..., window] if index < _N_SIGNALS else total).add_(gradient)
        gradients = (
            sums[index].to(x.dtype) if x is not None and index in sums else None
            for index, x in enumerate(inputs)
        )
        return (*gradients, None, None)
