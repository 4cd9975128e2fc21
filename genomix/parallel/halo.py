"""The tokens before a rank's part of a sequence, which a short filter reaches back to, with their gradients.

They come from the rank before, or from as many ranks as it takes, and their gradients go back there.
"""

from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Shaped
from torch import Tensor
from torch.autograd.function import once_differentiable

from genomix.parallel.collectives import ContextGroup


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


class TokensBefore:
    """The last ``n`` tokens before this rank's part, on their way while the device does something else.

    Args:
        x: This rank's part of the sequence.
        n: Tokens wanted; may be more than a part has.
        context: The ranks.
    """

    part: Shaped[Tensor, "B L D"]
    """What ``x`` is to be read as from now on: its gradient is joined by that of the tokens that others have of it."""

    def __init__(self, x: Shaped[Tensor, "B L D"], n: int, context: ContextGroup) -> None:
        self._halo = _Halo(n, x.shape[1], context)
        started: tuple[Tensor, Tensor] = _StartTokens.apply(x, self._halo)  # type: ignore[no-untyped-call]
        self.part, self._arriving = started

    def finish(self) -> Shaped[Tensor, "B N D"]:
        """Return the tokens, less than ``n`` or none where the sequence begins; to be called once."""
        tokens: Tensor = _FinishTokens.apply(self._arriving, self._halo)  # type: ignore[no-untyped-call]
        return tokens


class _WithTokensBefore(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, n: int, context: ContextGroup) -> Tensor:
        ctx.halo = _Halo(n, x.shape[1], context)
        ctx.halo.send(x)
        before = ctx.halo.receive()
        return torch.cat([*before, x], dim=1) if before else x.view_as(x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        halo: _Halo = ctx.halo
        end = grad.shape[1] - halo.seqlen
        halo.send_back(grad[:, :end])
        return halo.receive_back(grad[:, end:]), None, None


class _StartTokens(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, halo: "_Halo") -> tuple[Tensor, Tensor]:
        ctx.halo = halo
        halo.send(x)
        return x.view_as(x), x.new_empty(x.shape[0], halo.n_before, *x.shape[2:])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, arriving: Tensor) -> tuple[Tensor | None, ...]:
        return ctx.halo.receive_back(grad), None


class _FinishTokens(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, arriving: Tensor, halo: "_Halo") -> Tensor:
        ctx.halo = halo
        before = halo.receive()
        return torch.cat(before, dim=1) if before else arriving.view_as(arriving)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        ctx.halo.send_back(grad)
        return grad, None  # for the order of the two alone: what arrives has another size


class _Halo:
    """Tokens before a part on their way, and later their gradients on the way back.

    Functions of the graph hold one of these, so it holds no tensor that has a graph: the two would hold each other, and
    nothing would ever free them.
    """

    def __init__(self, n: int, seqlen: int, context: ContextGroup) -> None:
        self.seqlen, self.context = seqlen, context
        self.n_before = min(n, context.rank * seqlen)
        farthest = min(-(-n // seqlen), context.size - 1)
        # how many ranks away, and how many of the tokens each of those ranks has
        hops = [(hop, min(seqlen, n - (hop - 1) * seqlen)) for hop in range(1, farthest + 1)]
        self._before = [(context.rank - hop, length) for hop, length in reversed(hops) if context.rank >= hop]
        self._after = [
            (context.rank + hop, length) for hop, length in hops if context.rank + hop < context.size
        ]
        self._underway: tuple[list[dist.Work], list[Tensor], list[Tensor]] | None = None

    def send(self, x: Tensor) -> None:
        """Begin to send the last tokens of a part to the ranks after it."""
        sent = [(part, x[:, self.seqlen - length :]) for part, length in self._after]
        self._begin(x, sent, self._before)

    def receive(self) -> list[Tensor]:
        """Wait for the tokens before the part, and return them by rank of origin."""
        return self._end()

    def send_back(self, grad: Tensor) -> None:
        """Begin to send the gradients of the tokens before the part to where they came from."""
        lengths = [length for _, length in self._before]
        pieces = torch.split(grad, lengths, dim=1) if lengths else ()
        self._begin(grad, list(zip((part for part, _ in self._before), pieces, strict=True)), self._after)

    def receive_back(self, grad: Tensor) -> Tensor:
        """Wait for the gradients that other ranks have of a part's last tokens, and return its own with them."""
        theirs = self._end()
        if theirs:
            grad = grad.clone()
        for piece in theirs:
            grad[:, self.seqlen - piece.shape[1] :] += piece
        return grad

    def _begin(self, like: Tensor, sent: list[tuple[int, Tensor]], wanted: list[tuple[int, int]]) -> None:
        peer, group = self.context.peer, self.context.group
        kept = [(part, piece.contiguous()) for part, piece in sent]
        received = [(part, like.new_empty(like.shape[0], length, *like.shape[2:])) for part, length in wanted]
        operations = [dist.P2POp(dist.isend, piece, peer(part), group=group) for part, piece in kept]
        operations += [dist.P2POp(dist.irecv, piece, peer(part), group=group) for part, piece in received]
        works = dist.batch_isend_irecv(operations) if operations else []
        self._underway = works, [piece for _, piece in kept], [piece for _, piece in received]

    def _end(self) -> list[Tensor]:
        assert self._underway is not None, "nothing was sent"
        works, _, received = self._underway
        self._underway = None
        for work in works:
            work.wait()
        return received
