"""`fftconv` on torch.fft with its own backward pass: real transforms only, and a shorter transform where one is exact.

Autograd turns the backward of a real FFT into a complex one of twice the work; here it is a correlation by real FFTs:
``du = corr(dy, h)``, ``dh = sum_b corr(dy, u)``. The input's spectrum is recomputed, not kept: at a million tokens it
would be twice the size of the input in fp32.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from genomix_kernels.fftconv.kept_spectra import spectrum_of

# measured with MKL: sizes with a larger odd part take longer than the next size of this list
_FAST_ODD_PARTS = (1, 3, 5, 9, 15, 25, 27)


def fftconv_torch_fft(
    u: Float[Tensor, "B D L"],
    h: Float[Tensor, "D K"],
    skip: Float[Tensor, " D"],
    *,
    keeps_spectrum: bool = False,
) -> Float[Tensor, "B D L"]:
    """Causal convolution by real FFTs of the next fast size; gradients of first order only.

    Args:
        u: Input signal.
        h: Filter.
        skip: Gain on the unfiltered input.
        keeps_spectrum: See `fftconv`.
    """
    result: Tensor = _CausalConvolution.apply(u, h, skip, keeps_spectrum)  # type: ignore[no-untyped-call]
    return result


def fast_fft_size(minimum: int) -> int:
    """Return the smallest power of two, times one of a few small odd numbers, of at least ``minimum``."""
    sizes = []
    for odd in _FAST_ODD_PARTS:
        power = max(1, (-(-minimum // odd) - 1).bit_length())
        sizes.append(odd << power)
    return min(sizes)


class _CausalConvolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, u: Tensor, h: Tensor, skip: Tensor, keeps_spectrum: bool) -> Tensor:
        ctx.save_for_backward(u, h, skip)
        ctx.keeps_spectrum = keeps_spectrum
        dtype = _compute_dtype(u, h)
        seqlen = u.shape[-1]
        fft_size = fast_fft_size(seqlen + h.shape[-1] - 1)
        signal = u.to(dtype)
        spectrum = torch.fft.rfft(signal, n=fft_size)
        spectrum *= _spectrum(h, fft_size, dtype, keeps_spectrum)
        y = torch.fft.irfft(spectrum, n=fft_size)[..., :seqlen]
        return torch.addcmul(y, signal, skip.to(dtype)[:, None]).to(u.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        u, h, skip = ctx.saved_tensors
        dtype = _compute_dtype(u, h)
        seqlen, filter_len = u.shape[-1], h.shape[-1]
        fft_size = fast_fft_size(seqlen + filter_len - 1)
        dy = grad.to(dtype)
        signal = u.to(dtype)
        dy_spectrum = torch.fft.rfft(dy, n=fft_size)
        du = dh = dskip = None
        if ctx.needs_input_grad[1]:
            u_spectrum = torch.fft.rfft(signal, n=fft_size)
            cross = (u_spectrum.conj_physical_() * dy_spectrum).sum(dim=0)
            dh = torch.fft.irfft(cross, n=fft_size)[..., :filter_len].to(h.dtype)
        if ctx.needs_input_grad[0]:
            dy_spectrum *= _spectrum(h, fft_size, dtype, ctx.keeps_spectrum).conj()
            correlation = torch.fft.irfft(dy_spectrum, n=fft_size)[..., :seqlen]
            du = torch.addcmul(correlation, dy, skip.to(dtype)[:, None]).to(u.dtype)
        if ctx.needs_input_grad[2]:
            dskip = torch.linalg.vecdot(dy, signal).sum(dim=0).to(skip.dtype)
        return du, dh, dskip, None


def _spectrum(h: Tensor, fft_size: int, dtype: torch.dtype, keeps: bool) -> Tensor:
    def make() -> Tensor:
        transform: Tensor = torch.fft.rfft(h.detach().to(dtype), n=fft_size)
        return transform

    return spectrum_of(h, ("torch_fft", fft_size, dtype), make, keeps)


def _compute_dtype(u: Tensor, h: Tensor) -> torch.dtype:
    return torch.promote_types(torch.promote_types(u.dtype, h.dtype), torch.float32)
