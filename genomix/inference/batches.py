"""Sequences of any lengths as batches padded on the right, which a causal model does not feel."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from genomix_data.errors import GenomixError
from genomix_data.tokenizers import Tokenizer

BATCH_TOKENS = 1 << 14
"""Tokens of a batch, padding included, unless one sequence has more."""

Key = TypeVar("Key")


@dataclass(frozen=True, slots=True)
class Batch(Generic[Key]):
    """Some sequences: what the caller knows each by, ``ids`` of ``(B, L)`` padded on the right, and their lengths."""

    keys: list[Key]
    ids: Int[Tensor, "B L"]
    lengths: list[int]


def batches(
    sequences: Iterable[tuple[Key, str | bytes]],
    tokenizer: Tokenizer,
    *,
    batch_size: int | None = None,
    first_id: int | None = None,
) -> Iterator[Batch[Key]]:
    """Yield sequences in their order, in batches.

    Args:
        sequences: Key and letters.
        tokenizer: Of the model.
        batch_size: Sequences at once; None: as many as `BATCH_TOKENS` hold.
        first_id: A token to put before each sequence.

    Raises:
        GenomixError: if a sequence is empty.
    """
    keys: list[Key] = []
    rows: list[Tensor] = []
    longest = 0
    for key, letters in sequences:
        row = torch.from_numpy(tokenizer.encode(letters).astype(np.int64))
        if len(row) == 0:
            raise GenomixError(f"sequence {key} is empty; each needs at least one letter.")
        if first_id is not None:
            row = torch.cat([torch.tensor([first_id]), row])
        width = max(longest, len(row))
        is_full = len(rows) >= batch_size if batch_size else width * (len(rows) + 1) > BATCH_TOKENS
        if rows and is_full:
            yield _padded(keys, rows, tokenizer.pad_id)
            keys, rows, width = [], [], len(row)
        keys.append(key)
        rows.append(row)
        longest = width
    if rows:
        yield _padded(keys, rows, tokenizer.pad_id)


def _padded(keys: list[Key], rows: list[Tensor], pad_id: int) -> Batch[Key]:
    ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=pad_id)
    return Batch(keys, ids, [len(row) for row in rows])
