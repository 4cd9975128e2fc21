"""Long convolutions in phases: against the equation in float64, on a CPU's emulation of the kernels and on a GPU."""

from types import ModuleType

import pytest
import torch
from torch import Tensor

from genomix_kernels.fftconv import phased_cuda, phased_fine_cuda
from genomix_kernels.fftconv.phased_plan import LONGEST, Plan, plan_for
from genomix_kernels.fftconv.reference import fftconv_reference
from genomix_kernels.testing import (
    LONG_CONVOLUTION_TOLERANCE,
    assert_close_to_reference,
    relative_rms_error,
)
from tests.kernels.conftest import Emulate
from tests.kernels.onepass_cases import BOUND

# radix_a, radix_b, span: two tiles of rows, radices with holes, each length of rows
PLANS = {
    "20x1x1024": Plan(20, 1, 4),
    "3x2x2048": Plan(3, 2, 8),
    "2x1x4096": Plan(2, 1, 16),
}
SMALL = Plan(2, 2, 4)


@pytest.fixture
def emulated(emulate: Emulate) -> None:
    """Run the kernels' source on this CPU."""
    emulate(phased_cuda, phased_fine_cuda)


def _use(monkeypatch: pytest.MonkeyPatch, plan: Plan) -> None:
    monkeypatch.setattr(phased_cuda, "plan_for", lambda seqlen: plan)


def _inputs(
    batch: int, channels: int, seqlen: int, filter_len: int, dtype: torch.dtype, device: str = "cpu"
) -> dict[str, Tensor]:
    generator = torch.Generator(device).manual_seed(seqlen)

    def noise(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, device=device)

    decay = torch.exp(-3 * torch.arange(filter_len, device=device) / filter_len)
    signals = {
        name: noise(batch, channels, seqlen).to(dtype) for name in ("u", "dy", "pre_gate", "post_gate")
    }
    return signals | {"h": noise(channels, filter_len) * decay, "skip": noise(channels)}


def _adjoint(dy: Tensor, h: Tensor, skip: Tensor) -> Tensor:
    """Return the gradient of the reference's input."""
    u = torch.zeros_like(dy, requires_grad=True)
    (du,) = torch.autograd.grad(fftconv_reference(u, h, skip), u, dy)
    return du


def _filter_gradient(x: Tensor, dy: Tensor, filter_len: int) -> Tensor:
    """Return the gradient of the reference's filter."""
    h = torch.zeros(x.shape[1], filter_len, dtype=x.dtype, device=x.device, requires_grad=True)
    (dh,) = torch.autograd.grad(fftconv_reference(x, h, torch.zeros_like(h[:, 0])), h, dy)
    return dh


def _check_all(
    x: dict[str, Tensor],
    has_gates: bool,
    kernels: ModuleType = phased_cuda,
    tolerance: float = LONG_CONVOLUTION_TOLERANCE,
) -> None:
    u, dy, h, skip = x["u"], x["dy"], x["h"], x["skip"]
    pre, post = (x["pre_gate"], x["post_gate"]) if has_gates else (None, None)
    gates = [torch.ones(()) if gate is None else gate.double().cpu() for gate in (pre, post)]
    before, after = (gate.to(u.device) for gate in gates)
    prepared = kernels.spectrum(h, u.shape[-1])
    y = kernels.convolve(u, prepared, skip, pre, post)
    assert y.dtype is u.dtype
    expected = after * fftconv_reference(u.double() * before, h.double(), skip.double())
    assert relative_rms_error(y, expected) < tolerance, "output"
    ungated, other = torch.empty_like(u), torch.empty_like(u)
    assert torch.equal(kernels.convolve(u, prepared, skip, pre, post, second=ungated), y)
    kernels.convolve(u, prepared, skip, pre, post, second=other, second_gate=dy)
    assert relative_rms_error(after * ungated.double(), expected) < tolerance, "before the gate"
    assert relative_rms_error(other, dy.double() * ungated.double()) < tolerance, "another gate"
    du = kernels.convolve(dy, prepared, skip, post, pre, is_adjoint=True)
    expected = before * _adjoint(dy.double() * after, h.double(), skip.double())
    assert relative_rms_error(du, expected) < tolerance, "du"
    dh = kernels.filter_gradient(u, dy, h.shape[1], pre, post)
    expected = _filter_gradient(u.double() * before, dy.double() * after, h.shape[1])
    assert relative_rms_error(dh, expected) < tolerance, "dh"


