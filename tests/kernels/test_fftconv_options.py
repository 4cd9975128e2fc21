"""Partial and frequency-sparse filters state the error that they make; a long sequence in pieces makes none."""

from typing import Any, Literal

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from genomix_kernels.fftconv import fftconv
from genomix_kernels.fftconv.approximate import (
    OutputError,
    SparseFilter,
    fftconv_sparse,
    sparsify_spectrum,
    truncate_filter,
)
from genomix_kernels.fftconv.chunked import fftconv_chunked
from genomix_kernels.fftconv.reference import fftconv_reference
from genomix_kernels.testing import check_against_reference

CHANNELS, SEQLEN = 4, 45


def decaying_filter(filter_len: int = SEQLEN, channels: int = CHANNELS) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    rates = torch.linspace(1.0, 20.0, channels, dtype=torch.float64)
    times = torch.arange(filter_len, dtype=torch.float64) / filter_len
    noise = torch.randn(channels, filter_len, generator=generator, dtype=torch.float64)
    return noise * torch.exp(-rates[:, None] * times)


def impulses(seqlen: int = SEQLEN, channels: int = CHANNELS) -> Tensor:
    """Return every unit impulse: sums over them are expectations over white input, without its noise."""
    return torch.eye(seqlen, dtype=torch.float64)[:, None].expand(-1, channels, -1).contiguous()


def assert_is_error_of(stated: OutputError, change: Tensor, exact: Tensor) -> None:
    """Compare with what changed in the responses to all impulses, ``(impulse, channel, token)``."""
    changed, whole = change.square().sum((0, 2)), exact.square().sum((0, 2))
    torch.testing.assert_close(stated.of_channels, (changed / whole).sqrt(), rtol=1e-10, atol=1e-12)
    assert stated.total == pytest.approx((changed.sum() / whole.sum()).sqrt().item(), rel=1e-10, abs=1e-12)


@pytest.mark.parametrize("with_skip", [False, True], ids=["no-skip", "skip"])
@pytest.mark.parametrize("filter_len", [1, 7, 44, 45])
def test_the_error_of_a_truncated_filter_is_that_of_its_output(filter_len: int, with_skip: bool) -> None:
    h, u = decaying_filter(), impulses()
    skip = torch.linspace(-1.0, 1.0, CHANNELS, dtype=torch.float64) * with_skip
    truncated = truncate_filter(h, filter_len, seqlen=SEQLEN, skip=skip if with_skip else None)
    assert torch.equal(truncated.h, h[:, :filter_len])
    exact = fftconv_reference(u, h, skip)
    assert_is_error_of(truncated.error, fftconv_reference(u, truncated.h, skip) - exact, exact)
    assert (truncated.error.total == 0.0) == (filter_len == SEQLEN)


