"""Sequences of unequal length in one rectangle of ids."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Int64, UInt8

from genomix_data.errors import SequenceTooLongError

PaddingSide = Literal["left", "right"]


@dataclass(frozen=True, slots=True)
class TokenBatch:
    """Token ids of a batch, and where they are not padding.

    Args:
        ids: ``(B, L)``.
        attention_mask: ``(B, L)``; 1 at a token, 0 at padding.
    """

    ids: Int64[np.ndarray, "B L"]
    attention_mask: Int64[np.ndarray, "B L"]

    @property
    def lengths(self) -> Int64[np.ndarray, " B"]:
        """Number of tokens that are not padding, per sequence."""
        lengths: Int64[np.ndarray, " B"] = self.attention_mask.sum(axis=1)
        return lengths


def pad_batch(
    rows: Sequence[UInt8[np.ndarray, " L"]],
    pad_id: int,
    *,
    padding_side: PaddingSide = "right",
    pad_to: int | None = None,
) -> TokenBatch:
    """Return the rows side by side, filled up with ``pad_id`` to ``pad_to`` or else to the longest row.

    Raises:
        SequenceTooLongError: if a row is longer than ``pad_to``.
    """
    longest = max((row.size for row in rows), default=0)
    width = longest if pad_to is None else pad_to
    if longest > width:
        raise SequenceTooLongError(
            f"a sequence of {longest} tokens does not fit the padded length {width}. "
            "Raise the length, or allow truncation."
        )
    ids = np.full((len(rows), width), pad_id, dtype=np.int64)
    mask = np.zeros((len(rows), width), dtype=np.int64)
    for i, row in enumerate(rows):
        place = slice(0, row.size) if padding_side == "right" else slice(width - row.size, width)
        ids[i, place] = row
        mask[i, place] = 1
    return TokenBatch(ids=ids, attention_mask=mask)
