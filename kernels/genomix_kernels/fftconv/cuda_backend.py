"""`fftconv` in CUDA C++ on tensor cores, gradients by hand: one pass up to 16,384 tokens, or up to 262,144 by
clusters of blocks; beyond, one pass between two that take rows apart and put them together, or three phases.

The four are backends of their own, ``cuda``, ``cuda_cluster``, ``cuda_split`` and ``cuda_phased``.
"""

from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from genomix_kernels.cuda_support import why_not_cuda
from genomix_kernels.fftconv import onepass_cuda, phased_cuda, phased_fine_cuda, split_cuda, split_plan
from genomix_kernels.fftconv.kept_spectra import can_be_kept, spectrum_of
from genomix_kernels.fftconv.phased_plan import LONGEST
from genomix_kernels.triton_support import launched_on, with_unit_stride

OLDEST_CAPABILITY = (8, 0)


def fftconv_cuda(
    u: Tensor,
    h: Tensor,
    skip: Tensor,
    pre_gate: Tensor | None = None,
    post_gate: Tensor | None = None,
    keeps_spectrum: bool = False,
    *,
    is_phased: bool = False,
    is_split: bool = False,
) -> Tensor:
    """As `fftconv`, in one pass, in three phases or in pieces; gradients of first order."""
    kernels = split_cuda if is_split else _kernels_for(u.dtype, is_phased)
    signals = [None if x is None else with_unit_stride(x) for x in (u, pre_gate, post_gate)]
    # one kernel finds the gradient of a gate on its way; several need what the gate has multiplied
    keeps_ungated = (
        _is_composed(u, pre_gate, post_gate, kernels)
        and torch.is_grad_enabled()
        and post_gate is not None
        and post_gate.requires_grad
    )
    leaves_spectrum = torch.is_grad_enabled() and any(
        x is not None and x.requires_grad for x in (u, pre_gate)
    )
    options = keeps_spectrum, kernels, keeps_ungated, leaves_spectrum
    y: Tensor = _LongConvolution.apply(*signals, h, skip, *options)  # type: ignore[no-untyped-call]
    return y


def why_not(
    u: Tensor,
    h: Tensor,
    skip: Tensor,
    pre_gate: Tensor | None = None,
    post_gate: Tensor | None = None,
    keeps_spectrum: bool = False,
    *,
    is_clustered: bool = False,
    is_phased: bool = False,
    is_split: bool = False,
) -> str | None:
    """Return why the kernels of one pass (blocks or clusters), of pieces or of three phases cannot serve, or None."""
    del keeps_spectrum
    least, most = 1, onepass_cuda.LONGEST
    if is_split:
        least, most = split_plan.SHORTEST, split_plan.LONGEST
    elif is_phased:
        least, most = onepass_cuda.LONGEST + 1, LONGEST
    elif is_clustered:
        least, most = onepass_cuda.LONGEST + 1, onepass_cuda.LONGEST_OF_CLUSTER
    if not least <= u.shape[-1] <= most:
        return f"{u.shape[-1]} tokens are not between {least} and {most}"
    if is_split and not split_plan.is_faster(u.shape[-1]):
        return f"clusters take rows of {u.shape[-1]} tokens faster"
    gates = [x for x in (pre_gate, post_gate) if x is not None]
    if u.dtype not in (torch.bfloat16, torch.float16) and not (is_phased and u.dtype is torch.float32):
        return f"the kernel does not compute in {u.dtype}"
    if any(x.dtype is not u.dtype for x in gates):
        return "gates and input differ in dtype"
    if any(x.dtype not in (torch.float32, torch.bfloat16, torch.float16) for x in (h, skip)):
        return "filter or skip gain is in a dtype beyond fp32, bf16 and fp16"
    oldest = onepass_cuda.OLDEST_WITH_CLUSTERS if is_clustered else OLDEST_CAPABILITY
    if is_split:
        oldest = split_cuda.oldest_capability(u.shape[-1])
    reason = why_not_cuda(oldest, u, h, skip, *gates)
    return reason if reason is not None or is_phased or is_split else onepass_cuda.why_too_long(u)


def _kernels_for(dtype: torch.dtype, is_phased: bool) -> ModuleType:
    """Return the kernels of one pass or of three phases; those have planes in fp16, or in fp32 for fp32 signals."""
    if not is_phased:
        return onepass_cuda
    return phased_fine_cuda if dtype is torch.float32 else phased_cuda


def _is_composed(u: Tensor, pre_gate: Tensor | None, post_gate: Tensor | None, kernels: ModuleType) -> bool:
    """Return whether the backward pass is several kernels rather than one.

    For clusters with gates one kernel needs more registers than there are: 10.8 ms at 65,536 tokens on an H200, two
    others 5.0. (Where that is faster, pieces serve instead: `split_cuda.goes_back`.)
    """
    has_gate = pre_gate is not None or post_gate is not None
    return kernels is not onepass_cuda or (has_gate and u.shape[-1] > onepass_cuda.LONGEST)


