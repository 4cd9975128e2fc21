"""The last inputs of a filter with taps: one kernel, and the same in plain torch."""

import pytest
import torch
from torch import Tensor

from genomix_kernels.hyena_gated import HyenaState, Taps
from genomix_kernels.hyena_gated.fir_autograd import taps_state
from genomix_kernels.hyena_gated.streams import streams_of
from genomix_kernels.testing import assert_close_to_reference

BATCH, CHANNELS, N_TAPS = 2, 4, 3


@pytest.mark.parametrize("has_state", [True, False], ids=["state", "no-state"])
@pytest.mark.parametrize("form", ["thirds", "interleaved", "correlation"])
@pytest.mark.parametrize(
    ("seqlen", "length"), [(1, 6), (5, 6), (6, 6), (7, 6), (8, 6), (200, 127), (3, 1), (60, 127)]
)
def test_they_are_those_of_plain_torch(
    seqlen: int, length: int, form: str, has_state: bool, triton_device: str
) -> None:
    from genomix_kernels.hyena_gated.last_inputs import last_inputs

    generator = torch.Generator().manual_seed(seqlen)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    p = drawn(BATCH, 3 * CHANNELS, seqlen + 3).half()[..., :seqlen]
    featurizer = Taps(
        drawn(3 * CHANNELS, N_TAPS), None, "cross_correlation" if form == "correlation" else "convolution"
    )
    inner = Taps(drawn(2, length + 1), None, "convolution")
    state = (
        HyenaState(drawn(BATCH, 3 * CHANNELS, N_TAPS - 1).half(), drawn(BATCH, CHANNELS, length).half())
        if has_state
        else None
    )
    is_interleaved = form == "interleaved"
    expected = taps_state(p, featurizer, inner, is_interleaved, state).inner
    assert p.device.type == "cpu", "which plain torch serves"

    p = p.to(triton_device)
    featurizer = featurizer._replace(h=featurizer.h.to(triton_device))
    before = None if state is None else HyenaState(*(x.to(triton_device) for x in state))

    def found(rows: slice) -> Tensor:
        (_, k, v), _ = streams_of(p[rows], is_interleaved)
        assert v is not None
        own = None if before is None else HyenaState(*(x[rows] for x in before))
        return last_inputs(k, v, featurizer, length, own, is_interleaved)

    together = found(slice(None))
    assert together.dtype is torch.float16
    assert_close_to_reference(together.cpu(), expected.double())
    assert torch.equal(found(slice(1, None))[0], together[1])
