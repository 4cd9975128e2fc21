"""Variants as rows of a table that brings its sequences: one with REF, one with ALT, and a class."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from genomix_data.errors import InputFileError
from genomix_data.tables.rows import read_rows
from genomix_data.tables.table import SequenceTable, checked_sequence, label_indices


@dataclass(frozen=True)
class PairTable(SequenceTable):
    """A `SequenceTable` of the sequences with REF, and beside each the one with ALT.

    Args:
        alts: Letters with the ALT allele, one a row.
    """

    alts: list[str]

    def __post_init__(self) -> None:
        super().__post_init__()
        assert len(self.alts) == len(self.sequences), "an ALT for every REF"

    def select(self, rows: NDArray[np.int64] | Sequence[int]) -> "PairTable":
        """Return the table of these rows, in this order, with the same classes."""
        index = np.asarray(rows, dtype=np.int64)
        return replace(
            self,
            sequences=[self.sequences[i] for i in index],
            labels=self.labels[index],
            alts=[self.alts[i] for i in index],
        )


def read_pair_table(
    path: str | os.PathLike[str],
    *,
    ref_column: str = "ref_sequence",
    alt_column: str = "alt_sequence",
    label_column: str | None = "label",
    class_names: Sequence[str] | None = None,
) -> PairTable:
    """Return the pairs of a CSV, TSV or Parquet file.

    Args:
        path: The file.
        ref_column: Column of the sequences with the reference allele.
        alt_column: Column of the sequences with the alternative allele.
        label_column: Column of classes; None where there are none, which then are all 0.
        class_names: The classes in their order; by default those of the file, sorted.

    Raises:
        InputFileError: with the place: an empty cell, a letter that is no nucleotide code, REF and ALT the same, or a
            label beyond ``class_names``.
    """
    source = Path(path)
    refs: list[str] = []
    alts: list[str] = []
    labels: list[str] = []
    places: list[str] = []
    columns = (ref_column, alt_column, *([label_column] if label_column else []))
    for place, cells in read_rows(source, columns):
        ref, alt = (checked_sequence(cell, place) for cell in cells[:2])
        if ref.upper() == alt.upper():
            raise InputFileError(
                f"{place}: {ref_column} and {alt_column} are the same, so there is no variant. Correct the row, or "
                "remove it."
            )
        refs.append(ref)
        alts.append(alt)
        places.append(place)
        if label_column:
            if not cells[2]:
                raise InputFileError(f"{place}: the label is empty. Fill it in, or remove the line.")
            labels.append(cells[2])
    if label_column is None:
        names = tuple(class_names or ("0",))
        return PairTable(refs, np.zeros(len(refs), dtype=np.int64), names, str(source), alts)
    names, indices = label_indices(labels, places, class_names)
    return PairTable(refs, indices, names, str(source), alts)
