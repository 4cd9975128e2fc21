"""Causal long convolution with a skip term, between two gates."""

from collections.abc import Callable
from functools import partial
from typing import Any

from jaxtyping import Float
from torch import Tensor

from genomix_kernels.cuda_support import why_unavailable
from genomix_kernels.dispatch import Backend, dispatch, register


def fftconv(
    u: Float[Tensor, "B D L"],
    h: Float[Tensor, "D K"],
    skip: Float[Tensor, " D"],
    *,
    pre_gate: Float[Tensor, "B D L"] | None = None,
    post_gate: Float[Tensor, "B D L"] | None = None,
    keeps_spectrum: bool = False,
    backend: Backend = "auto",
) -> Float[Tensor, "B D L"]:
    """Causal long convolution with a skip term, ``y[t] = post[t] (sum_i h[i] x[t-i] + skip * x[t])``, ``x = pre u``.

    Args:
        u: Input signal, ``(batch, channel, seqlen)``; fp64, fp32, fp16 or bf16; any strides.
        h: Filter, ``(channel, filter_len)``. ``filter_len`` may be shorter than ``seqlen``.
        skip: Per-channel gain on the unfiltered input.
        pre_gate: What ``u`` is multiplied by, in its dtype; nothing if None.
        post_gate: What the result is multiplied by, likewise.
        keeps_spectrum: Keep the filter's transform as long as the tensor ``h`` lives, for further calls with it: of a
            filter that does not change. ``reference`` and ``flash_fft_conv`` keep nothing, nor does any backend of
            a transform of more than 320 MiB.
        backend: ``"auto"``, or the name of a backend.

    Returns:
        Same shape and dtype as ``u``. The torch backends sum in fp32 (in fp64 when an input is fp64); ``cuda`` holds
        transforms in fp16, scaled, which with the rounding of the output loses 1.7e-3 to 2.5e-3 of the RMS in bf16.

    Raises:
        ValueError: if ``filter_len > seqlen``, an axis is empty, or channels differ.

    Source: Poli et al. 2023, Hyena Hierarchy, arXiv:2302.10866.
    """
    check_arguments(u, h, skip, pre_gate, post_gate)
    y: Tensor = dispatch("fftconv", backend, u, h, skip, pre_gate, post_gate, keeps_spectrum)
    return y


def check_arguments(
    u: Tensor, h: Tensor, skip: Tensor, pre_gate: Tensor | None, post_gate: Tensor | None
) -> None:
    """Raise a ValueError that says which shape does not fit the others."""
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
    for name, gate in (("pre_gate", pre_gate), ("post_gate", post_gate)):
        if gate is not None and gate.shape != u.shape:
            raise ValueError(f"{name} has shape {tuple(gate.shape)}; expected that of u, {tuple(u.shape)}.")


def _load_reference() -> Callable[..., Tensor]:
    from genomix_kernels.fftconv.gated import gated
    from genomix_kernels.fftconv.reference import fftconv_reference

    return gated(fftconv_reference)


def _load_torch_fft() -> Callable[..., Tensor]:
    from genomix_kernels.fftconv.gated import gated
    from genomix_kernels.fftconv.torch_fft import fftconv_torch_fft

    return gated(fftconv_torch_fft, keeps_spectra=True)


def _why_not_cuda(*arguments: Any) -> str | None:
    from genomix_kernels.fftconv.cuda_backend import why_not

    return why_not(*arguments)


def _load_cuda() -> Callable[..., Tensor]:
    from genomix_kernels.fftconv.cuda_backend import fftconv_cuda

    return fftconv_cuda


def _why_not_cuda_cluster(*arguments: Any) -> str | None:
    from genomix_kernels.fftconv.cuda_backend import why_not

    return why_not(*arguments, is_clustered=True)


def _why_not_cuda_phased(*arguments: Any) -> str | None:
    from genomix_kernels.fftconv.cuda_backend import why_not

    return why_not(*arguments, is_phased=True)


def _load_cuda_phased() -> Callable[..., Tensor]:
    from genomix_kernels.fftconv.cuda_backend import fftconv_cuda

    return partial(fftconv_cuda, is_phased=True)


def _why_not_cuda_split(*arguments: Any) -> str | None:
    from genomix_kernels.fftconv.cuda_backend import why_not

    return why_not(*arguments, is_split=True)


def _load_cuda_split() -> Callable[..., Tensor]:
    from genomix_kernels.fftconv.cuda_backend import fftconv_cuda

    return partial(fftconv_cuda, is_split=True)


def _why_no_flash_fft_conv() -> str | None:
    from genomix_kernels.fftconv.flash_fft_conv import why_unavailable as why_no_package

    return why_no_package()


def _why_not_flash_fft_conv(*arguments: Any) -> str | None:
    from genomix_kernels.fftconv.flash_fft_conv import why_not

    return why_not(*arguments)


def _load_flash_fft_conv() -> Callable[..., Tensor]:
    from genomix_kernels.fftconv.flash_fft_conv import fftconv_flash_fft_conv
    from genomix_kernels.fftconv.gated import gated

    return gated(fftconv_flash_fft_conv)


register(
    "fftconv", "cuda", priority=40, load=_load_cuda, supports=_why_not_cuda, why_unavailable=why_unavailable
)
register(
    "fftconv", "cuda_cluster", priority=35, load=_load_cuda, supports=_why_not_cuda_cluster,
    why_unavailable=why_unavailable,
)  # fmt: skip
register(
    "fftconv", "cuda_split", priority=37, load=_load_cuda_split, supports=_why_not_cuda_split,
    why_unavailable=why_unavailable,
)  # fmt: skip
register(
    "fftconv", "cuda_phased", priority=30, load=_load_cuda_phased, supports=_why_not_cuda_phased,
    why_unavailable=why_unavailable,
)  # fmt: skip
# another library's, for those who want it by name: below torch_fft, which serves all that it does
register(
    "fftconv", "flash_fft_conv", priority=3, load=_load_flash_fft_conv, supports=_why_not_flash_fft_conv,
    why_unavailable=_why_no_flash_fft_conv,
)  # fmt: skip
register("fftconv", "torch_fft", priority=10, load=_load_torch_fft)
register("fftconv", "reference", priority=0, load=_load_reference)
