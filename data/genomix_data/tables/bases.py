"""Sequences with a class for each base: segmentation, splice sites."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from genomix_data.errors import InputFileError, preview
from genomix_data.lm_batch import IGNORED
from genomix_data.tables.rows import read_rows
from genomix_data.tables.table import checked_sequence

NO_LABEL = "."
"""Stands for a base that has no class."""


@dataclass(frozen=True)
class BaseTable:
    """Sequences and the class of each of their bases, in file order; nothing is dropped.

    Args:
        sequences: Letters as the file has them.
        labels: One array a sequence, an index into ``class_names`` for each base; `IGNORED` where there is none.
        class_names: The characters that stand for the classes, sorted.
        source: The file.
    """

    sequences: list[str]
    labels: list[NDArray[np.int64]]
    class_names: tuple[str, ...]
    source: str

    def __len__(self) -> int:
        return len(self.sequences)

    @property
    def n_per_class(self) -> dict[str, int]:
        """Number of bases of each class."""
        counts = np.zeros(len(self.class_names), dtype=np.int64)
        for row in self.labels:
            counts += np.bincount(row[row != IGNORED], minlength=len(self.class_names))
        return dict(zip(self.class_names, counts.tolist(), strict=True))

    def select(self, rows: NDArray[np.int64] | Sequence[int]) -> "BaseTable":
        """Return the table of these rows, in this order, with the same classes."""
        index = np.asarray(rows, dtype=np.int64)
        return replace(
            self,
            sequences=[self.sequences[i] for i in index],
            labels=[self.labels[i] for i in index],
        )

    def cut(self, lengths: Sequence[int]) -> "BaseTable":
        """Return the table with the first bases of each sequence only."""
        return replace(
            self,
            sequences=[text[:n] for text, n in zip(self.sequences, lengths, strict=True)],
            labels=[row[:n] for row, n in zip(self.labels, lengths, strict=True)],
        )


def read_base_table(
    path: str | os.PathLike[str],
    *,
    sequence_column: str = "sequence",
    label_column: str = "label",
    class_names: Sequence[str] | None = None,
) -> BaseTable:
    """Return sequences and labels of a CSV, TSV or Parquet file, the label being one character a base.

    Args:
        path: The file.
        sequence_column: Column of sequences.
        label_column: Column of labels: as many characters as the sequence has letters; ``.`` is a base without one.
        class_names: The classes in their order; by default the characters of the file, sorted.

    Raises:
        InputFileError: with the place: a label of another length than its sequence, a character that is none of
            ``class_names``, or no class at all.
    """
    source = Path(path)
    sequences: list[str] = []
    texts: list[str] = []
    places: list[str] = []
    for place, (sequence, label) in read_rows(source, (sequence_column, label_column)):
        sequences.append(checked_sequence(sequence, place))
        if len(label) != len(sequence):
            raise InputFileError(
                f"{place}: the label has {len(label):,} characters and the sequence {len(sequence):,} letters; a task "
                f"of single bases needs one character a base ({NO_LABEL!r} where there is no class)."
            )
        texts.append(label)
        places.append(place)
    found = sorted(set("".join(texts)) - {NO_LABEL})
    names = tuple(found if class_names is None else class_names)
    if class_names is None and len(names) < 2:
        raise InputFileError(
            f"table {str(source)!r} has {len(names)} classes of bases ({preview(names) or 'none'}); a task needs at "
            "least two."
        )
    index = {name: i for i, name in enumerate(names)} | {NO_LABEL: IGNORED}
    labels: list[NDArray[np.int64]] = []
    for text, place in zip(texts, places, strict=True):
        unknown = sorted(set(text) - index.keys())
        if unknown:
            raise InputFileError(
                f"{place}: the label has {unknown[0]!r}, which is not one of the classes {preview(names)} (nor "
                f"{NO_LABEL!r}, no class). Correct it, or train with it."
            )
        labels.append(np.array([index[letter] for letter in text], dtype=np.int64))
    return BaseTable(sequences, labels, names, str(source))
