"""Transforms of frozen filters: made once, made anew when the filter changes, and never in the way of a gradient."""

import gc
import weakref

import pytest
import torch

from genomix_kernels.fftconv import fftconv, kept_spectra
from genomix_kernels.fftconv.kept_spectra import spectrum_of


def inputs(seqlen: int = 100) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    return torch.randn(2, 3, seqlen), torch.randn(3, seqlen), torch.randn(3)


def test_a_kept_transform_changes_no_bit_and_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    u, h, skip = inputs()
    plain = fftconv(u, h, skip, backend="torch_fft")
    transformed: list[torch.Size] = []
    rfft = torch.fft.rfft

    def counting(x: torch.Tensor, n: int) -> torch.Tensor:
        transformed.append(x.shape)
        found: torch.Tensor = rfft(x, n=n)
        return found

    monkeypatch.setattr(torch.fft, "rfft", counting)
    for _ in range(3):
        assert torch.equal(fftconv(u, h, skip, keeps_spectrum=True, backend="torch_fft"), plain)
    assert transformed.count(h.shape) == 1
    assert transformed.count(u.shape) == 3


def test_a_filter_that_is_written_to_is_transformed_again() -> None:
    u, h, skip = inputs()
    first = fftconv(u, h, skip, keeps_spectrum=True, backend="torch_fft")
    h[:, 3] += 1.0
    second = fftconv(u, h, skip, keeps_spectrum=True, backend="torch_fft")
    assert not torch.equal(first, second)
    assert torch.equal(second, fftconv(u, h, skip, backend="torch_fft"))


def test_other_lengths_and_dtypes_have_their_own() -> None:
    u, h, skip = inputs()
    fftconv(u, h, skip, keeps_spectrum=True, backend="torch_fft")
    longer = torch.cat([u, u], dim=-1)
    for signal in (longer, u.double(), u):
        kept = fftconv(signal, h, skip, keeps_spectrum=True, backend="torch_fft")
        assert torch.equal(kept, fftconv(signal, h, skip, backend="torch_fft"))


def test_gradients_are_those_without() -> None:
    u, h, skip = inputs()
    gradients = []
    for keeps in (False, True):
        leaf, gain = u.clone().requires_grad_(), skip.clone().requires_grad_()
        y = fftconv(leaf, h, gain, keeps_spectrum=keeps, backend="torch_fft")
        gradients.append(torch.autograd.grad(y.square().sum(), (leaf, gain)))
    for found, expected in zip(*gradients, strict=True):
        assert torch.equal(found, expected)


def test_it_goes_with_its_filter() -> None:
    u, h, skip = inputs()
    fftconv(u, h, skip, keeps_spectrum=True, backend="torch_fft")
    # not counted: what other tests have left may be collected at any time
    spectrum = weakref.ref(kept_spectra._kept[h][1])
    gc.collect()
    assert spectrum() is not None
    del h
    gc.collect()
    assert spectrum() is None


def test_nothing_is_kept_of_large_ones_or_of_tensors_that_do_not_tell_when_they_change(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[int] = []

    def make() -> torch.Tensor:
        made.append(1)
        return torch.zeros(10)

    h = torch.zeros(3)
    monkeypatch.setattr(kept_spectra, "LARGEST", 39)
    for _ in range(2):
        spectrum_of(h, "here", make, keeps=True)
    assert len(made) == 2
    monkeypatch.setattr(kept_spectra, "LARGEST", 40)
    with torch.inference_mode():
        of_inference = torch.zeros(3)
    for _ in range(2):
        spectrum_of(of_inference, "here", make, keeps=True)
    assert len(made) == 4
    for _ in range(2):
        spectrum_of(h, "here", make, keeps=True)
    assert len(made) == 5
