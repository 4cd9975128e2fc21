"""Exchanges of tensors between ranks that hold one sequence in equal parts, with the gradients of each.

The gradient of what a rank received goes back to the rank that sent it, so a backward pass makes the same exchanges in
the opposite direction: every rank must take part in both, in the same order. Sums over ranks are taken in the order of
the ranks, so that they have the same bits in every run.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Shaped
from torch import Tensor
from torch.autograd.function import once_differentiable


@dataclass(frozen=True, slots=True)
class ContextGroup:
    """The ranks that hold the parts of one sequence.

    Args:
        group: Of the processes, in the order of the parts.
        rank: The part of this process, 0-based.
        size: Parts.
    """

    group: dist.ProcessGroup
    rank: int
    size: int

    @classmethod
    def of(cls, group: dist.ProcessGroup) -> "ContextGroup":
        """Return a process group as the ranks of a sequence."""
        return cls(group, dist.get_rank(group), dist.get_world_size(group))

    def __deepcopy__(self, memo: object) -> "ContextGroup":
        return self  # a copy of a model works on the same part

    def peer(self, part: int) -> int:
        """Return the global rank of the process that holds a part."""
        return dist.get_global_rank(self.group, part)


def exchange(
    x: Shaped[Tensor, "..."], context: ContextGroup, *, split: int, join: int
) -> Shaped[Tensor, "..."]:
    """Return an equal share of axis ``split`` of every rank's tensor, side by side along axis ``join`` (all-to-all).

    From a part of the tokens of all channels to all tokens of a part of the channels, ``split=1, join=2``, and back,
    ``split=2, join=1``.

    Args:
        x: Of the same shape on every rank.
        context: The ranks.
        split: Axis that is dealt out; a multiple of the ranks.
        join: Another axis; grows by the number of ranks.
    """
    return Exchange(x, context, split=split, join=join).finish()


class Exchange:
    """An `exchange` that is under way while the device does something else; so is that of the gradient.

    What is done between the two calls in the forward pass hides the exchange, and the backward pass of the same hides
    the exchange of the gradient.

    Args:
        x: As of `exchange`.
        context: Likewise.
        split: Likewise.
        join: Likewise.
    """

    def __init__(self, x: Shaped[Tensor, "..."], context: ContextGroup, *, split: int, join: int) -> None:
        assert x.shape[split] % context.size == 0, (
            f"{x.shape[split]} cannot be dealt out to {context.size} ranks"
        )
        self._transfer = _Transfer(context, split, join)
        self._theirs: Tensor | None = _Start.apply(x, self._transfer)  # type: ignore[no-untyped-call]

    def finish(self) -> Shaped[Tensor, "..."]:
        """Return the result; to be called once."""
        theirs, self._theirs = self._theirs, None  # which is room for others as soon as it is in order
        assert theirs is not None, "it has been finished"
        y: Tensor = _Finish.apply(theirs, self._transfer)  # type: ignore[no-untyped-call]
        return y


def gather(x: Shaped[Tensor, "..."], context: ContextGroup) -> Shaped[Tensor, "P ..."]:
    """Return the tensors of all ranks, stacked along a new first axis."""
    y: Tensor = _Gather.apply(x, context)  # type: ignore[no-untyped-call]
    return y


class _Start(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, transfer: "_Transfer") -> Tensor:
        ctx.transfer = transfer
        return transfer.send(x, transfer.split)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, theirs: Tensor) -> tuple[Tensor | None, ...]:
        return ctx.transfer.receive(theirs, ctx.transfer.split), None


class _Finish(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, theirs: Tensor, transfer: "_Transfer") -> Tensor:
        ctx.transfer = transfer
        return transfer.receive(theirs, transfer.join)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return ctx.transfer.send(grad, ctx.transfer.join), None


class _Transfer:
    """Shares on their way.

    Functions of the graph hold one of these, so it holds no tensor that has a graph: the two would hold each other, and
    nothing would ever free them.
    """

    def __init__(self, context: ContextGroup, split: int, join: int) -> None:
        self.context, self.split, self.join = context, split, join
        self._underway: tuple[dist.Work, Tensor] | None = None

    def send(self, x: Tensor, split: int) -> Tensor:
        """Begin to send each rank its share of an axis, and return where the others' will be, by rank of origin."""
        shares = _compact(torch.unflatten(x, split, (self.context.size, -1)).movedim(split, 0))
        theirs = torch.empty_like(shares)
        work = dist.all_to_all_single(theirs, shares, group=self.context.group, async_op=True)
        self._underway = work, shares
        return theirs

    def receive(self, theirs: Tensor, join: int) -> Tensor:
        """Wait for what `send` began, and return it side by side along an axis."""
        assert self._underway is not None, "nothing was sent"
        self._underway[0].wait()
        self._underway = None
        return _compact(theirs.movedim(0, join)).flatten(join, join + 1)


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, context: ContextGroup) -> Tensor:
        ctx.context = context
        y = x.new_empty(context.size, *x.shape)
        dist.all_gather(list(y.unbind()), x.contiguous(), group=context.group)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        theirs = torch.empty_like(grad, memory_format=torch.contiguous_format)
        dist.all_to_all_single(theirs, grad.contiguous(), group=ctx.context.group)
        return theirs.sum(0), None


WORD = torch.complex128
"""Of 16 bytes: the largest that a thread of a GPU reads or writes at once."""


def _compact(x: Tensor) -> Tensor:
    """Return ``x.contiguous()``; a copy moves whole words where rows consist of them, rather than single elements."""
    per_word = WORD.itemsize // x.element_size()
    steps = (x.shape[-1], x.storage_offset(), *x.stride()[:-1])
    is_in_words = x.stride(-1) == 1 and all(n % per_word == 0 for n in steps)
    if x.is_contiguous() or not is_in_words:
        return x.contiguous()
    return x.view(WORD).contiguous().view(x.dtype)
