"""Labelled sequences that know where they come from: columns chrom (or region), start, end and strand."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from genomix_data.errors import InputFileError
from genomix_data.tables.rows import read_rows, table_columns
from genomix_data.tables.table import SequenceTable, read_table

CHROM_COLUMNS = ("region", "chrom", "chr", "chromosome", "chr_no", "contig", "#chrom")
"""Spellings of the column of contig names, any case."""

UNKNOWN = -1


@dataclass(frozen=True)
class Locations:
    """Where sequences lie, column by column; 0-based, half-open.

    Args:
        chrom_names: Names of the contigs, sorted.
        chrom: Index into ``chrom_names``, ``(n,)`` int64; `UNKNOWN` (-1) where the place is not known.
        start: 0-based, inclusive, ``(n,)`` int64.
        end: 0-based, exclusive, ``(n,)`` int64.
        is_reverse: Whether the sequence is that of the ``-`` strand, ``(n,)``.
    """

    chrom_names: tuple[str, ...]
    chrom: NDArray[np.int64]
    start: NDArray[np.int64]
    end: NDArray[np.int64]
    is_reverse: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.chrom)

    @property
    def is_known(self) -> NDArray[np.bool_]:
        """Which sequences have a place."""
        known: NDArray[np.bool_] = self.chrom != UNKNOWN
        return known

    def select(self, rows: NDArray[np.int64]) -> "Locations":
        """Return these rows, in this order."""
        return Locations(
            self.chrom_names, self.chrom[rows], self.start[rows], self.end[rows], self.is_reverse[rows]
        )


@dataclass(frozen=True)
class LocatedTable(SequenceTable):
    """A `SequenceTable` with the place of each sequence.

    Args:
        locations: One row a sequence.
    """

    locations: Locations

    def __post_init__(self) -> None:
        super().__post_init__()
        assert len(self.locations) == len(self.sequences), "a place for every sequence"

    def select(self, rows: NDArray[np.int64] | Sequence[int]) -> "LocatedTable":
        """Return the table of these rows, in this order, with the same classes."""
        index = np.asarray(rows, dtype=np.int64)
        return replace(
            self,
            sequences=[self.sequences[i] for i in index],
            labels=self.labels[index],
            locations=self.locations.select(index),
        )


def read_located_table(
    path: str | os.PathLike[str],
    *,
    sequence_column: str = "sequence",
    label_column: str = "label",
    class_names: Sequence[str] | None = None,
    require_two_classes: bool = False,
) -> SequenceTable:
    """Return `read_table`'s table; as a `LocatedTable` where the file has columns of coordinates as well.

    Raises:
        InputFileError: as `read_table`; also if a coordinate is not a whole number, or start is not before end.
    """
    table = read_table(
        path,
        sequence_column=sequence_column,
        label_column=label_column,
        class_names=class_names,
        require_two_classes=require_two_classes,
    )
    columns = location_columns(table_columns(path))
    if columns is None:
        return table
    return LocatedTable(
        table.sequences, table.labels, table.class_names, table.source, read_locations(path, columns)
    )


def location_columns(header: Sequence[str]) -> tuple[str, ...] | None:
    """Return the columns of contig, start, end and, where it is there, strand; None if there are no coordinates.

    >>> location_columns(["sequence", "label", "region", "start", "end", "strand"])
    ('region', 'start', 'end', 'strand')
    """
    folded = {name.lower(): name for name in reversed(header)}
    chrom = next((folded[name] for name in CHROM_COLUMNS if name in folded), None)
    if chrom is None or not {"start", "end"} <= folded.keys():
        return None
    found = (chrom, folded["start"], folded["end"])
    return (*found, folded["strand"]) if "strand" in folded else found


def read_locations(path: str | os.PathLike[str], columns: Sequence[str]) -> Locations:
    """Return the coordinates in a file; a row whose three cells are empty has no place.

    Args:
        path: CSV, TSV or Parquet.
        columns: Contig, start, end, and perhaps strand, as from `location_columns`.
    """
    source = Path(path)
    names: list[str] = []
    numbers: list[tuple[int, int]] = []
    reverse: list[bool] = []
    for place, cells in read_rows(source, columns):
        chrom, start, end = cells[:3]
        if not (chrom or start or end):
            names.append("")
            numbers.append((0, 0))
        elif start.isdecimal() and end.isdecimal() and chrom and int(start) < int(end):
            names.append(chrom)
            numbers.append((int(start), int(end)))
        else:
            raise InputFileError(
                f"{place}: {chrom!r} start={start!r} end={end!r} is not an interval; coordinates are whole numbers, "
                "0-based and half-open, with start < end."
            )
        strand = cells[3] if len(cells) > 3 else ""
        if strand not in ("+", "-", ".", ""):
            raise InputFileError(f"{place}: strand {strand!r} is not one of '+', '-', '.' or empty.")
        reverse.append(strand == "-")
    return locations_from(names, numbers, reverse)


def locations_from(
    names: Sequence[str], numbers: Sequence[tuple[int, int]], reverse: Sequence[bool]
) -> Locations:
    """Return locations from lists; an empty contig name is an unknown place."""
    chrom_names = tuple(sorted(set(names) - {""}))
    index = {name: i for i, name in enumerate(chrom_names)} | {"": UNKNOWN}
    bounds = np.array(numbers, dtype=np.int64).reshape(-1, 2)
    return Locations(
        chrom_names,
        np.array([index[name] for name in names], dtype=np.int64),
        bounds[:, 0].copy(),
        bounds[:, 1].copy(),
        np.array(reverse, dtype=bool),
    )
