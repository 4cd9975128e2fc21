"""Filters in plain torch give a sequence the same bits alone and in any batch."""

import pytest
import torch
from torch import Tensor

from genomix_kernels.causal_fir.torch_blocked import causal_fir_torch_blocked
from genomix_kernels.each_alone import products_alone
from genomix_kernels.modal_conv.chunked import modal_conv_chunked


def test_products_are_those_of_matmul() -> None:
    x = torch.randn(3, 4, 5, 6, dtype=torch.float64, requires_grad=True)
    matrices = torch.randn(4, 6, 7, dtype=torch.float64, requires_grad=True)
    found, expected = products_alone(x, matrices), torch.matmul(x, matrices)
    torch.testing.assert_close(found, expected)
    weights = torch.randn_like(expected)
    for ours, theirs in zip(
        torch.autograd.grad((found * weights).sum(), (x, matrices)),
        torch.autograd.grad((expected * weights).sum(), (x, matrices)),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("batch", [2, 3, 7, 16])
@pytest.mark.parametrize("seqlen", [5, 32, 100, 128, 519])
@pytest.mark.parametrize(("channels", "n_groups", "n_taps"), [(160, 16, 128), (32, 4, 33)])
def test_bits_do_not_depend_on_the_batch(
    channels: int, n_groups: int, n_taps: int, seqlen: int, batch: int
) -> None:
    generator = torch.Generator().manual_seed(seqlen)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    u = drawn(batch, channels, seqlen)
    taps, residues = drawn(n_groups, n_taps), drawn(channels, 16)
    poles = -torch.rand(channels, 16, generator=generator)
    whole = causal_fir_torch_blocked(u, taps), *modal_conv_chunked(u, poles, residues)
    for row in (0, batch - 1):
        own = slice(row, row + 1)
        alone = causal_fir_torch_blocked(u[own], taps), *modal_conv_chunked(u[own], poles, residues)
        for found, expected in zip(alone, whole, strict=True):
            assert torch.equal(found, expected[own])
