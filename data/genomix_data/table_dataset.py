"""Sequences with a class or with targets, in an order that is a pure function of a running number."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float32, Int64
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from genomix_data.alphabet import COMPLEMENT, IUPAC_ANY_CASE
from genomix_data.errors import ConfigError, SequenceTooLongError
from genomix_data.lm_batch import IGNORED
from genomix_data.sampler import EpochOrder, mix64, mix64_array, ordered_indices
from genomix_data.tokenizers.protocol import Tokenizer

_STRAND = 2


@dataclass(frozen=True, slots=True)
class SampleOrder:
    """Which sample a running number stands for, and on which strand it is shown.

    Args:
        n: Number of samples.
        seed: Of the order and the strand; None is the order of the table, forward.
        rc_augment: Show half of the samples as their reverse complement, others in every epoch.
    """

    n: int
    seed: int | None
    rc_augment: bool = False

    def __post_init__(self) -> None:
        if self.rc_augment and self.seed is None:
            raise ConfigError(
                "rc_augment needs a seed; samples in the order of the table are shown as they are."
            )

    def locate(self, number: int) -> tuple[int, bool]:
        """Return the sample of a number, and whether it is shown as its reverse complement."""
        if self.seed is None:
            return number % self.n, False
        epoch, index = EpochOrder(self.n, self.seed).locate(number)
        return index, self.rc_augment and bool(mix64(self.seed, epoch, index, _STRAND) & 1)

    def locate_epoch(self, epoch: int) -> tuple[Int64[np.ndarray, " n"], NDArray[np.bool_]]:
        """Return the samples of an epoch in order, and which are shown as their reverse complement.

        The same as `locate` of each of its numbers, many times as fast.
        """
        numbers = np.arange(self.n, dtype=np.int64)
        if self.seed is None:
            return numbers, np.zeros(self.n, dtype=bool)
        index = ordered_indices(self.seed, epoch, numbers, self.n)
        if not self.rc_augment:
            return index, np.zeros(self.n, dtype=bool)
        return index, (mix64_array(self.seed, epoch, index, _STRAND) & np.uint64(1)).astype(bool)


class LabelledBatch(NamedTuple):
    """Right-padded ids ``(B, L)``, their true lengths ``(B,)`` and class indices ``(B,)``."""

    ids: Int64[Tensor, "B L"]
    lengths: Int64[Tensor, " B"]
    labels: Int64[Tensor, " B"]


class TargetBatch(NamedTuple):
    """Right-padded ids ``(B, L)``, their true lengths ``(B,)`` and targets ``(B, T)``, NaN where one is missing."""

    ids: Int64[Tensor, "B L"]
    lengths: Int64[Tensor, " B"]
    targets: Float32[Tensor, "B T"]


class LabelledSequences(Dataset[tuple[NDArray[np.uint8], int]]):
    """Sequences and their classes by running number (see `genomix_data.sampler`).

    Args:
        ids: Token ids of every sequence.
        labels: Class index of every sequence.
        tokenizer: What made the ids.
        seed: Of the order and the strand; None is the order of the table.
        rc_augment: Give half of the sequences as their reverse complement, others in every epoch.
    """

    def __init__(
        self,
        ids: Sequence[NDArray[np.uint8]],
        labels: NDArray[np.int64],
        tokenizer: Tokenizer,
        *,
        seed: int | None,
        rc_augment: bool = False,
    ) -> None:
        self.ids = ids
        self.labels = labels
        self.tokenizer = tokenizer
        self.order = SampleOrder(len(ids), seed, rc_augment)
        self._complement = complement_table(tokenizer)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, number: int) -> tuple[NDArray[np.uint8], int]:
        """Return the ids and the class index of sample ``number`` of an endless run.

        A negative number, such as `genomix_data.sampler.FILLER`, is one token of padding whose label is `IGNORED`.
        """
        if number < 0:
            return np.array([self.tokenizer.pad_id], dtype=np.uint8), IGNORED
        index, is_reverse = self.order.locate(number)
        ids = self.ids[index]
        return self._complement[ids[::-1]] if is_reverse else ids, int(self.labels[index])

    def collate(self, samples: Sequence[tuple[NDArray[np.uint8], int]]) -> LabelledBatch:
        """Return samples as one batch."""
        ids, lengths = pad_right([ids for ids, _ in samples], self.tokenizer.pad_id)
        return LabelledBatch(ids, lengths, torch.tensor([label for _, label in samples]))


class TargetSequences(Dataset[tuple[NDArray[np.uint8], NDArray[np.float32]]]):
    """Sequences and their targets by running number, for regression and multi-label tasks.

    Args:
        ids: Token ids of every sequence.
        targets: ``(n, T)``, NaN where one is missing.
        tokenizer: What made the ids.
        seed: Of the order and the strand; None is the order of the table.
        rc_augment: Give half of the sequences as their reverse complement, others in every epoch.
    """

    def __init__(
        self,
        ids: Sequence[NDArray[np.uint8]],
        targets: Float32[np.ndarray, "n T"],
        tokenizer: Tokenizer,
        *,
        seed: int | None,
        rc_augment: bool = False,
    ) -> None:
        self.ids = ids
        self.targets = targets
        self.tokenizer = tokenizer
        self.order = SampleOrder(len(ids), seed, rc_augment)
        self._complement = complement_table(tokenizer)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, number: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Return the ids and the targets of sample ``number``; a negative one is padding whose targets are missing."""
        if number < 0:
            missing = np.full(self.targets.shape[1], np.nan, dtype=np.float32)
            return np.array([self.tokenizer.pad_id], dtype=np.uint8), missing
        index, is_reverse = self.order.locate(number)
        ids = self.ids[index]
        return self._complement[ids[::-1]] if is_reverse else ids, self.targets[index]

    def collate(self, samples: Sequence[tuple[NDArray[np.uint8], NDArray[np.float32]]]) -> TargetBatch:
        """Return samples as one batch."""
        ids, lengths = pad_right([ids for ids, _ in samples], self.tokenizer.pad_id)
        return TargetBatch(ids, lengths, torch.from_numpy(np.stack([targets for _, targets in samples])))


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
