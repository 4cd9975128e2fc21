"""One-pass long convolutions: the CUDA source on a CPU (slow, small), and on a GPU where there is one."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from genomix_kernels.fftconv import onepass_cuda
from genomix_kernels.fftconv.onepass_cuda import backward, convolve, filter_gradient, spectrum
from genomix_kernels.fftconv.reference import fftconv_reference
from genomix_kernels.testing import LONG_CONVOLUTION_TOLERANCE, relative_rms_error
from tests.kernels.conftest import Emulate

# what rounding to the output's dtype alone costs, and what the planes in fp16 add to it at 16K
BOUND = {torch.bfloat16: LONG_CONVOLUTION_TOLERANCE, torch.float16: 1.8e-3, torch.float32: 1.9e-3}

Case = dict[str, Tensor]


def needs_gpu(test: Callable[..., None]) -> Callable[..., None]:
    is_absent = not torch.cuda.is_available()
    skip = pytest.mark.skipif(is_absent, reason="no CUDA device on this machine")
    marked: Callable[..., None] = pytest.mark.gpu(skip(test))
    return marked


@pytest.fixture
def on_cpu(emulate: Emulate) -> None:
    emulate(onepass_cuda)


Shape = tuple[int, int, int, int]
"""Batch, channels, seqlen, filter_len."""


def make_case(shape: Shape, dtype: torch.dtype, device: str = "cpu", *, gates: bool = True) -> Case:
    batch, channels, seqlen, filter_len = shape
    generator = torch.Generator().manual_seed(seqlen)

    def signal() -> Tensor:
        return torch.randn(batch, channels, seqlen, generator=generator).to(device, dtype)

    decay = torch.exp(-3 * torch.arange(filter_len) / filter_len)
    case = {"u": signal(), "dy": signal(), "skip": torch.randn(channels, generator=generator).to(device)}
    case["h"] = (torch.randn(channels, filter_len, generator=generator) * decay).to(device)
    return case | ({"pre_gate": signal(), "post_gate": signal()} if gates else {})


def gated(u: Tensor, h: Tensor, skip: Tensor, pre_gate: Tensor | None, post_gate: Tensor | None) -> Tensor:
    y = fftconv_reference(u if pre_gate is None else pre_gate * u, h, skip)
    return y if post_gate is None else post_gate * y


def expected(case: Case) -> Case:
    """Return the output and all gradients of a case, in float64."""
    inputs = {name: x.double().requires_grad_() for name, x in case.items() if name != "dy"}
    y = gated(inputs["u"], inputs["h"], inputs["skip"], inputs.get("pre_gate"), inputs.get("post_gate"))
    torch.autograd.backward(y, case["dy"].double())
    return {"y": y.detach()} | {name: x.grad for name, x in inputs.items() if x.grad is not None}


def computed(case: Case) -> Case:
    u, dy, h, skip = (case[name] for name in ("u", "dy", "h", "skip"))
    gates = case.get("pre_gate"), case.get("post_gate")
    prepared = spectrum(h, u.shape[-1], u.dtype)
    gradients = backward(u, dy, prepared, skip, h.shape[1], *gates)
    y = convolve(u, prepared, skip, *gates)
    found = {"y": y} | gradients._asdict()
    return {name: x for name, x in found.items() if x is not None}


def check(case: Case) -> None:
    found, wanted = computed(case), expected(case)
    for name, x in found.items():
        error = relative_rms_error(x, wanted[name])
        assert error < BOUND[x.dtype], f"{name}: {error:.2e}"
    # apart from the gradients together, each alone
    u, dy, h = case["u"], case["dy"], case["h"]
    gates = case.get("pre_gate"), case.get("post_gate")
    adjoint = convolve(dy, spectrum(h, u.shape[-1], u.dtype), case["skip"], *gates[::-1], is_adjoint=True)
    assert relative_rms_error(adjoint, wanted["u"]) < BOUND[u.dtype]
    assert relative_rms_error(filter_gradient(u, dy, h.shape[1], *gates), wanted["h"]) < BOUND[torch.float32]


def check_batch_invariance(case: Case) -> None:
    h, skip, u = case["h"], case["skip"], case["u"]
    prepared = spectrum(h, u.shape[-1], u.dtype)
    gates = case.get("pre_gate"), case.get("post_gate")
    together = convolve(u, prepared, skip, *gates)
    alone = convolve(u[1:2], prepared, skip, *(x if x is None else x[1:2] for x in gates))
    assert torch.equal(together[1:2], alone)


def check_loud_token(seqlen: int, device: str) -> None:
    case = make_case((1, 1, seqlen, seqlen), torch.bfloat16, device, gates=False)
    u, h, skip = case["u"] * 1e-3, case["h"], case["skip"]
    u[..., seqlen // 2] = 3e4
    found = convolve(u, spectrum(h, seqlen, u.dtype), skip)
    wanted = fftconv_reference(u.double(), h.double(), skip.double())
    assert relative_rms_error(found, wanted) < BOUND[u.dtype]
    quiet = found[..., : seqlen // 2].double().square().mean().sqrt()
    assert quiet < 1.5e-3 * wanted.square().mean().sqrt()


def check_zeros(device: str) -> None:
    zeros = torch.zeros(2, 1, 300, device=device, dtype=torch.bfloat16)
    h, skip = torch.zeros(1, 300, device=device), torch.full((1,), 1e6, device=device)
    ones = torch.ones_like(zeros)
    # a filter of zeros leaves the skip, one of ones the sum
    assert relative_rms_error(convolve(ones, spectrum(h, 300, ones.dtype), skip), 1e6 * ones) < 3e-3
    wanted = torch.arange(1, 301, device=device).expand(2, 1, 300)
    assert relative_rms_error(convolve(ones, spectrum(h + 1, 300, ones.dtype), None), wanted) < 3e-3
    assert not convolve(zeros, spectrum(h + 1, 300, zeros.dtype), skip).any()
    assert not filter_gradient(zeros, ones, 300).any()


SMALL = [
    ((3, 2, 63, 17), torch.bfloat16),
    ((2, 1, 1000, 1000), torch.float16),
    ((2, 1, 4096, 4000), torch.bfloat16),
]


@pytest.mark.usefixtures("on_cpu")
@pytest.mark.parametrize(("shape", "dtype"), SMALL, ids=str)
def test_output_and_gradients_on_the_cpu(shape: Shape, dtype: torch.dtype) -> None:
    check(make_case(shape, dtype))


@pytest.mark.usefixtures("on_cpu")
def test_zeros_and_batch_invariance_on_the_cpu() -> None:
    check_zeros("cpu")
    check_batch_invariance(make_case((3, 1, 300, 300), torch.bfloat16, gates=False))


LENGTHS = [1, 2, 63, 64, 250, 256, 512, 1000, 1024, 1025, 2048, 3000, 4096, 5000, 8192, 10001, 16383, 16384]


@needs_gpu
@pytest.mark.parametrize("gates", [False, True], ids=["plain", "gated"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("seqlen", LENGTHS)
def test_output_and_gradients(seqlen: int, dtype: torch.dtype, gates: bool) -> None:
    for batch, filter_len in ((1, seqlen), (3, max(1, seqlen // 3)), (17, seqlen)):
        channels = 3 if seqlen > 64 else 64  # enough values for an average error
        check(make_case((batch, channels, seqlen, filter_len), dtype, "cuda", gates=gates))


@needs_gpu
@pytest.mark.parametrize("seqlen", LENGTHS)
def test_a_row_is_the_same_alone_and_in_a_batch(seqlen: int) -> None:
    check_batch_invariance(make_case((33, 3, seqlen, seqlen), torch.bfloat16, "cuda"))


@needs_gpu
@pytest.mark.parametrize("seqlen", [1000, 4096, 16384])
def test_gradients_are_deterministic(seqlen: int) -> None:
    case = make_case((9, 4, seqlen, seqlen), torch.bfloat16, "cuda")
    first, second = computed(case), computed(case)
    assert all(torch.equal(first[name], second[name]) for name in first)


@needs_gpu
@pytest.mark.parametrize("seqlen", [1000, 16384])
def test_a_loud_token_leaks_no_more_than_the_tolerance(seqlen: int) -> None:
    check_loud_token(seqlen, "cuda")


@needs_gpu
def test_zeros() -> None:
    check_zeros("cuda")


@needs_gpu
def test_rows_of_any_strides() -> None:
    case = make_case((2, 3, 1003, 1003), torch.bfloat16, "cuda")
    wide = torch.empty(2, 9, 1100, device="cuda", dtype=torch.bfloat16)
    for i, name in enumerate(("u", "pre_gate", "post_gate")):
        wide[:, 3 * i : 3 * i + 3, 5:1008] = case[name]
        case[name] = wide[:, 3 * i : 3 * i + 3, 5:1008]
    check(case)


def test_it_says_what_it_cannot_take() -> None:
    assert "CPU" in str(onepass_cuda.why_not(torch.zeros(1, 1, 8)))
