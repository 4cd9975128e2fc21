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


def with_tokens_before(
    x: Shaped[Tensor, "B L D"], n: int, context: ContextGroup
) -> tuple[Shaped[Tensor, "B M D"], int]:
    """Return ``x`` behind the last ``n`` tokens before it, and how many those are: less where the sequence begins.

    Args:
        x: This rank's part of the sequence.
        n: Tokens wanted; may be more than a part has.
        context: The ranks.
    """
    seqlen = x.shape[1]
    before = min(n, context.rank * seqlen)
    extended: Tensor = _WithTokensBefore.apply(x, n, context)  # type: ignore[no-untyped-call]
    return extended, before


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
        self.context, self.split, self.join = context, split, join
        self._underway: tuple[dist.Work, Tensor] | None = None
        self._shares: Tensor = _Start.apply(x, self)  # type: ignore[no-untyped-call]

    def finish(self) -> Shaped[Tensor, "..."]:
        """Return the result; to be called once."""
        y: Tensor = _Finish.apply(self._shares, self)  # type: ignore[no-untyped-call]
        return y

    def send(self, x: Tensor, split: int) -> Tensor:
        """Begin to send each rank its share of an axis, and return where the others' will be, by rank of origin."""
        shares = torch.unflatten(x, split, (self.context.size, -1)).movedim(split, 0).contiguous()
        theirs = torch.empty_like(shares)
        work = dist.all_to_all_single(theirs, shares, group=self.context.group, async_op=True)
        self._underway = work, shares
        return theirs

    def receive(self, theirs: Tensor, join: int) -> Tensor:
        """Wait for what `send` began, and return it side by side along an axis."""
        assert self._underway is not None, "nothing was sent"
        self._underway[0].wait()
        self._underway = None
        return theirs.movedim(0, join).flatten(join, join + 1)


def gather(x: Shaped[Tensor, "..."], context: ContextGroup) -> Shaped[Tensor, "P ..."]:
    """Return the tensors of all ranks, stacked along a new first axis."""
    y: Tensor = _Gather.apply(x, context)  # type: ignore[no-untyped-call]
    return y


class _WithTokensBefore(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, n: int, context: ContextGroup) -> Tensor:
        ctx.context, ctx.n, ctx.seqlen = context, n, x.shape[1]
        hops = _hops(n, x.shape[1], context)
        received: dict[int, Tensor] = {}
        operations = []
        for hop, length in hops:
            if context.rank + hop < context.size:
                sent = x[:, x.shape[1] - length :].contiguous()
                operations.append(_send(sent, context.rank + hop, context))
            if context.rank >= hop:
                received[hop] = x.new_empty(x.shape[0], length, *x.shape[2:])
                operations.append(_receive(received[hop], context.rank - hop, context))
        _run(operations)
        if not received:
            return x.view_as(x)
        return torch.cat([*(received[hop] for hop, _ in reversed(hops) if hop in received), x], dim=1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        context: ContextGroup = ctx.context
        seqlen: int = ctx.seqlen
        hops = _hops(ctx.n, seqlen, context)
        end = grad.shape[1] - seqlen  # tokens before this rank's, the nearest last
        received: list[tuple[int, Tensor]] = []
        operations = []
        for hop, length in hops:
            if context.rank >= hop:
                sent = grad[:, end - length : end].contiguous()
                operations.append(_send(sent, context.rank - hop, context))
                end -= length
            if context.rank + hop < context.size:
                received.append((length, grad.new_empty(grad.shape[0], length, *grad.shape[2:])))
                operations.append(_receive(received[-1][1], context.rank + hop, context))
        _run(operations)
        own = grad[:, grad.shape[1] - seqlen :]
        if received:
            own = own.clone()
        for length, theirs in received:
            own[:, seqlen - length :] += theirs
        return own, None, None


class _Start(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, both: Exchange) -> Tensor:
        ctx.both = both
        return both.send(x, both.split)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, shares: Tensor) -> tuple[Tensor | None, ...]:
        return ctx.both.receive(shares, ctx.both.split), None


class _Finish(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, shares: Tensor, both: Exchange) -> Tensor:
        ctx.both = both
        return both.receive(shares, both.join)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return ctx.both.send(grad, ctx.both.join), None


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


def _hops(n: int, seqlen: int, context: ContextGroup) -> list[tuple[int, int]]:
    """Return how many ranks away the tokens before a part lie, and how many of them each of those ranks has."""
    farthest = min(-(-n // seqlen), context.size - 1)
    return [(hop, min(seqlen, n - (hop - 1) * seqlen)) for hop in range(1, farthest + 1)]


def _send(x: Tensor, part: int, context: ContextGroup) -> dist.P2POp:
    return dist.P2POp(dist.isend, x, context.peer(part), group=context.group)


def _receive(x: Tensor, part: int, context: ContextGroup) -> dist.P2POp:
    return dist.P2POp(dist.irecv, x, context.peer(part), group=context.group)


def _run(operations: list[dist.P2POp]) -> None:
    if operations:
        for work in dist.batch_isend_irecv(operations):
            work.wait()