def test_white_noise_meets_the_stated_error() -> None:
    h = decaying_filter(64)
    u = torch.randn(2000, CHANNELS, 64, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    skip = torch.zeros(CHANNELS, dtype=torch.float64)
    truncated = truncate_filter(h, 8, seqlen=64)
    exact = fftconv(u, h, skip)
    change = fftconv(u, truncated.h, skip) - exact
    found = (change.square().sum((0, 2)) / exact.square().sum((0, 2))).sqrt()
    torch.testing.assert_close(found, truncated.error.of_channels, rtol=0.05, atol=0)


def test_without_a_length_the_error_is_the_energy_of_the_tail() -> None:
    h = decaying_filter()
    expected = (h[:, 9:].square().sum(1) / h.square().sum(1)).sqrt()
    error = truncate_filter(h, 9).error
    torch.testing.assert_close(error.of_channels, expected)
    many = truncate_filter(h, 9, seqlen=10_000_000).error
    torch.testing.assert_close(many.of_channels, expected, rtol=1e-5, atol=0)


def test_errors_fall_with_every_tap_and_a_silent_channel_has_none() -> None:
    h = decaying_filter()
    h[1] = 0.0
    errors = [truncate_filter(h, taps, seqlen=SEQLEN).error for taps in range(1, SEQLEN + 1)]
    totals = [error.total for error in errors]
    assert totals == sorted(totals, reverse=True)
    assert all(error.of_channels[1] == 0.0 for error in errors)
    silent = truncate_filter(torch.zeros_like(h), 3, seqlen=SEQLEN).error
    assert (silent.total, silent.of_channels.abs().max().item()) == (0.0, 0.0)


@pytest.mark.parametrize("filter_len", [0, 46, -1])
def test_taps_that_are_not_there_are_refused(filter_len: int) -> None:
    with pytest.raises(
        ValueError, match=rf"filter_len is {filter_len}; it must be between 1 and the 45 taps"
    ):
        truncate_filter(decaying_filter(), filter_len)


def sparse_filter(
    keep: float, by: Literal["frequency", "magnitude"], filter_len: int = SEQLEN
) -> tuple[Tensor, SparseFilter]:
    h = decaying_filter(filter_len)
    return h, sparsify_spectrum(h, SEQLEN, keep, by=by)


@pytest.mark.parametrize("filter_len", [10, SEQLEN])
@pytest.mark.parametrize("by", ["frequency", "magnitude"])
@pytest.mark.parametrize("keep", [0.01, 0.25, 0.8, 1.0])
def test_the_errors_of_a_sparse_spectrum_are_those_of_its_outputs(
    keep: float, by: Literal["frequency", "magnitude"], filter_len: int
) -> None:
    h, sparse = sparse_filter(keep, by, filter_len)
    u, skip = impulses(), torch.zeros(CHANNELS, dtype=torch.float64)
    exact = fftconv_reference(u, h, skip)
    circular = fftconv_sparse(u, sparse, skip)
    assert_is_error_of(sparse.error, circular - exact, exact)
    # the response to an impulse at s, before s
    assert_is_error_of(sparse.leak, circular * torch.ones(SEQLEN, SEQLEN).triu(1).T[:, None], exact)
    causal = fftconv_reference(u, sparse.causal, skip)
    assert_is_error_of(sparse.causal_error, causal - exact, exact)
    assert sparse.causal_error.total <= sparse.error.total


@pytest.mark.parametrize("by", ["frequency", "magnitude"])
def test_keeping_all_frequencies_changes_nothing(by: Literal["frequency", "magnitude"]) -> None:
    h, sparse = sparse_filter(1.0, by)
    torch.testing.assert_close(sparse.causal, h, rtol=0, atol=1e-14)
    assert max(sparse.error.total, sparse.leak.total, sparse.causal_error.total) < 1e-14


def test_the_spectrum_has_zeros_where_they_were_asked_for() -> None:
    h, low = sparse_filter(0.25, "frequency")
    whole = torch.fft.rfft(h, n=low.fft_size)
    assert low.spectrum.shape == (CHANNELS, low.n_kept)
    assert low.n_kept == round(0.25 * (low.fft_size // 2 + 1))
    torch.testing.assert_close(low.spectrum, whole[:, : low.n_kept])
    _, large = sparse_filter(0.25, "magnitude")
    assert torch.equal((large.spectrum != 0).sum(1), torch.full((CHANNELS,), large.n_kept))
    assert (large.spectrum.abs().sum(1) > whole[:, : large.n_kept].abs().sum(1)).any()
    smallest_kept = torch.where(large.spectrum != 0, whole.abs(), torch.inf).amin(1)
    largest_dropped = torch.where(large.spectrum != 0, 0.0, whole.abs()).amax(1)
    assert (smallest_kept >= largest_dropped).all()


def test_a_sparse_spectrum_shows_later_tokens_and_its_causal_taps_do_not() -> None:
    _, sparse = sparse_filter(0.25, "frequency")
    skip = torch.zeros(CHANNELS, dtype=torch.float64)
    late = impulses()[-1:]
    assert sparse.leak.total > 1e-2
    assert fftconv_sparse(late, sparse, skip)[..., :-1].abs().max() > 1e-3
    assert fftconv_reference(late, sparse.causal, skip)[..., :-1].abs().max() < 1e-12


def test_the_skip_gain_is_part_of_what_errors_are_relative_to() -> None:
    h, u = decaying_filter(), impulses()
    skip = torch.linspace(-1.0, 1.0, CHANNELS, dtype=torch.float64)
    sparse = sparsify_spectrum(h, SEQLEN, 0.5, skip=skip)
    exact = fftconv_reference(u, h, skip)
    assert_is_error_of(sparse.error, fftconv_sparse(u, sparse, skip) - exact, exact)


def test_shorter_sequences_and_no_longer_ones() -> None:
    h, sparse = sparse_filter(1.0, "frequency")
    skip = torch.ones(CHANNELS)
    u = torch.randn(2, CHANNELS, 30, generator=torch.Generator().manual_seed(5))
    y = fftconv_sparse(u.bfloat16(), sparse, skip)
    assert y.dtype is torch.bfloat16
    torch.testing.assert_close(y.float(), fftconv(u, h[:, :30].float(), skip), rtol=0.02, atol=0.1)
    with pytest.raises(ValueError, match=r"u has 46 tokens; the sparse filter was made for up to 45"):
        fftconv_sparse(torch.zeros(1, CHANNELS, 46), sparse, skip)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"keep": 0.0}, r"keep is 0\.0; it must be a fraction above 0"),
        ({"keep": 1.5}, r"keep is 1\.5"),
        ({"keep": float("nan")}, "keep is nan"),
        ({"seqlen": 0}, "seqlen is 0; it must be at least 1"),
        ({"by": "phase"}, r"by is 'phase'; it must be 'frequency' or 'magnitude'"),
    ],
    ids=str,
)
def test_bad_requests_of_sparsity_are_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sparsify_spectrum(decaying_filter(), **({"seqlen": SEQLEN, "keep": 0.5} | changes))


