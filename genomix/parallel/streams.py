"""Gates and values of a Hyena operator on a part of a sequence, multiplied group by group of channels.

They lie side by side in one tensor. Each product of them writes its share of that tensor's gradient where it belongs,
where autograd would make a tensor for each stream and group and put all of them together in copies.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable


class Streams:
    """``n`` streams of equally many channels; every one of them is to be multiplied with once.

    The last two make the first product, `product_of_last`; later ones, `times` and `times_first`, are of what became
    of that, so that their backward passes come first.

    Args:
        features: All streams, side by side along the channels.
        n: Streams.
    """

    def __init__(self, features: Float[Tensor, "B C L"], n: int) -> None:
        self._features = features
        self._n = n
        self._gradient = _Gradient(n)

    def product_of_last(self, n_groups: int) -> list[Float[Tensor, "B W L"]]:
        """Return the product of the last two streams, in so many groups of equally many channels."""
        groups: tuple[Tensor, ...] = _ProductOfLast.apply(self._features, self._gradient, n_groups)  # type: ignore[no-untyped-call]
        return list(groups)

    def times(self, index: int, groups: list[Float[Tensor, "B W L"]]) -> list[Float[Tensor, "B W L"]]:
        """Return the product of a stream with groups of channels, in such groups."""
        return list(self._times(index, groups).chunk(len(groups), dim=1))

    def times_first(self, groups: list[Float[Tensor, "B W L"]]) -> Float[Tensor, "B D L"]:
        """Return the product of the first stream with groups of channels, side by side."""
        return self._times(0, groups)

    def _times(self, index: int, groups: list[Tensor]) -> Tensor:
        y: Tensor = _Times.apply(self._features, self._gradient, index, *groups)  # type: ignore[no-untyped-call]
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
    def forward(ctx: Any, features: Tensor, gradient: _Gradient, n_groups: int) -> tuple[Tensor, ...]:
        ctx.save_for_backward(features)
        ctx.gradient = gradient
        gate, value = features.chunk(gradient.n, dim=1)[-2:]
        return (gate * value).chunk(n_groups, dim=1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (features,) = ctx.saved_tensors
        gradient: _Gradient = ctx.gradient
        n = gradient.n
        both = [stream.chunk(len(grads), dim=1) for stream in features.chunk(n, dim=1)[-2:]]
        to = [gradient.of(index, features).chunk(len(grads), dim=1) for index in (n - 2, n - 1)]
        for grad, gate, value, to_gate, to_value in zip(grads, *both, *to, strict=True):
            torch.mul(grad, value, out=to_gate)
            torch.mul(grad, gate, out=to_value)
        return gradient.take(), None, None


class _Times(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, gradient: _Gradient, index: int, *groups: Tensor) -> Tensor:
        ctx.save_for_backward(features, *groups)
        ctx.gradient, ctx.index = gradient, index
        gate = features.chunk(gradient.n, dim=1)[index]
        y = torch.empty_like(gate, memory_format=torch.contiguous_format)
        n_groups = len(groups)
        for group, part, to in zip(groups, gate.chunk(n_groups, 1), y.chunk(n_groups, 1), strict=True):
            torch.mul(group, part, out=to)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        features, *groups = ctx.saved_tensors
        gradient: _Gradient = ctx.gradient
        n_groups = len(groups)
        of_groups = (grad * features.chunk(gradient.n, dim=1)[ctx.index]).chunk(n_groups, dim=1)
        if ctx.needs_input_grad[0]:  # no gradient is returned: `_ProductOfLast` returns that of all streams
            to = gradient.of(ctx.index, features).chunk(n_groups, dim=1)
            for group, part, to_part in zip(groups, grad.chunk(n_groups, dim=1), to, strict=True):
                torch.mul(group, part, out=to_part)
        return None, None, None, *of_groups


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
