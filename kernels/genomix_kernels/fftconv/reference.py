"""The equation of `fftconv`, made literal with torch.fft and differentiated by autograd."""

import torch
from jaxtyping import Float
from torch import Tensor


def fftconv_reference(
    u: Float[Tensor, "B D L"], h: Float[Tensor, "D K"], skip: Float[Tensor, " D"]
) -> Float[Tensor, "B D L"]:
    """Causal convolution by FFT: padded to ``2 * seqlen`` so that the circular product is a linear one."""
    seqlen = u.shape[-1]
    dtype = torch.promote_types(torch.promote_types(u.dtype, h.dtype), torch.float32)
    signal = u.to(dtype)
    spectrum = torch.fft.rfft(signal, n=2 * seqlen) * torch.fft.rfft(h.to(dtype), n=2 * seqlen)
    y: Tensor = torch.fft.irfft(spectrum, n=2 * seqlen)[..., :seqlen]
    y = y + signal * skip.to(dtype)[:, None]
    return y.to(u.dtype)
