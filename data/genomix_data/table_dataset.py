"""Labelled sequences for a classifier, in a shuffled order that is a pure function of a running number."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Int64
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from genomix_data.alphabet import COMPLEMENT, IUPAC_ANY_CASE
from genomix_data.errors import SequenceTooLongError
from genomix_data.sampler import EpochOrder, mix64
from genomix_data.tokenizers.protocol import Tokenizer

_STRAND = 2


class LabelledBatch(NamedTuple):
    """Right-padded ids ``(B, L)``, their true lengths ``(B,)`` and class indices ``(B,)``."""

    ids: Int64[Tensor, "B L"]
    lengths: Int64[Tensor, " B"]
    labels: Int64[Tensor, " B"]


class LabelledSequences(Dataset[tuple[NDArray[np.uint8], int]]):
    """Training sequences in the order of a running number (see `genomix_data.sampler`).

    Args:
        ids: Token ids of every sequence.
        labels: Class index of every sequence.
        tokenizer: What made the ids.
        seed: Of the order and the strand.
        rc_augment: Give half of the sequences as their reverse complement, others in every epoch.
    """

    def __init__(
        self,
        ids: Sequence[NDArray[np.uint8]],
        labels: NDArray[np.int64],
        tokenizer: Tokenizer,
        *,
        seed: int,
        rc_augment: bool = False,
    ) -> None:
        self.ids = ids
        self.labels = labels
        self.tokenizer = tokenizer
        self.seed = seed
        self.rc_augment = rc_augment
        self.order = EpochOrder(len(ids), seed)
        self._complement = complement_table(tokenizer)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, number: int) -> tuple[NDArray[np.uint8], int]:
        """Return the ids and the class index of sample ``number`` of an endless run."""
        epoch, index = self.order.locate(number)
        ids = self.ids[index]
        if self.rc_augment and mix64(self.seed, epoch, index, _STRAND) & 1:
            ids = self._complement[ids[::-1]]
        return ids, int(self.labels[index])

    def collate(self, samples: Sequence[tuple[NDArray[np.uint8], int]]) -> LabelledBatch:
        """Return samples as one batch."""
        ids, lengths = pad_right([ids for ids, _ in samples], self.tokenizer.pad_id)
        return LabelledBatch(ids, lengths, torch.tensor([label for _, label in samples]))


def pad_right(
    rows: Sequence[NDArray[np.uint8]], pad_id: int
) -> tuple[Int64[Tensor, "B L"], Int64[Tensor, " B"]]:
    """Return rows of ids padded on the right to the longest, and their lengths."""
    lengths = [len(row) for row in rows]
    batch = np.full((len(rows), max(lengths)), pad_id, dtype=np.uint8)
    for place, row in enumerate(rows):
        batch[place, : len(row)] = row
    return torch.from_numpy(batch).long(), torch.tensor(lengths)


def encode_sequences(
    sequences: Sequence[str],
    tokenizer: Tokenizer,
    l_max: int,
    *,
    too_long: Literal["error", "truncate"],
    source: str,
) -> tuple[list[NDArray[np.uint8]], int]:
    """Return the ids of every sequence, and how many were cut to the longest that the model takes.

    Args:
        sequences: Letters, either case.
        tokenizer: That of the model.
        l_max: Longest input of the model, in tokens.
        too_long: ``truncate`` keeps the first ``l_max`` bases of a longer sequence; ``error`` refuses it.
        source: Where they come from, for the message.

    Raises:
        SequenceTooLongError: naming the first sequence that is too long.
    """
    longer = [row for row, sequence in enumerate(sequences) if len(sequence) > l_max]
    if longer and too_long == "error":
        row = longer[0]
        raise SequenceTooLongError(
            f"{source}: sequence {row + 1} has {len(sequences[row]):,} bases, but the model takes at most "
            f"l_max={l_max:,} ({len(longer):,} of {len(sequences):,} sequences are too long). Choose a model of longer "
            "context (genomix models), or keep only their first bases: data.too_long=truncate in fine-tuning, "
            "--too-long truncate elsewhere."
        )
    return [tokenizer.encode(sequence[:l_max]) for sequence in sequences], len(longer)


def complement_table(tokenizer: Tokenizer) -> NDArray[np.uint8]:
    """Return the id of the complementary base for each id; ids of no base stay what they are."""
    table = np.arange(256, dtype=np.uint8)
    table[tokenizer.encode(IUPAC_ANY_CASE)] = tokenizer.encode(IUPAC_ANY_CASE.translate(COMPLEMENT))
    return table
