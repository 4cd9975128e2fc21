"""Causal long convolution with a skip term."""

from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor

from genomix_kernels.dispatch import Backend, dispatch, register


def fftconv(
    u: Float[Tensor, "B D L"],
    h: Float[Tensor, "D K"],
    skip: Float[Tensor, " D"],
    *,
    backend: Backend = "auto",
) -> Float[Tensor, "B D L"]:
    """Causal long convolution with a skip term, ``y[t] = sum_i h[i] u[t-i] + skip * u[t]``.

    Args:
        u: Input signal, ``(batch, channel, seqlen)``; fp64, fp32, fp16 or bf16; any strides.
        h: Filter, ``(channel, filter_len)``. ``filter_len`` may be shorter than ``seqlen``.
        skip: Per-channel gain on the unfiltered input.
        backend: ``"auto"``, or the name of a backend.

    Returns:
        Same shape and dtype as ``u``; the sum is taken in fp32 (in fp64 when an input is fp64).

    Raises:
        ValueError: if ``filter_len > seqlen``, an axis is empty, or channels differ.

    Source: Poli et al. 2023, Hyena Hierarchy, arXiv:2302.10866.
    """
    _check(u, h, skip)
    y: Tensor = dispatch("fftconv", backend, u, h, skip)
    return y


def _check(u: Tensor, h: Tensor, skip: Tensor) -> None:
    if u.ndim != 3 or h.ndim != 2 or skip.ndim != 1:
        raise ValueError(
            f"fftconv takes u (B, D, L), h (D, K) and skip (D,); "
            f"it got {tuple(u.shape)}, {tuple(h.shape)} and {tuple(skip.shape)}."
        )
    if not u.shape[1] == h.shape[0] == skip.shape[0]:
        raise ValueError(
            f"channels differ: u has {u.shape[1]}, h has {h.shape[0]}, skip has {skip.shape[0]}."
        )
    if not 1 <= h.shape[1] <= u.shape[2]:
        raise ValueError(f"filter_len is {h.shape[1]}; it must be between 1 and seqlen = {u.shape[2]}.")


def _load_reference() -> Callable[..., Tensor]:
    from genomix_kernels.fftconv.reference import fftconv_reference

    return fftconv_reference


def _load_torch_fft() -> Callable[..., Tensor]:
    from genomix_kernels.fftconv.torch_fft import fftconv_torch_fft

    return fftconv_torch_fft


register("fftconv", "torch_fft", priority=10, load=_load_torch_fft)
register("fftconv", "reference", priority=0, load=_load_reference)
