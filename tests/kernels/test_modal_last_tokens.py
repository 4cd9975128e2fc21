"""The state after the last, incomplete tile of a modal filter: one kernel, and the same in plain torch."""

import pytest
import torch

from genomix_kernels.hyena_gated import Modes, Taps
from genomix_kernels.hyena_gated.modal_final import complete_state
from genomix_kernels.testing import assert_close_to_reference

triton = pytest.importorskip("triton")
InterpretedFunction = pytest.importorskip("triton.runtime.interpreter").InterpretedFunction

CHANNELS, N_TAPS = 5, 3


@pytest.fixture
def triton_device(device: str) -> str:
    if device == "cpu" and not isinstance(triton.language.sum, InterpretedFunction):
        pytest.skip("Triton was imported without TRITON_INTERPRET=1")
    return device


@pytest.mark.parametrize("has_gate", [True, False], ids=["gate", "no-gate"])
@pytest.mark.parametrize("form", ["none", "thirds", "interleaved", "correlation", "tail"])
@pytest.mark.parametrize(("first", "seqlen", "n_modes"), [(0, 1, 1), (0, 65, 3), (64, 65, 16), (1, 200, 3)])
def test_it_is_what_plain_torch_sums(
    first: int, seqlen: int, n_modes: int, form: str, has_gate: bool, triton_device: str
) -> None:
    from genomix_kernels.hyena_gated.modal_last_tokens import add_last_tokens

    generator = torch.Generator().manual_seed(seqlen)
    k, v = torch.randn(2, 2, CHANNELS, seqlen, generator=generator).half()
    before = torch.randn(2, CHANNELS, n_modes, generator=generator)
    log_poles = -3 * torch.rand(CHANNELS, n_modes, generator=generator)
    log_poles[0] = 0.02  # grows; where there is no token its power must not count
    log_poles[1] = -200.0  # is forgotten at once
    inner = Modes(log_poles, torch.ones(CHANNELS, n_modes), None)
    h = torch.randn(3 * CHANNELS, N_TAPS, generator=generator)
    featurizer = (
        None
        if form == "none"
        else Taps(h, None, "cross_correlation" if form == "correlation" else "convolution")
    )
    tail = torch.randn(2, 3 * CHANNELS, N_TAPS - 1, generator=generator).half() if form == "tail" else None
    tensors = (before, k, v if has_gate else None, featurizer, inner, tail)
    expected = complete_state(*tensors, first, form == "interleaved")

    def on_device(x: object) -> object:
        if isinstance(x, tuple):
            return type(x)(
                *(each.to(triton_device) if isinstance(each, torch.Tensor) else each for each in x)
            )
        return x.to(triton_device) if isinstance(x, torch.Tensor) else x

    there = [on_device(x) for x in tensors]
    # neighbours in time need not be rows of one tensor
    there[1] = torch.nn.functional.pad(there[1], (0, 3, 0, 1))[:, :CHANNELS, :seqlen]
    found = add_last_tokens(*there, first, form == "interleaved")
    assert_close_to_reference(found.cpu(), expected.double())
    alone = [x[1:] if isinstance(x, torch.Tensor) else x for x in there]
    assert torch.equal(add_last_tokens(*alone, first, form == "interleaved")[0], found[1])
