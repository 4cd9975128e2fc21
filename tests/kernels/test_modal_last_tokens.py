"""The state after the last, incomplete tile of a modal filter: one kernel, and the same in plain torch."""

import pytest
import torch
from torch import Tensor

from genomix_kernels.hyena_gated import Modes, Taps
from genomix_kernels.hyena_gated.modal_final import complete_state
from genomix_kernels.testing import assert_close_to_reference

CHANNELS, N_TAPS = 5, 3


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
    gate = v if has_gate else None
    is_interleaved = form == "interleaved"
    expected = complete_state(before, k, gate, featurizer, inner, tail, first, is_interleaved)

    def on_device(x: Tensor) -> Tensor:
        return x.to(triton_device)

    # neighbours in time need not be rows of one tensor
    k = torch.nn.functional.pad(on_device(k), (0, 3, 0, 1))[:, :CHANNELS, :seqlen]
    before, gate, tail = on_device(before), *(None if x is None else on_device(x) for x in (gate, tail))
    inner = Modes(on_device(inner.log_poles), on_device(inner.residues))
    if featurizer is not None:
        featurizer = featurizer._replace(h=on_device(featurizer.h))

    def found(rows: slice) -> Tensor:
        own_gate, own_tail = (None if x is None else x[rows] for x in (gate, tail))
        return add_last_tokens(
            before[rows], k[rows], own_gate, featurizer, inner, own_tail, first, is_interleaved
        )

    together = found(slice(None))
    assert_close_to_reference(together.cpu(), expected.double())
    assert torch.equal(found(slice(1, None))[0], together[1])