@pytest.mark.usefixtures("emulated")
@pytest.mark.parametrize("name", PLANS)
def test_emulated(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = PLANS[name]
    _use(monkeypatch, plan)
    dtype = torch.float16 if plan.span == 8 else torch.bfloat16
    seqlen = plan.size - (3 if plan.radix_b > 1 else 0)
    _check_all(_inputs(2, 1, seqlen, seqlen if plan.radix_b > 1 else 77, dtype), has_gates=plan.span == 16)


@pytest.mark.usefixtures("emulated")
def test_high_precision_emulated() -> None:
    _check_all(_inputs(2, 1, 8190, 8190, torch.float32), True, phased_fine_cuda, 5e-6)


@pytest.mark.usefixtures("emulated")
def test_a_row_is_the_same_alone_and_in_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    _use(monkeypatch, SMALL)
    x = _inputs(3, 2, 4096, 4096, torch.bfloat16)
    prepared = phased_cuda.spectrum(x["h"], 4096)
    y = phased_cuda.convolve(x["u"], prepared, x["skip"])
    assert torch.equal(phased_cuda.convolve(x["u"][1:2], prepared, x["skip"]), y[1:2])
    monkeypatch.setattr(phased_cuda, "GROUP_BYTES", 1)
    assert torch.equal(phased_cuda.convolve(x["u"], prepared, x["skip"]), y)


@pytest.mark.usefixtures("emulated")
def test_zeros_loud_tokens_and_amplitudes(monkeypatch: pytest.MonkeyPatch) -> None:
    _use(monkeypatch, SMALL)
    x = _inputs(1, 2, 4096, 4096, torch.bfloat16)
    prepared = phased_cuda.spectrum(x["h"], 4096)
    zeros = torch.zeros_like(x["u"])
    assert not phased_cuda.convolve(zeros, prepared, x["skip"]).any()
    assert not phased_cuda.convolve(x["u"], phased_cuda.spectrum(torch.zeros_like(x["h"]), 4096), None).any()
    assert not phased_cuda.filter_gradient(zeros, x["dy"], 4096).any()
    for amplitude in (1e3, 1e-3):
        small = phased_cuda.spectrum(x["h"] / amplitude, 4096)
        y = phased_cuda.convolve(x["u"] * amplitude, small, x["skip"])
        expected = fftconv_reference(
            x["u"].double() * amplitude, x["h"].double() / amplitude, x["skip"].double()
        )
        assert_close_to_reference(y, expected)
    _check_loud_token(x, 1500)


def _check_loud_token(x: dict[str, Tensor], where: int) -> None:
    """One token a thousand times as loud as all others: what leaks is of the size of its own rounding."""
    u = x["u"].clone()
    u[..., where] = 4096.0
    seqlen = u.shape[-1]
    prepared = phased_cuda.spectrum(x["h"], seqlen)
    y = phased_cuda.convolve(u, prepared, None)
    expected = fftconv_reference(u.double(), x["h"].double(), 0 * x["skip"].double())
    assert relative_rms_error(y, expected) < BOUND[u.dtype]
    difference = y.double() - expected
    leak = difference[..., :where].square().mean().sqrt() / expected[..., where:].square().mean().sqrt()
    assert leak < 2e-3


def test_plans_hold_their_sequences_at_little_cost() -> None:
    for seqlen in (16_385, 20_000, 65_536, 160_000, 450_000, 524_288, 1 << 20, 1_500_000, LONGEST):
        plan = plan_for(seqlen)
        assert seqlen <= plan.size
        assert plan.size <= 1.1 * seqlen or plan.radix_a < 16
        for shape in phased_cuda.SHAPES.values():
            assert plan.n2 % (4 * plan.together * shape[plan.blocks_a][0]) == 0
    with pytest.raises(ValueError, match="takes 1 to"):
        plan_for(LONGEST + 1)


def test_a_spectrum_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="prepare it by spectrum"):
        phased_cuda.convolve(
            torch.zeros(1, 1, 20_000, dtype=torch.bfloat16), torch.zeros(5, dtype=torch.int32), None
        )


def test_says_why_not() -> None:
    assert "CPU" in str(phased_cuda.why_not(torch.zeros(1, 1, 20_000)))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
@pytest.mark.parametrize(
    ("batch", "channels", "seqlen", "has_gates"),
    [
        (2, 3, 20_000, True),
        (3, 5, 65_536, False),
        (2, 2, 160_000, True),
        (1, 3, 450_000, False),
        (1, 3, 1_048_576, True),
        (1, 1, 3_000_001, False),
        (1, 1, LONGEST, False),
    ],
)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bf16", "fp16"])
def test_on_a_gpu(batch: int, channels: int, seqlen: int, has_gates: bool, dtype: torch.dtype) -> None:
    x = _inputs(batch, channels, seqlen, seqlen, dtype, "cuda")
    _check_all(x, has_gates)
    prepared = phased_cuda.spectrum(x["h"], seqlen)
    y = phased_cuda.convolve(x["u"], prepared, x["skip"])
    assert torch.equal(phased_cuda.convolve(x["u"][-1:], prepared, x["skip"]), y[-1:])
    first = phased_cuda.filter_gradient(x["u"], x["dy"], seqlen)
    assert torch.equal(phased_cuda.filter_gradient(x["u"], x["dy"], seqlen), first)
    assert relative_rms_error(phased_cuda.convolve(torch.zeros_like(x["u"]), prepared, x["skip"]), 0 * y) == 0
    _check_loud_token(x, seqlen // 3)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
@pytest.mark.parametrize(("batch", "seqlen"), [(2, 20_000), (2, 160_000), (1, 1_048_576), (1, 4_194_304)])
def test_high_precision_on_a_gpu(batch: int, seqlen: int) -> None:
    x = _inputs(batch, 2, seqlen, seqlen, torch.float32, "cuda")
    _check_all(x, batch == 2, phased_fine_cuda, 5e-6)
