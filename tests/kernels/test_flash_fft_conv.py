"""The adapter to flash-fft-conv.

The package builds with nvcc on a machine with a GPU only. What runs elsewhere is `DocumentedFlashFFTConv`, which stands
for what its documentation promises and refuses what that rules out; the package itself, where it is installed beside a
GPU, is run by the last test.
"""

import importlib.util
import sys
from collections.abc import Callable, Iterator
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from genomix_kernels.bench.contenders import find_contenders
from genomix_kernels.dispatch import choose, implementations
from genomix_kernels.fftconv import fftconv, flash_fft_conv
from genomix_kernels.fftconv.flash_fft_conv import fft_size, why_not, why_not_shape
from genomix_kernels.fftconv.reference import fftconv_reference
from genomix_kernels.testing import check_against_reference

NAME = "flash_fft_conv"
BACKEND = next(each for each in implementations("fftconv") if each.name == NAME)
MILLION = 1 << 20

SHAPES = [
    (3, 8, 4, 3),
    (2, 3, 128, 128),
    (2, 3, 132, 7),
    (1, 2, 1000, 1000),
    (1, 2, 512, 1),
    (1, 16, 20_000, 20_000),
]


class DocumentedFlashFFTConv(nn.Module):
    """A circular convolution of the size it is made for, gradients by autograd where it is in training mode."""

    made: list["DocumentedFlashFFTConv"] = []  # noqa: RUF012

    def __init__(self, seqlen: int, dtype: torch.dtype = torch.float16) -> None:
        super().__init__()
        assert 256 <= seqlen <= 4_194_304
        assert seqlen & (seqlen - 1) == 0
        assert dtype in (torch.float16, torch.bfloat16)
        self.seqlen, self.dtype = seqlen, dtype
        self.made.append(self)

    def forward(self, u: Tensor, k: Tensor) -> Tensor:
        assert u.is_contiguous()
        assert k.is_contiguous()
        assert (u.dtype, k.dtype) == (self.dtype, torch.float32)
        (_, channels, length), (filters, _) = u.shape, k.shape
        assert channels == filters
        assert length <= self.seqlen
        assert length % (4 if self.seqlen in (512, 2048) else 2) == 0
        assert channels % 16 == 0 or self.seqlen <= 32_768
        spectrum = torch.fft.fft(u.float(), n=self.seqlen) * torch.fft.fft(k, n=self.seqlen)
        y: Tensor = torch.fft.ifft(spectrum, n=self.seqlen).real[..., :length].to(u.dtype)
        return y if self.training else y.detach()


@pytest.fixture
def documented(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[DocumentedFlashFFTConv]]:
    """Put the stand-in where the package would be."""
    module = ModuleType("flashfftconv")
    module.__spec__ = ModuleSpec("flashfftconv", None)
    vars(module)["FlashFFTConv"] = DocumentedFlashFFTConv
    monkeypatch.setitem(sys.modules, "flashfftconv", module)
    monkeypatch.setattr(DocumentedFlashFFTConv, "made", [])
    flash_fft_conv._flash_fft_conv.cache_clear()
    yield DocumentedFlashFFTConv
    flash_fft_conv._flash_fft_conv.cache_clear()


def make_inputs(shape: tuple[int, int, int, int], dtype: torch.dtype, device: str = "cpu") -> dict[str, Any]:
    batch, channels, seqlen, filter_len = shape
    generator = torch.Generator().manual_seed(7)
    signals = {
        name: torch.randn(batch, channels, seqlen, generator=generator).to(device, dtype)
        for name in ("u", "pre_gate", "post_gate")
    }
    h = torch.randn(channels, filter_len, generator=generator) / filter_len**0.5
    return {**signals, "h": h.to(device), "skip": torch.randn(channels, generator=generator).to(device)}


def gated_reference(
    u: Tensor, h: Tensor, skip: Tensor, pre_gate: Tensor | None = None, post_gate: Tensor | None = None
) -> Tensor:
    y = fftconv_reference(u if pre_gate is None else u * pre_gate, h, skip)
    return y if post_gate is None else y * post_gate


@pytest.mark.skipif(
    importlib.util.find_spec("flashfftconv") is not None, reason="flashfftconv is installed here"
)
def test_where_it_is_missing_the_reason_says_where_to_get_it() -> None:
    reason = BACKEND.unavailable
    assert reason is not None
    assert "flashfftconv is not installed" in reason
    assert "github.com/HazyResearch/flash-fft-conv says how" in reason
    u = torch.zeros(1, 2, 128, dtype=torch.bfloat16)
    with pytest.raises(
        ValueError, match=r"no backend can serve .* flash_fft_conv: flashfftconv is not installed"
    ):
        fftconv(u, torch.zeros(2, 128), torch.zeros(2), backend=NAME)


@pytest.mark.usefixtures("documented")
def test_auto_never_takes_it() -> None:
    u = torch.zeros(1, 2, 128, dtype=torch.bfloat16)
    chosen = choose("fftconv", "auto", u, torch.zeros(2, 128), torch.zeros(2), None, None, False)
    assert chosen.name != NAME
    served_always = next(each for each in implementations("fftconv") if each.name == "torch_fft")
    assert BACKEND.priority < served_always.priority


