"""What generation and long inputs need of a model, and how a batch of uneven prompts is fed to one."""

from collections.abc import Iterator, Sequence
from typing import Protocol

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from genomix.operators.state import MixerState

ModelState = list[MixerState]

PREFILL_CHUNK = 8192
"""Tokens that are fed at a time: bounds the memory of a prompt of any length."""


class CausalModel(Protocol):
    """A language model that can be continued from a state."""

    def logits(self, hidden: Float[Tensor, "*shape D"]) -> Float[Tensor, "*shape V"]:
        """Return next-token logits."""
        ...

    def init_state(self, batch_size: int, *, max_len: int | None = None) -> ModelState:
        """Return the state before the first token."""
        ...

    def extend(
        self, ids: Int[Tensor, "B L"], state: ModelState, keep: Bool[Tensor, "B L"] | None = None
    ) -> tuple[Float[Tensor, "B L D"], ModelState]:
        """Return the hidden states at L more tokens, and the state after them."""
        ...


def extend_in_chunks(
    model: CausalModel,
    ids: Int[Tensor, "B L"],
    state: ModelState,
    *,
    keep: Bool[Tensor, "B L"] | None = None,
    chunk: int = PREFILL_CHUNK,
) -> Iterator[tuple[Float[Tensor, "B C D"], ModelState]]:
    """Yield the hidden states of each chunk of ``ids`` and the state after it.

    Args:
        model: A model in eval mode.
        ids: Token ids.
        state: Before the first of them.
        keep: False at left padding; see `left_padded`.
        chunk: Tokens at a time; the results do not depend on it beyond rounding.
    """
    after = state
    for begin in range(0, ids.shape[1], chunk):
        end = begin + chunk
        kept = None if keep is None else keep[:, begin:end]
        hidden, after = model.extend(ids[:, begin:end], after, kept)
        yield hidden, after


def prefill(
    model: CausalModel,
    ids: Int[Tensor, "B L"],
    state: ModelState,
    *,
    keep: Bool[Tensor, "B L"] | None = None,
    chunk: int = PREFILL_CHUNK,
) -> tuple[Float[Tensor, "B 1 D"], ModelState]:
    """Return the hidden state of the last token, and the state after it; see `extend_in_chunks`."""
    last = None
    for hidden, after in extend_in_chunks(model, ids, state, keep=keep, chunk=chunk):
        last = (hidden[:, -1:], after)
    assert last is not None, "ids have at least one token"
    return last


def left_padded(
    prompts: Sequence[Int[Tensor, " L"]], pad_id: int
) -> tuple[Int[Tensor, "B L"], Bool[Tensor, "B L"] | None]:
    """Return prompts as one batch that ends together, and where they are not padding (None if none is).

    Padding stands before the first token and is masked out of every mixer, so a prompt's results are those that it has
    alone. Padding after the last token would leave the states at the wrong place to continue from.

    Raises:
        ValueError: if there is no prompt, or one is empty.
    """
    if not prompts or min(len(prompt) for prompt in prompts) == 0:
        raise ValueError("each prompt needs at least one token.")
    longest = max(len(prompt) for prompt in prompts)
    ids = torch.full((len(prompts), longest), pad_id, dtype=torch.long)
    keep = torch.zeros(len(prompts), longest, dtype=torch.bool)
    for row, prompt in enumerate(prompts):
        ids[row, longest - len(prompt) :] = prompt
        keep[row, longest - len(prompt) :] = True
    return ids, None if bool(keep.all()) else keep
