"""`fftconv` by the package flash-fft-conv, where a user has installed it: FFTs as matrix products on tensor cores.

Its `FlashFFTConv` is made for one FFT size and one dtype, and convolves circularly within that size; twice the length
of the sequence makes that causal. The gradients of signal and filter are the package's; those of the skip term and of
the gates are PyTorch's. Written to the package's documented contract, which is also where the limits below come from:
https://github.com/HazyResearch/flash-fft-conv#input-requirements-and-notes

Source: Fu et al. 2023, arXiv:2311.05908.
"""

import importlib
import importlib.util
from functools import lru_cache
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

MODULE = "flashfftconv"
_NOT_INSTALLED = f"{MODULE} is not installed; github.com/HazyResearch/flash-fft-conv says how"

SMALLEST_FFT, LARGEST_FFT = 256, 4_194_304
_LARGEST_OF_ANY_WIDTH = 32_768
_CHANNEL_MULTIPLE = 16
_IN_FOURS = (512, 2048)
"""FFT sizes whose sequences must be divisible by 4; those of all others by 2."""


def why_unavailable() -> str | None:
    """Return what this machine lacks for the package to be used, or None."""
    if importlib.util.find_spec(MODULE) is None:
        return _NOT_INSTALLED
    return None if torch.cuda.is_available() else "no CUDA device on this machine"


def why_not(
    u: Tensor,
    h: Tensor,
    skip: Tensor,
    pre_gate: Tensor | None = None,
    post_gate: Tensor | None = None,
    keeps_spectrum: bool = False,
) -> str | None:
    """Return why the package cannot serve this call of `fftconv`, or None."""
    del keeps_spectrum
    if importlib.util.find_spec(MODULE) is None:
        return _NOT_INSTALLED
    reason = why_not_shape(u.dtype, u.shape[1], u.shape[2])
    if reason is not None:
        return reason
    tensors = [u, h, skip, *(gate for gate in (pre_gate, post_gate) if gate is not None)]
    if any(gate.dtype is not u.dtype for gate in tensors[3:]):
        return "gates and input differ in dtype"
    if any(each.dtype is torch.float64 for each in (h, skip)):
        return "its filters are in fp32; the filter or the skip gain is in fp64"
    on_cpu = next((each for each in tensors if not each.is_cuda), None)
    return None if on_cpu is None else f"the tensors are on the {on_cpu.device.type.upper()}"


def why_not_shape(dtype: torch.dtype, n_channels: int, seqlen: int) -> str | None:
    """Return which documented limit of the package a signal ``(batch, n_channels, seqlen)`` is beyond, or None.

    The length of the filter has none of its own: it is at most that of the sequence.
    """
    if dtype not in (torch.float16, torch.bfloat16):
        return f"it computes in fp16 and bf16, not in {dtype}"
    size = fft_size(seqlen)
    if size > LARGEST_FFT:
        return f"its longest causal sequence is {LARGEST_FFT // 2:,} tokens, not {seqlen:,}"
    divisor = 4 if size in _IN_FOURS else 2
    if seqlen % divisor:
        return f"at FFT size {size:,} the sequence must be divisible by {divisor}; it has {seqlen:,} tokens"
    if size > _LARGEST_OF_ANY_WIDTH and n_channels % _CHANNEL_MULTIPLE:
        return f"at FFT size {size:,} it takes a multiple of {_CHANNEL_MULTIPLE} channels, not {n_channels}"
    return None


def fft_size(seqlen: int) -> int:
    """Return the power of two, at least 256, that twice the sequence fits into."""
    return max(SMALLEST_FFT, 1 << (2 * seqlen - 1).bit_length())


def fftconv_flash_fft_conv(
    u: Float[Tensor, "B D L"], h: Float[Tensor, "D K"], skip: Float[Tensor, " D"]
) -> Float[Tensor, "B D L"]:
    """Causal convolution by the package; the skip term is added in fp32 and the sum rounded once more."""
    convolve = _flash_fft_conv(fft_size(u.shape[-1]), u.dtype, u.device)
    y = convolve(u.contiguous(), h.float().contiguous())
    return torch.addcmul(y, u, skip.float()[:, None]).to(u.dtype)


@lru_cache(maxsize=4)
def _flash_fft_conv(size: int, dtype: torch.dtype, device: torch.device) -> Any:
    """Return the package's module, in training mode: in eval mode it keeps nothing for a backward pass."""
    return importlib.import_module(MODULE).FlashFFTConv(size, dtype=dtype).to(device).train()
