"""The state after the last, incomplete tile of a modal filter."""

import pytest
import torch

from genomix_kernels.modal_conv.reference import modal_conv_reference
from genomix_kernels.testing import assert_close_to_reference

triton = pytest.importorskip("triton")
InterpretedFunction = pytest.importorskip("triton.runtime.interpreter").InterpretedFunction


@pytest.fixture
def triton_device(device: str) -> str:
    if device == "cpu" and not isinstance(triton.language.sum, InterpretedFunction):
        pytest.skip("Triton was imported without TRITON_INTERPRET=1")
    return device


@pytest.mark.parametrize("n_modes", [1, 3, 16])
@pytest.mark.parametrize("n_tokens", [1, 63, 64, 65, 200])
def test_it_is_the_state_of_the_filter(n_tokens: int, n_modes: int, triton_device: str) -> None:
    from genomix_kernels.hyena_gated.modal_last_tokens import add_tokens

    generator = torch.Generator().manual_seed(n_tokens)
    m = torch.randn(2, 5, n_tokens, generator=generator)
    before = torch.randn(2, 5, n_modes, generator=generator)
    log_poles = -3 * torch.rand(5, n_modes, generator=generator)
    log_poles[0] = 0.02  # grows; where there is no token its power must not count
    log_poles[1] = -200.0  # is forgotten at once
    residues = torch.ones(5, n_modes)
    _, expected = modal_conv_reference(
        m.double(), log_poles.double(), residues.double(), None, before.double()
    )
    tensors = [x.to(triton_device) for x in (m, log_poles, before)]
    found = add_tokens(*tensors)
    assert_close_to_reference(found.cpu(), expected)
    alone = add_tokens(tensors[0][1:], tensors[1], tensors[2][1:])
    assert torch.equal(alone[0], found[1])
