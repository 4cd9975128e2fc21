"""Gates and values of a Hyena operator on a part of a sequence, multiplied one after the other.

They lie side by side in one tensor. Each product of them writes its share of that tensor's gradient where it belongs,
where autograd would make a tensor for each stream and put all of them together in a copy.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable


class Streams:
    """``n`` streams of equally many channels; every one of them is to be multiplied with once.

    The last two make the first product, `product_of_last`; later ones, `times`, are of what became of that, so that
    their backward passes come first.

    Args:
        features: All streams, side by side along the channels.
        n: Streams.
    """

    def __init__(self, features: Float[Tensor, "B C L"], n: int) -> None:
        self._features = features
        self._gradient = _Gradient(n)

    def product_of_last(self) -> Float[Tensor, "B D L"]:
        """Return the product of the last two streams."""
        y: Tensor = _ProductOfLast.apply(self._features, self._gradient)  # type: ignore[no-untyped-call]
        return y

    def times(self, index: int, x: Float[Tensor, "B D L"]) -> Float[Tensor, "B D L"]:
        """Return the product of a stream with ``x``."""
        y: Tensor = _Times.apply(self._features, self._gradient, index, x)  # type: ignore[no-untyped-call]
        return y


def with_head_added(x: Float[Tensor, "B C L"], head: Float[Tensor, "B C M"]) -> Float[Tensor, "B C L"]:
    """Return ``x`` with ``head`` added to its first M positions, in its place."""
    y: Tensor = _WithHeadAdded.apply(x, head)  # type: ignore[no-untyped-call]
    return y


class _Gradient:
    """Of all streams, in one tensor; functions of the graph hold it, so it holds nothing that has a graph."""

    def __init__(self, n: int) -> None:
        self.n = n
        self._whole: Tensor | None = None

    def of(self, index: int, features: Tensor) -> Tensor:
        """Return where the gradient of a stream is to be written."""
        if self._whole is None:
            self._whole = torch.empty_like(features)
        return self._whole.chunk(self.n, dim=1)[index]

    def take(self) -> Tensor:
        """Return all of it, once all is written."""
        assert self._whole is not None, "nothing was written"
        whole, self._whole = self._whole, None
        return whole


class _ProductOfLast(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, gradient: _Gradient) -> Tensor:
        ctx.save_for_backward(features)
        ctx.gradient = gradient
        gate, value = features.chunk(gradient.n, dim=1)[-2:]
        return gate * value

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (features,) = ctx.saved_tensors
        gradient: _Gradient = ctx.gradient
        n = gradient.n
        gate, value = features.chunk(n, dim=1)[-2:]
        torch.mul(grad, value, out=gradient.of(n - 2, features))
        torch.mul(grad, gate, out=gradient.of(n - 1, features))
        return gradient.take(), None


class _Times(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, gradient: _Gradient, index: int, x: Tensor) -> Tensor:
        ctx.save_for_backward(features, x)
        ctx.gradient, ctx.index = gradient, index
        return x * features.chunk(gradient.n, dim=1)[index]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        features, x = ctx.saved_tensors
        gradient: _Gradient = ctx.gradient
        if ctx.needs_input_grad[0]:  # no gradient is returned: `_ProductOfLast` returns that of all streams
            torch.mul(x, grad, out=gradient.of(ctx.index, features))
        return None, None, None, grad * features.chunk(gradient.n, dim=1)[ctx.index]


class _WithHeadAdded(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, head: Tensor) -> Tensor:
        ctx.reach = head.shape[-1]
        ctx.mark_dirty(x)
        x[..., : ctx.reach] += head
        return x

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return grad, grad[..., : ctx.reach]
