"""Cases of the one-pass long convolutions, of a block or of a cluster, and what is checked of each."""

from collections.abc import Callable, Iterable
from typing import Any

import pytest
import torch
from torch import Tensor

from genomix_kernels.fftconv.onepass_cuda import backward, convolve, filter_gradient, spectrum
from genomix_kernels.fftconv.reference import fftconv_reference
from genomix_kernels.testing import LONG_CONVOLUTION_TOLERANCE, relative_rms_error

# what rounding to the output's dtype alone costs, and what fp16 within adds to it: at 16K, and at 256K, in more steps
BOUND = {torch.bfloat16: LONG_CONVOLUTION_TOLERANCE, torch.float16: 1.8e-3, torch.float32: 1.9e-3}
BOUND_OF_CLUSTER = {torch.bfloat16: LONG_CONVOLUTION_TOLERANCE, torch.float16: 2.0e-3, torch.float32: 2.3e-3}

Case = dict[str, Tensor]

Shape = tuple[int, int, int, int]
"""Batch, channels, seqlen, filter_len."""


def needs_gpu(test: Callable[..., None]) -> Callable[..., None]:
    is_absent = not torch.cuda.is_available()
    skip = pytest.mark.skipif(is_absent, reason="no CUDA device on this machine")
    marked: Callable[..., None] = pytest.mark.gpu(skip(test))
    return marked


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


def check_repeats(compute: Callable[[], Iterable[Tensor]]) -> None:
    """Check that a GPU gives the same bits again and again, alone and beside another stream's work.

    Blocks that read what others are still writing show so: all of 50 runs with 64 x 64 rows of 65,536 tokens did.
    """
    first = [x.clone() for x in compute()]
    other = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    noise = torch.ones(4096, 4096, device="cuda", dtype=torch.bfloat16)
    for attempt in range(20):
        if attempt % 2:
            with torch.cuda.stream(other):
                torch.mm(noise, noise)
        n_wrong = [int((x != y).sum()) for x, y in zip(first, compute(), strict=True)]
        assert not any(n_wrong), f"attempt {attempt}: {n_wrong} values differ"
    torch.cuda.synchronize()


def check_autograd(case: Case, function: Callable[..., Tensor]) -> None:
    """Check the output and every gradient of a function that takes a case's tensors by name, to `BOUND_OF_CLUSTER`."""
    inputs: dict[str, Any] = {name: x.clone().requires_grad_() for name, x in case.items() if name != "dy"}
    found = {"y": function(**inputs)}
    torch.autograd.backward(found["y"], case["dy"])
    found |= {name: x.grad for name, x in inputs.items()}
    assert torch.equal(found.pop("skip"), found["h"][:, 0])
    wanted = expected(case)
    for name, x in found.items():
        error = relative_rms_error(x, wanted[name])
        assert error < BOUND_OF_CLUSTER[x.dtype], f"{name}: {error:.2e}"


def check(case: Case, bound: dict[torch.dtype, float] = BOUND) -> None:
    found, wanted = computed(case), expected(case)
    for name, x in found.items():
        error = relative_rms_error(x, wanted[name])
        assert error < bound[x.dtype], f"{name}: {error:.2e}"
    # apart from the gradients together, each by itself, those of gates as second results
    u, dy, h, skip = (case[name] for name in ("u", "dy", "h", "skip"))
    pre_gate, post_gate = case.get("pre_gate"), case.get("post_gate")
    prepared = spectrum(h, u.shape[-1], u.dtype)
    d_pre, ungated = torch.empty_like(u), torch.empty_like(u)
    seconds = {} if pre_gate is None else {"second": d_pre, "second_gate": u}
    du = convolve(dy, prepared, skip, post_gate, pre_gate, is_adjoint=True, **seconds)
    assert relative_rms_error(du, wanted["u"]) < bound[u.dtype]
    dh = filter_gradient(u, dy, h.shape[1], pre_gate, post_gate)
    assert relative_rms_error(dh, wanted["h"]) < bound[torch.float32]
    if pre_gate is not None and post_gate is not None:
        assert relative_rms_error(d_pre, wanted["pre_gate"]) < bound[u.dtype]
        convolve(u, prepared, skip, pre_gate, post_gate, second=ungated)
        assert relative_rms_error(dy.double() * ungated, wanted["post_gate"]) < bound[u.dtype]


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


def check_zeros(seqlen: int, device: str) -> None:
    zeros = torch.zeros(2, 1, seqlen, device=device, dtype=torch.bfloat16)
    h, skip = torch.zeros(1, seqlen, device=device), torch.full((1,), 1e6, device=device)
    ones = torch.ones_like(zeros)
    # a filter of zeros leaves the skip, one of ones the sum
    assert relative_rms_error(convolve(ones, spectrum(h, seqlen, ones.dtype), skip), 1e6 * ones) < 3e-3
    wanted = torch.arange(1, seqlen + 1, device=device).expand(2, 1, seqlen)
    assert relative_rms_error(convolve(ones, spectrum(h + 1, seqlen, ones.dtype), None), wanted) < 3e-3
    assert not convolve(zeros, spectrum(h + 1, seqlen, zeros.dtype), skip).any()
    assert not filter_gradient(zeros, ones, seqlen).any()
