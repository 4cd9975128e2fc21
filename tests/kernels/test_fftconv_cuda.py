"""`fftconv` in CUDA C++ as autograd sees it: both regimes, each gradient that is asked for, frozen filters."""

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from genomix_kernels.dispatch import choose
from genomix_kernels.fftconv import fftconv, kept_spectra, onepass_cuda, phased_cuda, phased_fine_cuda
from genomix_kernels.fftconv.cuda_backend import fftconv_cuda, why_not
from genomix_kernels.fftconv.phased_plan import Plan
from genomix_kernels.fftconv.reference import fftconv_reference
from genomix_kernels.testing import LONG_CONVOLUTION_TOLERANCE, relative_rms_error
from tests.kernels.conftest import Emulate

NAMES = ("u", "h", "skip", "pre_gate", "post_gate")


@pytest.fixture
def on_cpu(emulate: Emulate, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the kernels' source on this CPU, that of long sequences from 257 tokens on."""
    emulate(onepass_cuda, phased_cuda, phased_fine_cuda)
    monkeypatch.setattr(onepass_cuda, "LONGEST", 256)
    monkeypatch.setattr(phased_cuda, "plan_for", lambda _: Plan(2, 2, 4))


def make_inputs(
    batch: int, channels: int, seqlen: int, dtype: torch.dtype, device: str = "cpu"
) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(seqlen)
    decay = torch.exp(-3 * torch.arange(seqlen) / seqlen)
    inputs = {name: torch.randn(batch, channels, seqlen, generator=generator).to(dtype) for name in NAMES}
    inputs["h"] = torch.randn(channels, seqlen, generator=generator) * decay
    inputs["skip"] = torch.randn(channels, generator=generator)
    return {name: x.to(device) for name, x in inputs.items()}


def exact(u: Tensor, h: Tensor, skip: Tensor, pre_gate: Tensor, post_gate: Tensor) -> Tensor:
    return fftconv_reference(u * pre_gate, h, skip) * post_gate


def operator_of(inputs: dict[str, Any]) -> Any:
    """Return the backend for a length, through the face on a GPU."""
    is_long = inputs["u"].shape[-1] > onepass_cuda.LONGEST
    if inputs["u"].is_cuda:
        return partial(fftconv, backend="cuda_phased" if is_long else "cuda")
    return partial(fftconv_cuda, is_phased=is_long)


def check(inputs: dict[str, Any], needed: tuple[str, ...] = NAMES, **options: Any) -> None:
    ours = {name: x.clone().requires_grad_(name in needed) for name, x in inputs.items()}
    theirs = {name: x.double().requires_grad_(name in needed) for name, x in inputs.items()}
    function = operator_of(inputs)
    y, expected = function(**ours, **options), exact(**theirs)
    cotangent = torch.randn(y.shape, generator=torch.Generator().manual_seed(0)).to(y)
    torch.autograd.backward(y, cotangent)
    torch.autograd.backward(expected, cotangent.double())
    pairs = {"y": (y, expected)} | {name: (ours[name].grad, theirs[name].grad) for name in needed}
    for name, (found, wanted) in pairs.items():
        assert found is not None, name
        assert wanted is not None, name
        error = relative_rms_error(found, wanted)
        assert error < (5e-6 if y.dtype is torch.float32 else LONG_CONVOLUTION_TOLERANCE), (
            f"{name}: {error:.2e}"
        )


@pytest.mark.usefixtures("on_cpu")
class TestOnACpu:
    @pytest.mark.parametrize(
        ("seqlen", "dtype"), [(200, torch.bfloat16), (600, torch.float16), (600, torch.float32)], ids=str
    )
    def test_output_and_gradients(self, seqlen: int, dtype: torch.dtype) -> None:
        check(make_inputs(2, 3, seqlen, dtype))

    @pytest.mark.parametrize("needed", [("u",), ("post_gate",), ("skip",)])
    def test_only_what_is_needed(self, needed: tuple[str, ...]) -> None:
        check(make_inputs(1, 3, 600, torch.float16), needed)

    @pytest.mark.parametrize("seqlen", [200, 600])
    def test_a_frozen_filter_is_transformed_once(self, seqlen: int, monkeypatch: pytest.MonkeyPatch) -> None:
        inputs = make_inputs(1, 2, seqlen, torch.bfloat16)
        call = partial(operator_of(inputs), keeps_spectrum=True)
        first = call(**inputs)
        kept = kept_spectra._kept[inputs["h"]][1]
        assert torch.equal(call(**inputs), first)
        assert kept_spectra._kept[inputs["h"]][1] is kept
        with torch.inference_mode():
            of_inference = {name: x.clone() for name, x in inputs.items()}
            assert torch.equal(call(**of_inference), first)
        inputs["h"].mul_(-1)  # another version: the kept transform is not its own
        assert not torch.equal(call(**inputs), first)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
class TestOnTheGpu:
    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
    @pytest.mark.parametrize("seqlen", [1, 1000, 8192, 16_384, 16_385, 65_536, 160_000])
    def test_output_and_gradients(self, seqlen: int, dtype: torch.dtype) -> None:
        # enough values for an average error
        check(make_inputs(2, 33 if seqlen > 64 else 1024, seqlen, dtype, "cuda"))

    def test_a_million_tokens(self) -> None:
        check(make_inputs(1, 3, 1 << 20, torch.bfloat16, "cuda"))

    @pytest.mark.parametrize("seqlen", [1000, 70_000])
    def test_features_last(self, seqlen: int) -> None:
        inputs = make_inputs(2, 8, seqlen, torch.bfloat16, "cuda")
        for name in ("u", "pre_gate"):
            inputs[name] = inputs[name].transpose(1, 2).contiguous().transpose(1, 2)
        check(inputs)


def test_it_says_why_not() -> None:
    inputs = make_inputs(1, 2, 8, torch.bfloat16)
    assert why_not(*inputs.values()) is not None
    u, h, skip = inputs["u"], inputs["h"], inputs["skip"]
    assert why_not(u.float(), h, skip) == "the kernel does not compute in torch.float32"
    assert why_not(u, h, skip, u.half()) == "gates and input differ in dtype"
    assert why_not(u, h.double(), skip) == "filter or skip gain is in a dtype beyond fp32, bf16 and fp16"
    long = torch.zeros(1, 2, 16_385, dtype=torch.bfloat16)
    assert why_not(long, h, skip) == "16385 tokens are not between 1 and 16384"
    assert why_not(u, h, skip, is_phased=True) == "8 tokens are not between 16385 and 4194304"
    assert choose("fftconv", "auto", u, h, skip).name == "torch_fft"
    with pytest.raises(ValueError, match="cuda: the tensors are on the CPU"):
        fftconv(u, h, skip, backend="cuda")
