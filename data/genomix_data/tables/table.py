"""Labelled sequences for classification, from CSV, TSV, Parquet and FASTA files."""

import logging
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from genomix_data.alphabet import find_non_iupac
from genomix_data.errors import InputFileError, preview
from genomix_data.tables.rows import read_rows

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SequenceTable:
    """Sequences and their classes, in file order; nothing is dropped.

    Args:
        sequences: Letters as the file has them, case kept.
        labels: Index into ``class_names``, ``(n,)`` int64.
        class_names: Names of the classes, sorted; numbers in numeric order.
        source: The file or folder, for messages and provenance.
    """

    sequences: list[str]
    labels: NDArray[np.int64]
    class_names: tuple[str, ...]
    source: str

    def __post_init__(self) -> None:
        assert len(self.sequences) == self.labels.size, "a label for every sequence"

    def __len__(self) -> int:
        return len(self.sequences)

    @property
    def n_classes(self) -> int:
        """Number of classes, of which some may have no sequence."""
        return len(self.class_names)

    @property
    def n_per_class(self) -> dict[str, int]:
        """Number of sequences of each class."""
        counts = np.bincount(self.labels, minlength=self.n_classes)
        return dict(zip(self.class_names, counts.tolist(), strict=True))

    @property
    def n_duplicates(self) -> int:
        """Number of sequences that stand in the table already, whatever their case; they are kept."""
        return len(self) - len({sequence.upper() for sequence in self.sequences})

    def select(self, rows: NDArray[np.int64] | Sequence[int]) -> "SequenceTable":
        """Return the table of these rows, in this order, with the same classes."""
        index = np.asarray(rows, dtype=np.int64)
        return replace(self, sequences=[self.sequences[i] for i in index], labels=self.labels[index])


def read_table(
    path: str | os.PathLike[str],
    *,
    sequence_column: str = "sequence",
    label_column: str = "label",
    class_names: Sequence[str] | None = None,
    require_two_classes: bool = False,
) -> SequenceTable:
    """Return the sequences and labels of a CSV or TSV file with a header (gzip ok), a Parquet file, or a FASTA whose
    headers end in ``|label``.

    Labels may be numbers or text; see `read_rows` for the layouts.

    Args:
        path: The file.
        sequence_column: Name of the column of sequences (IUPAC letters, either case).
        label_column: Name of the column of labels.
        class_names: The classes in their order, such as those of a trained model; by default those of the file, sorted.
        require_two_classes: Refuse a file in which all labels are the same, as training must.

    Raises:
        InputFileError: with the line number where there is one: a column is missing, no rows, an empty sequence or
            label, a letter that is not a nucleotide code, a label beyond ``class_names``, fractions as labels.
    """
    source = Path(path)
    places, sequences, labels = [], [], []
    for place, (sequence, label) in read_rows(source, (sequence_column, label_column)):
        if not label:
            raise InputFileError(f"{place}: the label is empty. Fill it in, or remove the line.")
        places.append(place)
        sequences.append(checked_sequence(sequence, place))
        labels.append(label)
    names, indices = label_indices(labels, places, class_names)
    table = SequenceTable(sequences, indices, names, str(source))
    if require_two_classes and len(set(indices.tolist())) < 2:
        raise InputFileError(
            f"table {str(source)!r} has one class only: every label in column {label_column!r} is {labels[0]!r}. "
            "A classifier needs at least two; check the column, or add the other class."
        )
    if table.n_duplicates:
        logger.warning("%s holds %d sequences more than once; all are kept", source, table.n_duplicates)
    return table


def read_sequences(path: str | os.PathLike[str], *, sequence_column: str = "sequence") -> list[str]:
    """Return the sequences of a CSV or TSV file that needs no labels; errors as in `read_table`."""
    source = Path(path)
    return [checked_sequence(sequence, place) for place, (sequence,) in read_rows(source, (sequence_column,))]


def label_indices(
    labels: Sequence[str], places: Sequence[str], class_names: Sequence[str] | None = None
) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """Return the class names, sorted, and the index of each label among them.

    Whole numbers are put in numeric order, and ``1.0`` is ``1``.

    Args:
        labels: Labels as text, none empty.
        places: Where each label stands, for errors.
        class_names: Use these classes in this order, and no other.
    """
    keys = [_whole_number(label) for label in labels]
    numbers = [key for key in keys if key is not None]
    if len(numbers) == len(labels):
        labels = [str(number) for number in numbers]
        found = [str(number) for number in sorted(set(numbers))]
    else:
        _refuse_fractions(labels, places)
        found = sorted(set(labels))
    names = tuple(found if class_names is None else class_names)
    index = {name: i for i, name in enumerate(names)}
    for label, place in zip(labels, places, strict=True):
        if label not in index:
            close = get_close_matches(label, names, n=1, cutoff=0.6)
            meant = f" Did you mean {close[0]!r}?" if close and not label.isdecimal() else ""
            raise InputFileError(
                f"{place}: label {label!r} is not one of the classes {preview(names)}.{meant}"
            )
    return names, np.array([index[label] for label in labels], dtype=np.int64)


def checked_sequence(sequence: str, place: str) -> str:
    """Return the sequence when it has letters and all are nucleotide codes.

    Args:
        sequence: The text.
        place: Where it stands, for the error.
    """
    if not sequence:
        raise InputFileError(f"{place}: the sequence is empty. Fill it in, or remove it.")
    offset = find_non_iupac(sequence.encode("latin-1", "replace"))
    if offset is not None:
        raise InputFileError(
            f"{place}: {sequence[offset]!r} at position {offset + 1} of the sequence is not a nucleotide code. "
            "Write an unknown base as N."
        )
    return sequence


def _whole_number(label: str) -> int | None:
    try:
        value = float(label)
    except ValueError:
        return None
    return int(value) if value.is_integer() and abs(value) < 2**53 else None


def _refuse_fractions(labels: Iterable[str], places: Iterable[str]) -> None:
    """Raise where every label is a number, and not all are whole: measurements, not classes."""
    fraction = None
    for label, place in zip(labels, places, strict=True):
        try:
            value = float(label)
        except ValueError:
            return
        if fraction is None and not value.is_integer():
            fraction = (label, place)
    if fraction is not None:
        raise InputFileError(
            f"{fraction[1]}: label {fraction[0]!r} is a measurement, not a class. Classification needs whole numbers "
            "or names; put measurements into classes first."
        )
