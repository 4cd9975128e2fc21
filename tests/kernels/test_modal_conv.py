"""Convolution with sums of exponentials: the recurrence, in chunks, with every gradient, continued from states."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from genomix_kernels.dispatch import choose, implementations
from genomix_kernels.modal_conv import modal_conv
from genomix_kernels.modal_conv.reference import modal_conv_reference
from genomix_kernels.testing import assert_close_to_reference, check_against_reference

EVERY = [implementation.name for implementation in implementations("modal_conv")]
BACKENDS = [name for name in EVERY if name != "torch_step"]
"""Those that take any length; the backend for single steps has a test of its own."""

TORCH = ["torch_chunked", "reference"]
FAST = [name for name in BACKENDS if name != "reference"]
DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]
LENGTHS = [1, 2, 63, 64, 65, 127, 1000]
LONG_LENGTHS = [4095, 4096, 4097, 8192, 8193]
POLES = {"slow": 1e-6, "initial": 2e-2, "mixed": None, "fast": 5.0}
N_MODES = 4
ORDER = ("u", "log_poles", "residues", "skip", "state", "pre_gate", "post_gate")


@pytest.fixture
def interpreter() -> None:
    """Skip where Triton compiles: there the same functions are tested on the device."""
    triton = pytest.importorskip("triton")
    interpreted = pytest.importorskip("triton.runtime.interpreter").InterpretedFunction
    if not isinstance(triton.language.sum, interpreted):
        pytest.skip("Triton was imported without TRITON_INTERPRET=1")


def make_inputs(
    seqlen: int,
    poles: float | None,
    dtype: torch.dtype,
    device: str,
    *,
    batch: int = 3,
    channels: int = 3,
    n_modes: int = N_MODES,
    has_gates: bool = False,
) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seqlen)
    shape = (channels, n_modes)
    magnitude = torch.full(shape, poles) if poles else torch.logspace(-6, 0.7, channels * n_modes).reshape(shape)
    signal = (batch, channels, seqlen)
    inputs = {
        "u": torch.randn(signal, generator=generator),
        "log_poles": -magnitude * (1 + 0.1 * torch.rand(shape, generator=generator)),
        "residues": torch.randn(shape, generator=generator),
        "skip": torch.randn(channels, generator=generator),
        "state": torch.randn(batch, *shape, generator=generator),
    }
    if has_gates:
        inputs |= {name: torch.randn(signal, generator=generator) for name in ("pre_gate", "post_gate")}
    precise = torch.promote_types(dtype, torch.float32)
    signals = ("u", "pre_gate", "post_gate")
    return {name: x.to(dtype if name in signals else precise).to(device) for name, x in inputs.items()}


def skip_unless_served(backend: str, **arguments: Any) -> None:
    """Skip, with the backend's own reason, what it says that it cannot serve."""
    chosen = next(each for each in implementations("modal_conv") if each.name == backend)
    reason = chosen.supports(*(arguments.get(name) for name in ORDER))
    if reason is not None:
        pytest.skip(f"{backend}: {reason}")


def both(function: Callable[..., tuple[Tensor, Tensor]]) -> Callable[..., Tensor]:
    """Return a function of keywords that puts the final state behind the output."""

    def joined(**inputs: Tensor) -> Tensor:
        y, state = function(**inputs)
        if state.is_complex():
            state = torch.cat([state.real, state.imag], dim=-1)
        return torch.cat([y, state], dim=-1)

    return joined


def check(
    function: Callable[..., tuple[Tensor, Tensor]],
    inputs: dict[str, Tensor],
    exact: str = "reference",
) -> None:
    """Compare output, final state and every gradient, also those through the final state, with float64."""
    kernel, reference = both(function), both(partial(modal_conv, backend=exact))
    check_against_reference(kernel, reference, inputs, dtype=inputs["u"].dtype)


def test_the_reference_is_the_convolution_of_the_equation() -> None:
    inputs = make_inputs(50, None, torch.float64, "cpu", has_gates=True)
    u, a, residues, skip, _, pre, post = inputs.values()
    h = (residues[..., None] * torch.exp(a[..., None] * torch.arange(50))).sum(1)
    m = pre * u
    sums = torch.stack([(m[..., : t + 1] * h[:, : t + 1].flip(-1)).sum(-1) for t in range(50)], dim=-1)
    y, state = modal_conv(u, a, residues, skip, pre_gate=pre, post_gate=post, backend="reference")
    torch.testing.assert_close(y, post * (sums + skip[:, None] * m))
    weights = torch.exp(a[..., None] * torch.arange(49, -1, -1))
    torch.testing.assert_close(state, torch.einsum("bdt,dnt->bdn", m, weights))


@pytest.mark.parametrize("backend", FAST)
@pytest.mark.parametrize("has_gates", [False, True], ids=["plain", "gated"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("poles", POLES)
@pytest.mark.parametrize("seqlen", LENGTHS)
def test_output_and_gradients_against_the_reference(
    backend: str, dtype: torch.dtype, has_gates: bool, poles: str, seqlen: int, device: str
) -> None:
    if backend == "torch_chunked" and dtype is not torch.float64 and (has_gates or seqlen < 1000):
        pytest.skip("plain torch is the formula in fp32: one length shows what rounding costs")
    inputs = make_inputs(seqlen, POLES[poles], dtype, device, has_gates=has_gates)
    skip_unless_served(backend, **inputs)
    check(partial(modal_conv, backend=backend), inputs)
