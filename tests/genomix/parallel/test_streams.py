"""Gates and values multiplied one after the other: results and gradients are those of plain products."""

import pytest
import torch
from torch import Tensor

from genomix.parallel.streams import Streams, with_head_added


def drawn(*shape: int) -> Tensor:
    return torch.randn(
        *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    ).requires_grad_()


def by_streams(features: Tensor, order: int) -> Tensor:
    """What a Hyena operator makes of its streams, with a sine in the place of each long filter."""
    streams = Streams(features, order + 1)
    v = streams.product_of_last()
    for index in reversed(range(order - 1)):
        v = streams.times(index, v.sin())
    return v


def plainly(features: Tensor, order: int) -> Tensor:
    first, *gates, v = features.chunk(order + 1, dim=1)
    for gate in reversed(gates):
        v = (v * gate).sin()
    return v * first


@pytest.mark.parametrize("order", [2, 3, 4])
def test_products_are_plain_ones(order: int) -> None:
    features = drawn(2, 6 * (order + 1), 5)
    y, expected = by_streams(features, order), plainly(features, order)
    assert torch.equal(y, expected)
    weights = torch.linspace(-1, 1, y.numel(), dtype=y.dtype).reshape(y.shape)
    for _ in range(2):  # a graph that is kept goes back again
        (gradient,) = torch.autograd.grad(y, features, weights, retain_graph=True)
        (wanted,) = torch.autograd.grad(expected, features, weights, retain_graph=True)
        torch.testing.assert_close(gradient, wanted, rtol=1e-14, atol=1e-14)


def test_streams_without_a_gradient_hand_back_that_of_the_others() -> None:
    features, scale = drawn(1, 6, 4).detach(), torch.ones((), dtype=torch.float64, requires_grad=True)
    streams = Streams(features, 3)
    y = streams.times(0, streams.product_of_last() * scale)
    first, gate, v = features.chunk(3, dim=1)
    (gradient,) = torch.autograd.grad(y.sum(), scale)
    torch.testing.assert_close(gradient, (first * gate * v).sum())


@pytest.mark.parametrize("reach", [0, 2, 5])
def test_a_head_is_added_by_streams(reach: int) -> None:
    x, head = drawn(2, 3, 5), drawn(2, 3, reach)
    y = with_head_added(x * 2, head)
    expected = x * 2
    assert torch.equal(y[..., :reach], expected[..., :reach] + head)
    assert torch.equal(y[..., reach:], expected[..., reach:])
    assert torch.autograd.gradcheck(lambda x, head: with_head_added(x * 2, head), (x, head))
