"""Filters in the place of others, with the error that they make: partial and frequency-sparse convolutions.

A partial convolution keeps the first taps of a filter; a frequency-sparse one sets a part of its spectrum to zero. Both
are as in Fu et al. 2023, FlashFFTConv, arXiv:2311.05908; the errors are ours to state, and are exact.

The error is that of the output for white input, independent values of equal variance. With ``e[d]`` the change of the
filter at lag ``d`` it is ``sum_d w[d] e[d]^2``, where ``w[d] = seqlen - |d|`` counts the pairs of tokens that are ``d``
apart, relative to the same sum of the filter itself.

A spectrum with zeros belongs to a filter that reaches both ways: its convolution shows later tokens to earlier ones.
`SparseFilter` says how much, and has the causal part of the filter apart, which is nearer to the original as well.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from genomix_kernels.fftconv.torch_fft import fast_fft_size

_BLOCK = 1 << 22
"""Elements of a transform at once, so that long filters take no more memory than their result."""


@dataclass(frozen=True, slots=True)
class OutputError:
    """RMS of what changed in the output for white input, relative to the RMS of the output.

    Attributes:
        of_channels: Of each channel, ``(channel,)``, fp64; zero where the filter is zero.
        total: Of all channels together: the root of the ratio of their sums of squares.
    """

    of_channels: Float[Tensor, " D"]
    total: float


@dataclass(frozen=True, slots=True)
class TruncatedFilter:
    """The first taps of a filter.

    Attributes:
        h: ``(channel, filter_len)``, a view of the filter.
        error: What a convolution with it leaves out.
    """

    h: Float[Tensor, "D K"]
    error: OutputError


@dataclass(frozen=True, slots=True)
class SparseFilter:
    """A filter a part of whose spectrum is zero.

    Attributes:
        spectrum: Its real transform of ``fft_size`` points; frequencies beyond the last one held are zero.
        fft_size: At least twice ``seqlen``, so that no lag is another one's.
        seqlen: Tokens up to which the errors hold.
        n_kept: Frequencies of a channel that are not set to zero, of ``fft_size // 2 + 1``.
        error: Of the convolution by the spectrum, `fftconv_sparse`, which is not causal.
        leak: The part of that output that comes from later tokens, relative to the exact output.
        causal: The filter's taps at lags from 0 on, ``(channel, seqlen)``, for `fftconv`.
        causal_error: Of the convolution by those.
    """

    spectrum: Complex[Tensor, "D F"]
    fft_size: int
    seqlen: int
    n_kept: int
    error: OutputError
    leak: OutputError
    causal: Float[Tensor, "D L"]
    causal_error: OutputError


def truncate_filter(
    h: Float[Tensor, "D K"],
    filter_len: int,
    *,
    seqlen: int | None = None,
    skip: Float[Tensor, " D"] | None = None,
) -> TruncatedFilter:
    """Return the first ``filter_len`` taps of a filter, and the error of a convolution with them.

    Args:
        h: The filter.
        filter_len: Taps to keep, from lag 0 on.
        seqlen: Tokens of the sequences that it will filter; None for many more than it has taps.
        skip: Gain on the unfiltered input, part of the output that the error is relative to.

    Raises:
        ValueError: if ``filter_len`` is not between 1 and the taps that there are.
    """
    if not 1 <= filter_len <= h.shape[-1]:
        raise ValueError(f"filter_len is {filter_len}; it must be between 1 and the {h.shape[-1]} taps of h.")
    weights = _weights(h.shape[-1], seqlen, h.device)
    exact = _energy(h, weights, skip)
    dropped = _energy(h[:, filter_len:], weights[filter_len:])
    return TruncatedFilter(h[:, :filter_len], _relative(dropped, exact))


def sparsify_spectrum(
    h: Float[Tensor, "D K"],
    seqlen: int,
    keep: float,
    *,
    by: Literal["frequency", "magnitude"] = "frequency",
    skip: Float[Tensor, " D"] | None = None,
) -> SparseFilter:
    """Return a filter with a part of its spectrum set to zero, and the errors of convolutions with it.

    Args:
        h: The filter; its taps beyond ``seqlen`` do not matter.
        seqlen: Tokens of the sequences that it will filter.
        keep: Fraction of the frequencies that stay, above 0 and up to 1.
        by: ``"frequency"`` keeps the lowest ones, the same in all channels, so that blocks of a transform can be left
            out, as in the paper; ``"magnitude"`` the largest ones of each channel.
        skip: Gain on the unfiltered input, part of the output that the errors are relative to.

    Raises:
        ValueError: if ``keep`` or ``seqlen`` is out of range, or ``by`` unknown.
    """
    if not 0.0 < keep <= 1.0:
        raise ValueError(f"keep is {keep}; it must be a fraction above 0 and at most 1.")
    if seqlen < 1:
        raise ValueError(f"seqlen is {seqlen}; it must be at least 1.")
    if by not in ("frequency", "magnitude"):
        raise ValueError(f"by is {by!r}; it must be 'frequency' or 'magnitude'.")
    h = h[:, :seqlen].to(torch.promote_types(h.dtype, torch.float32))
    fft_size = fast_fft_size(2 * seqlen)
    n_kept = max(1, round(keep * (fft_size // 2 + 1)))
    weights = _weights(seqlen, seqlen, h.device)
    rows = max(1, _BLOCK // fft_size)
    parts = [_sparse_part(block, seqlen, fft_size, n_kept, by, weights) for block in torch.split(h, rows)]
    spectrum, causal, changed, leaked = (torch.cat(part) for part in zip(*parts, strict=True))
    exact = _energy(h, weights[: h.shape[-1]], skip)
    return SparseFilter(
        spectrum=spectrum,
        fft_size=fft_size,
        seqlen=seqlen,
        n_kept=n_kept,
        error=_relative(changed + leaked, exact),
        leak=_relative(leaked, exact),
        causal=causal,
        causal_error=_relative(changed, exact),
    )


def fftconv_sparse(
    u: Float[Tensor, "B D L"], sparse: SparseFilter, skip: Float[Tensor, " D"]
) -> Float[Tensor, "B D L"]:
    """Convolution by a sparse spectrum with a skip term, as in the paper: **not causal**, see `SparseFilter.leak`.

    Frequencies that are not held are never multiplied; the transforms are those of torch.fft, whole.

    Raises:
        ValueError: if ``u`` is longer than the filter was made for.
    """
    seqlen = u.shape[-1]
    if seqlen > sparse.seqlen:
        raise ValueError(f"u has {seqlen} tokens; the sparse filter was made for up to {sparse.seqlen}.")
    signal = u.to(torch.promote_types(u.dtype, torch.float32))
    held = torch.fft.rfft(signal, n=sparse.fft_size)[..., : sparse.spectrum.shape[-1]]
    y = torch.fft.irfft(held * sparse.spectrum, n=sparse.fft_size)[..., :seqlen]
    return torch.addcmul(y, signal, skip.to(signal.dtype)[:, None]).to(u.dtype)


def _sparse_part(
    h: Tensor, seqlen: int, fft_size: int, n_kept: int, by: str, weights: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the spectrum and causal taps of some channels, and what changed at lags from 0 on and before."""
    spectrum = torch.fft.rfft(h, n=fft_size)
    if by == "frequency":
        spectrum = spectrum[:, :n_kept].clone()
    else:
        chosen = spectrum.abs().topk(n_kept, dim=-1).indices
        spectrum = torch.zeros_like(spectrum).scatter(-1, chosen, spectrum.gather(-1, chosen))
    taps = torch.fft.irfft(spectrum, n=fft_size)
    causal = taps[:, :seqlen].clone()
    change = causal.detach().clone()
    change[:, : h.shape[-1]] -= h.detach()
    # the tap at lag -d stands at fft_size - d
    future = taps[:, fft_size - seqlen + 1 :].flip(-1)
    return spectrum, causal, _energy(change, weights), _energy(future, weights[1:])


def _weights(n_lags: int, seqlen: int | None, device: torch.device) -> Float[Tensor, " L"]:
    if seqlen is None:
        return torch.ones(n_lags, dtype=torch.float64, device=device)
    return (seqlen - torch.arange(n_lags, dtype=torch.float64, device=device)).clamp(min=0)


def _energy(h: Tensor, weights: Tensor, skip: Tensor | None = None) -> Float[Tensor, " D"]:
    """Return the weighted sum of squares of each channel, in fp64; of the filter with its skip gain, if given."""
    h = h.detach()
    # a channel at a time: all of them in fp64 would take twice the memory of the filters
    sums = torch.stack([row.double().square() @ weights for row in h])
    if skip is None:
        return sums
    first = h[:, 0].double()
    return sums + ((first + skip.detach().double()).square() - first.square()) * weights[0]


def _relative(changed: Tensor, exact: Tensor) -> OutputError:
    ratio = torch.where(changed > 0, changed / exact, 0.0)
    total = (changed.sum() / exact.sum()).sqrt().item() if bool(changed.sum() > 0) else 0.0
    return OutputError(ratio.sqrt(), total)