def chunk_inputs(filter_len: int, dtype: torch.dtype, names: tuple[str, ...]) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(7)
    wide = torch.promote_types(dtype, torch.float32)
    signals = {
        name: torch.randn(2, 3, 41, generator=generator).to(dtype) for name in ("u", "pre_gate", "post_gate")
    }
    filters = {
        "h": torch.randn(3, filter_len, generator=generator).to(wide),
        "skip": torch.randn(3, generator=generator).to(wide),
    }
    return {
        name: tensor for name, tensor in {**signals, **filters}.items() if name in ("u", "h", "skip", *names)
    }


def whole_reference(
    u: Tensor, h: Tensor, skip: Tensor, pre_gate: Tensor | None = None, post_gate: Tensor | None = None
) -> Tensor:
    y = fftconv_reference(u if pre_gate is None else u * pre_gate, h, skip)
    return y if post_gate is None else y * post_gate


@pytest.mark.parametrize(
    "gates", [(), ("post_gate",), ("pre_gate", "post_gate")], ids=lambda names: "+".join(names)
)
@pytest.mark.parametrize("filter_len", [1, 5, 16, 41])
@pytest.mark.parametrize("chunk_len", [1, 4, 5, 13, 40, 41, 1000])
def test_pieces_give_the_whole_and_every_gradient(
    chunk_len: int, filter_len: int, gates: tuple[str, ...]
) -> None:
    check_against_reference(
        lambda **given: fftconv_chunked(**given, chunk_len=chunk_len),
        whole_reference,
        chunk_inputs(filter_len, torch.float64, gates),
        dtype=torch.float64,
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_pieces_in_other_dtypes(dtype: torch.dtype) -> None:
    check_against_reference(
        lambda **given: fftconv_chunked(**given, chunk_len=6),
        whole_reference,
        chunk_inputs(16, dtype, ()),
        dtype=dtype,
    )


@pytest.mark.parametrize("needed", ["u", "h", "skip", "post_gate"])
def test_only_the_gradient_that_is_needed(needed: str) -> None:
    inputs = chunk_inputs(16, torch.float64, ("pre_gate", "post_gate"))
    inputs[needed].requires_grad_()
    (ours,) = torch.autograd.grad(fftconv_chunked(**inputs, chunk_len=6).square().sum(), inputs[needed])
    (theirs,) = torch.autograd.grad(whole_reference(**inputs).square().sum(), inputs[needed])
    torch.testing.assert_close(ours, theirs)


class LargestMade(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Remember the most elements of any one result, but for those of the shape of the input."""

    def __init__(self, shape: torch.Size) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.shape, self.elements = shape, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for each in result if isinstance(result, tuple | list) else [result]:
            if isinstance(each, Tensor) and each.shape != self.shape:
                self.elements = max(self.elements, each.numel())
        return result


def test_nothing_but_input_and_output_is_as_long_as_the_sequence() -> None:
    u = torch.randn(1, 2, 20_000)
    h, skip = torch.randn(2, 100), torch.randn(2)
    with LargestMade(u.shape) as whole:
        fftconv(u, h, skip)
    with LargestMade(u.shape) as pieces:
        y = fftconv_chunked(u.requires_grad_(), h.requires_grad_(), skip, chunk_len=500)
        torch.autograd.backward(y, torch.ones_like(y))
    assert whole.elements >= u.numel()
    assert pieces.elements <= 2 * 1024
    assert u.grad is not None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"chunk_len": 0}, "chunk_len is 0; it must be at least 1"),
        ({"h": torch.zeros(3, 42)}, r"filter_len is 42; it must be between 1 and seqlen = 41"),
        ({"skip": torch.zeros(4)}, "channels differ"),
        ({"post_gate": torch.zeros(2, 3, 40)}, "post_gate has shape"),
        ({"backend": "none"}, "backend 'none' does not exist"),
    ],
    ids=["chunk_len", "h", "skip", "post_gate", "backend"],
)
def test_bad_pieces_are_named(changes: dict[str, Any], message: str) -> None:
    inputs: dict[str, Any] = {**chunk_inputs(16, torch.float32, ()), "chunk_len": 4}
    with pytest.raises(ValueError, match=message):
        fftconv_chunked(**(inputs | changes))