@pytest.mark.parametrize(
    ("dtype", "n_channels", "seqlen", "reason"),
    [
        (torch.bfloat16, 3, 128, None),
        (torch.float16, 3, 16_384, None),
        (torch.bfloat16, 16, 2 * MILLION, None),
        (torch.bfloat16, 256, 160_000, None),
        (torch.float32, 16, 1024, "it computes in fp16 and bf16, not in torch.float32"),
        (torch.float64, 16, 1024, "it computes in fp16 and bf16, not in torch.float64"),
        (torch.bfloat16, 256, 2 * MILLION + 2, "longest causal sequence is 2,097,152 tokens, not 2,097,154"),
        (torch.bfloat16, 16, 1, "at FFT size 256 the sequence must be divisible by 2; it has 1 tokens"),
        (torch.bfloat16, 16, 14_113, "at FFT size 32,768 the sequence must be divisible by 2"),
        (torch.bfloat16, 16, 1022, "at FFT size 2,048 the sequence must be divisible by 4"),
        (torch.bfloat16, 16, 250, "at FFT size 512 the sequence must be divisible by 4"),
        (torch.bfloat16, 250, 16_386, "at FFT size 65,536 it takes a multiple of 16 channels, not 250"),
    ],
    ids=str,
)
def test_the_documented_limits_are_named(
    dtype: torch.dtype, n_channels: int, seqlen: int, reason: str | None
) -> None:
    found = why_not_shape(dtype, n_channels, seqlen)
    assert found is None if reason is None else reason in str(found)


@pytest.mark.usefixtures("documented")
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, "the tensors are on the CPU"),
        ({"pre_gate": torch.float32}, "gates and input differ in dtype"),
        ({"h": torch.float64}, "the filter or the skip gain is in fp64"),
        ({"u": torch.float32}, "not in torch.float32"),
    ],
    ids=str,
)
def test_calls_that_it_does_not_serve_have_a_reason(changes: dict[str, torch.dtype], reason: str) -> None:
    inputs = make_inputs((1, 2, 128, 128), torch.bfloat16)
    inputs |= {name: inputs[name].to(dtype) for name, dtype in changes.items()}
    assert reason in str(why_not(**inputs))
    with pytest.raises(ValueError, match=reason):
        fftconv(**inputs, backend=NAME)


def test_a_broken_installation_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    empty = ModuleType("flashfftconv")
    monkeypatch.setitem(sys.modules, "flashfftconv", empty)
    flash_fft_conv._flash_fft_conv.cache_clear()
    inputs = make_inputs((1, 2, 128, 128), torch.bfloat16)
    with pytest.raises(AttributeError, match="FlashFFTConv"):
        BACKEND.load()(**inputs)


@pytest.mark.usefixtures("documented")
@pytest.mark.parametrize(
    "gates", [(), ("pre_gate",), ("pre_gate", "post_gate")], ids=lambda names: "+".join(names)
)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_output_and_gradients_by_the_documented_contract(
    shape: tuple[int, int, int, int], dtype: torch.dtype, gates: tuple[str, ...]
) -> None:
    inputs = make_inputs(shape, dtype)
    inputs = {name: inputs[name] for name in ("u", "h", "skip", *gates)}
    check_against_reference(BACKEND.load(), gated_reference, inputs, dtype=dtype)


@pytest.mark.parametrize("seqlen", [2, 128, 130, 256, 1000, 16_384, 16_386, 160_000, 2 * MILLION])
def test_the_size_holds_the_sequence_twice_and_is_the_least_that_does(seqlen: int) -> None:
    size = fft_size(seqlen)
    assert size & (size - 1) == 0
    assert size >= max(256, 2 * seqlen)
    assert size == 256 or size < 4 * seqlen


def test_a_later_input_changes_nothing_earlier(documented: type[DocumentedFlashFFTConv]) -> None:
    inputs = make_inputs((1, 4, 256, 256), torch.bfloat16)
    convolve: Callable[..., Tensor] = BACKEND.load()
    before = convolve(**inputs)
    inputs["u"][..., 200:] += 100.0
    change = (convolve(**inputs) - before).float().abs()
    assert change[..., :200].max() < 1e-3 * change[..., 200:].max()
    assert len(documented.made) == 1, "one object serves all layers of a length"


@pytest.mark.usefixtures("documented")
def test_strided_signals_are_made_contiguous() -> None:
    inputs = make_inputs((2, 4, 128, 128), torch.float16)
    expected = BACKEND.load()(**inputs)
    inputs["u"] = inputs["u"].transpose(1, 2).contiguous().transpose(1, 2)
    inputs["h"] = inputs["h"].T.contiguous().T
    assert torch.equal(BACKEND.load()(**inputs), expected)


def test_the_benchmark_knows_it_once_as_another_librarys() -> None:
    found, absent = find_contenders(["fftconv"], "cpu", [NAME])
    listed = [each for each in found["fftconv"] if each.name == NAME]
    assert len(listed) + len(absent) == 1
    assert all(each.is_peer for each in listed)
    assert set(absent) <= {f"fftconv/{NAME}"}


@pytest.mark.gpu
@pytest.mark.parametrize("shape", [*SHAPES, (1, 256, 160_000, 160_000), (1, 16, MILLION, MILLION)], ids=str)
def test_the_package_itself(shape: tuple[int, int, int, int]) -> None:
    if BACKEND.unavailable is not None:
        pytest.skip(BACKEND.unavailable)
    inputs = make_inputs(shape, torch.float16, "cuda")
    # its transforms are in fp16 as well, which loses more than rounding the output: the bound of bf16
    check_against_reference(
        lambda **given: fftconv(**given, backend=NAME), gated_reference, inputs, dtype=torch.bfloat16
    )
