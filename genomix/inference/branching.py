"""Log-likelihoods of sequences that share a beginning: it is run once, and each continuation from where it leaves.

A *trunk* is a whole sequence; a *branch* is another that has the trunk's first ``start`` tokens and goes its own way
from there. Being causal, a model needs of the trunk only what it remembers of those tokens. That is

- a state, for models whose states are small (StripedHyena 2: the last inputs of FIR filters, the modes of modal ones,
  keys and values): the trunk is walked by `extend` from one start to the next, and branches go on from the state there;
- a trace, for models that say so (HyenaDNA, whose filters reach back to the first token): the trunk is run whole, and a
  branch adds the convolution of what differs from it.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from genomix.inference.causal import PREFILL_CHUNK, CausalModel, ModelState, extend_in_chunks
from genomix.inference.likelihood import log_probabilities, token_log_likelihood
from genomix.operators.state import MixerState, fork_into


class BranchingModel(CausalModel, Protocol):
    """A language model, run whole or continued from a state."""

    def hidden_states(self, ids: Int[Tensor, "B L"]) -> Float[Tensor, "B L D"]:
        """Return the hidden states of all positions."""
        ...


@runtime_checkable
class FinishingModel(BranchingModel, Protocol):
    """A model whose branches start from a state of the trunk."""

    def finish(
        self, ids: Int[Tensor, "N L"], state: ModelState, rows: Int[Tensor, " N"] | None = None
    ) -> Float[Tensor, "N L D"]:
        """Return the hidden states at L more tokens that nothing follows, each from its row of the state."""
        ...


@runtime_checkable
class TracingModel(Protocol):
    """A model whose branches start from a trace of the trunk."""

    def trace(self, ids: Int[Tensor, "B L"]) -> tuple[Float[Tensor, "B L D"], list[MixerState]]:
        """Return the hidden states of all positions, and what `branch` needs of them."""
        ...

    def branch(
        self, ids: Int[Tensor, "N L"], trace: list[MixerState], rows: Int[Tensor, " N"], start: int
    ) -> Float[Tensor, "N L D"]:
        """Return the hidden states at L tokens that follow the first ``start`` tokens of traced sequences."""
        ...


@dataclass(frozen=True, slots=True)
class Branches:
    """Branches of one length that leave their trunks at one place.

    Attributes:
        start: Tokens that they share with their trunks, at least one.
        rows: The trunk of each, as a row of the batch of trunks.
        ids: Their tokens from position ``start`` on, ``(N, L)``, L at least 2; not beyond the end of the trunks.
        is_one_each: Whether ``rows`` are those of the batch in their order, one branch of each trunk; it spares a copy
            of what is remembered of the trunks.
    """

    start: int
    rows: Int[Tensor, " N"]
    ids: Int[Tensor, "N L"]
    is_one_each: bool = False


@dataclass(frozen=True, slots=True)
class Probes:
    """Places of trunks at which the whole prediction of the next token is wanted, ``rows`` and ``at`` of ``(P,)``."""

    rows: Int[Tensor, " P"]
    at: Int[Tensor, " P"]

    def hidden(self, hidden: Float[Tensor, "B L D"], begin: int = 0) -> Float[Tensor, "Q D"]:
        """Return the states at those places that lie in this piece of the trunks, which begins at ``begin``."""
        here = (self.at >= begin) & (self.at < begin + hidden.shape[1])
        return hidden[self.rows[here], self.at[here] - begin]


OVERHANG = 8
"""The last chunk of a sequence may be longer by such a part of one."""

PROBES = -2
"""What `branch_log_likelihood` yields the logits of probes under."""


def branch_log_likelihood(
    model: BranchingModel,
    trunks: Int[Tensor, "B L"],
    branches: Sequence[Branches],
    *,
    probes: Probes | None = None,
    chunk: int = PREFILL_CHUNK,
) -> Iterator[tuple[int, Float[Tensor, "N M"]]]:
    """Yield the log-likelihoods of branches, and then of their trunks, token by token in nats.

    Args:
        model: In eval mode, on the device of ``trunks``.
        trunks: Token ids of the trunks.
        branches: In any order; each comes once.
        probes: Places before the last token of trunks, in the order of ``at``.
        chunk: Tokens that a model continued from states is fed at a time; changes nothing beyond rounding.

    Yields:
        The index in ``branches`` and ``log p`` of the tokens at ``start + 1`` and on, ``(N, L - 1)``; the index -1 and
        ``log p`` of the tokens of the trunks from the second on, ``(B, L - 1)``, as `token_log_likelihood` gives it.
        fp32 (fp64 for an fp64 model). With probes, `PROBES` and their logits, ``(P, V)``.
    """
    if not branches and probes is None:
        yield -1, token_log_likelihood(model, trunks)
    elif not branches or isinstance(model, TracingModel):
        if isinstance(model, TracingModel) and branches:
            hidden, trace = model.trace(trunks[:, :-1])
            for index, those in enumerate(branches):
                tail = model.branch(those.ids[:, :-1], trace, those.rows, those.start)
                yield index, log_probabilities(model, tail, those.ids[:, 1:])
        else:
            hidden = model.hidden_states(trunks[:, :-1])
        if probes is not None:
            yield PROBES, model.logits(probes.hidden(hidden))
        yield -1, log_probabilities(model, hidden, trunks[:, 1:])
    else:
        assert isinstance(model, FinishingModel), "a model has either traces or states to branch from"
        yield from _by_state(model, trunks, branches, probes, chunk)


def _by_state(
    model: FinishingModel,
    trunks: Int[Tensor, "B L"],
    branches: Sequence[Branches],
    probes: Probes | None,
    chunk: int,
) -> Iterator[tuple[int, Tensor]]:
    probed: list[Tensor] = []
    state = model.init_state(len(trunks), max_len=max(those.start for those in branches))
    pieces: list[Tensor] = []
    begin = 0

    def note(hidden: Tensor, at: int) -> None:
        if probes is not None:
            probed.append(probes.hidden(hidden, at))

    for index in sorted(range(len(branches)), key=lambda each: branches[each].start):
        those = branches[index]
        for piece, after in _walk(model, trunks[:, begin : those.start + 1], state, chunk, begin, note):
            pieces.append(piece)
            state = after
        begin = those.start
        yield index, _finish(model, those.ids, state, chunk, begin, those)
    pieces.append(_finish(model, trunks[:, begin:], state, chunk, begin, note=note))
    if probes is not None:
        yield PROBES, model.logits(torch.cat(probed))
    yield -1, torch.cat(pieces, dim=1)


def _finish(
    model: FinishingModel,
    ids: Int[Tensor, "N L"],
    state: ModelState,
    chunk: int,
    begin: int,
    those: Branches | None = None,
    note: Callable[[Tensor, int], None] | None = None,
) -> Float[Tensor, "N M"]:
    """Feed all tokens but the last, after which nothing comes; return ``log p`` of the token after each.

    Of branches the state is left unchanged; else what it has room for behind its length may be written to.
    """
    rows = None if those is None or those.is_one_each else those.rows
    # a last chunk that is a little longer is better than one that is very short
    n_walked = max(0, (ids.shape[1] - 2 - chunk // OVERHANG) // chunk * chunk)
    pieces: list[Tensor] = []
    if n_walked:
        if those is not None:
            room = model.init_state(len(ids), max_len=begin + n_walked)
            state = [fork_into(each, those.rows, empty) for each, empty in zip(state, room, strict=True)]
            rows = None
        for piece, after in _walk(model, ids[:, : n_walked + 1], state, chunk, begin, note):
            pieces.append(piece)
            state = after
    hidden = model.finish(ids[:, n_walked:-1], state, rows)
    if note is not None:
        note(hidden, begin + n_walked)
    pieces.append(log_probabilities(model, hidden, ids[:, n_walked + 1 :]))
    return torch.cat(pieces, dim=1)


def _walk(
    model: BranchingModel,
    ids: Int[Tensor, "B L"],
    state: ModelState,
    chunk: int,
    begin: int = 0,
    note: Callable[[Tensor, int], None] | None = None,
) -> Iterator[tuple[Float[Tensor, "B C"], ModelState]]:
    """Feed all tokens but the last; yield ``log p`` of the token after each, and the state.

    ``note`` is shown the hidden states of each chunk and where they begin; ``begin`` is where ``ids`` do.
    """
    at = 1
    for hidden, after in extend_in_chunks(model, ids[:, :-1], state, chunk=chunk):
        if note is not None:
            note(hidden, begin + at - 1)
        yield log_probabilities(model, hidden, ids[:, at : at + hidden.shape[1]]), after
        at += hidden.shape[1]