class _LongConvolution(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        u: Tensor,
        pre_gate: Tensor | None,
        post_gate: Tensor | None,
        h: Tensor,
        skip: Tensor,
        keeps_spectrum: bool,
        kernels: ModuleType,
        keeps_ungated: bool,
        leaves_spectrum: bool,
    ) -> Tensor:
        seqlen = u.shape[-1]
        ungated = torch.empty_like(u, memory_format=torch.contiguous_format) if keeps_ungated else None
        with launched_on(u):
            if (
                kernels is split_cuda
                and _is_made_anew(h, seqlen, keeps_spectrum)
                and split_cuda.takes_filter(u)
            ):
                y, prepared = split_cuda.convolve_with(
                    u, h, skip.float(), pre_gate, post_gate, leaves_spectrum=leaves_spectrum, second=ungated
                )
            else:
                prepared = _spectrum(h, seqlen, u.dtype, kernels, keeps_spectrum)
                y = kernels.convolve(u, prepared, skip.float(), pre_gate, post_gate, second=ungated)
        ctx.kernels, ctx.filter_len, ctx.filter_dtype = kernels, h.shape[-1], h.dtype
        needs_u, needs_pre, _, needs_h, needs_skip, *_ = ctx.needs_input_grad
        ctx.goes_back_in_pieces = (
            kernels is onepass_cuda
            and (needs_u or needs_pre)
            and (needs_h or needs_skip)
            and split_cuda.goes_back(u)
        )
        # the spectrum, which is as large as the filter, stands for it, unless the backward pass needs another
        of_filter = h if ctx.goes_back_in_pieces else prepared
        ctx.save_for_backward(u, pre_gate, post_gate, skip, of_filter, ungated)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        u, pre_gate, post_gate, skip, prepared, ungated = ctx.saved_tensors
        dy = with_unit_stride(dy)
        du: Tensor | None
        dh: Tensor | None
        with launched_on(u):
            if ctx.goes_back_in_pieces:
                spectrum = split_cuda.spectrum(prepared.detach(), u.shape[-1])
                found = split_cuda.backward(
                    u, dy, spectrum, skip.float(), ctx.filter_len, pre_gate, post_gate
                )
                du, d_pre, dh = found.u, found.pre_gate, found.h
                d_post = None if ungated is None else dy * ungated
            elif not _is_composed(u, pre_gate, post_gate, ctx.kernels):
                found = onepass_cuda.backward(u, dy, prepared, skip, ctx.filter_len, pre_gate, post_gate)
                du, d_pre, dh = found.u, found.pre_gate, found.h
                d_post = found.post_gate
            else:
                du, d_pre, dh = _composed_backward(ctx, u, pre_gate, post_gate, skip, prepared, dy)
                d_post = None if ungated is None else dy * ungated
        # a copy: a view would keep the parameter from taking dh itself as its gradient
        d_skip = None if dh is None else dh[:, 0].to(skip.dtype, copy=True)
        d_h = None if dh is None else dh.to(ctx.filter_dtype)
        return du, d_pre, d_post, d_h, d_skip, None, None, None, None


def _composed_backward(
    ctx: Any,
    u: Tensor,
    pre_gate: Tensor | None,
    post_gate: Tensor | None,
    skip: Tensor,
    prepared: Tensor,
    dy: Tensor,
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Return the gradients of the input, of its gate, and of the filter."""
    needs_u, needs_pre, _, needs_h, needs_skip, *_ = ctx.needs_input_grad
    du = d_pre = dh = None
    kernels = ctx.kernels
    if kernels is split_cuda and (needs_u or needs_pre) and (needs_h or needs_skip):
        found = split_cuda.backward(u, dy, prepared, skip.float(), ctx.filter_len, pre_gate, post_gate)
        return found.u, found.pre_gate, found.h
    if needs_u or needs_pre:
        d_pre = None if pre_gate is None else torch.empty_like(u, memory_format=torch.contiguous_format)
        du = kernels.convolve(
            dy, prepared, skip.float(), post_gate, pre_gate,
            is_adjoint=True, second=d_pre, second_gate=None if pre_gate is None else u,
        )  # fmt: skip
    if needs_h or needs_skip:
        dh = kernels.filter_gradient(u, dy, ctx.filter_len, pre_gate, post_gate)
    return du, d_pre, dh


def _is_made_anew(h: Tensor, seqlen: int, keeps: bool) -> bool:
    """Return whether a filter in pieces is transformed for one call, though it may be asked to be kept."""
    return not keeps or not can_be_kept(h, split_cuda.spectrum_bytes(len(h), seqlen))


def _spectrum(h: Tensor, seqlen: int, dtype: torch.dtype, kernels: ModuleType, keeps: bool) -> Tensor:
    """Return a filter's spectrum, kept for the next call if ``keeps``."""

    def make() -> Tensor:
        if kernels is onepass_cuda:
            return onepass_cuda.spectrum(h.detach(), seqlen, dtype)
        prepared: Tensor = kernels.spectrum(h.detach().float(), seqlen)
        return prepared

    return spectrum_of(h, (kernels.__name__, seqlen, dtype), make, keeps)
