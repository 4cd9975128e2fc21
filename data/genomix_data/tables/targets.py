"""Sequences with several targets each: multi-label tasks (chromatin profiles) and regression (MPRA)."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float32
from numpy.typing import NDArray

from genomix_data.alphabet import reverse_complement
from genomix_data.errors import InputFileError, preview
from genomix_data.genome import Genome
from genomix_data.interval import Interval
from genomix_data.tables.located import Locations, location_columns, locations_from
from genomix_data.tables.rows import read_rows, table_columns
from genomix_data.tables.table import checked_sequence

TargetKind = Literal["multi-label", "regression"]

_NOT_TARGETS = frozenset({"id", "name", "seq", "sequence", "split", "set", "index", ""})


@dataclass(frozen=True)
class TargetTable:
    """Sequences and their targets, in file order.

    Args:
        sequences: Letters as the file or the genome has them.
        targets: ``(n, T)`` float32; 0 or 1 for multi-label, any number for regression, NaN where it is missing.
        target_names: Names of the targets, in the order of the columns.
        kind: What the targets are.
        source: The file.
        locations: Places of the sequences, where they are known.
    """

    sequences: list[str]
    targets: Float32[np.ndarray, "n T"]
    target_names: tuple[str, ...]
    kind: TargetKind
    source: str
    locations: Locations | None = None

    def __post_init__(self) -> None:
        assert self.targets.shape == (len(self.sequences), len(self.target_names)), (
            "targets for every sequence"
        )

    def __len__(self) -> int:
        return len(self.sequences)

    @property
    def n_positive(self) -> dict[str, int]:
        """Number of sequences of which each target is 1."""
        return dict(zip(self.target_names, (self.targets == 1).sum(axis=0).tolist(), strict=True))

    def select(self, rows: NDArray[np.int64] | Sequence[int]) -> "TargetTable":
        """Return the table of these rows, in this order."""
        index = np.asarray(rows, dtype=np.int64)
        return replace(
            self,
            sequences=[self.sequences[i] for i in index],
            targets=self.targets[index],
            locations=None if self.locations is None else self.locations.select(index),
        )


def read_target_table(
    path: str | os.PathLike[str],
    kind: TargetKind,
    *,
    sequence_column: str = "sequence",
    target_columns: Sequence[str] | None = None,
    genome: Genome | None = None,
    seqlen: int | None = None,
) -> TargetTable:
    """Return sequences and targets of a CSV, TSV or Parquet file.

    Args:
        path: The file.
        kind: ``multi-label`` (each target 0 or 1) or ``regression`` (any finite number); an empty cell or NaN is
            missing, and comes back as NaN.
        sequence_column: Column of sequences. Where there is none, they are cut from ``genome`` by the columns chrom,
            start, end and, where it is there, strand.
        target_columns: Columns of targets; by default all but identifiers, coordinates and the sequence.
        genome: Where to cut sequences from.
        seqlen: With ``genome``: bases around the middle of each interval, N beyond the contig; by default the
            interval itself.

    Raises:
        InputFileError: with the place: no target columns, a cell that is not such a number, no sequence and no genome.
        ReferenceMismatchError: if an interval is not on the genome.
    """
    source = Path(path)
    header = table_columns(source)
    places = location_columns(header)
    if sequence_column in header:
        read: tuple[str, ...] = (sequence_column,)
    elif places is not None and genome is not None:
        read = places
    else:
        has = (
            "columns of coordinates but no genome to cut from"
            if places
            else "no columns of coordinates either"
        )
        raise InputFileError(
            f"table {str(source)!r} has no column {sequence_column!r}, and {has}; it has {preview(header, 12)}. "
            "Name the column of sequences, or give a genome."
        )
    names = tuple(target_columns or _target_columns(header, sequence_column, places or ()))
    if not names:
        raise InputFileError(
            f"table {str(source)!r} has no column of targets; it has {preview(header, 12)}. Name the columns."
        )
    first = len(read)
    cut = None if first == 1 else _cutter(genome, seqlen)
    sequences: list[str] = []
    rows: list[NDArray[np.float32]] = []
    intervals: list[Interval] = []
    for place, cells in read_rows(source, (*read, *names)):
        if cut is None:
            sequences.append(checked_sequence(cells[0], place))
        else:
            interval = _interval(cells[:first], place)
            intervals.append(interval)
            sequences.append(cut(interval))
        rows.append(_targets(cells[first:], names, kind, place))
    found = None if cut is None else _locations(intervals)
    return TargetTable(sequences, np.stack(rows), names, kind, str(source), found)


def _target_columns(header: Sequence[str], sequence_column: str, places: Sequence[str]) -> list[str]:
    passed_over = {sequence_column, *places}
    return [name for name in header if name not in passed_over and name.lower() not in _NOT_TARGETS]


def _targets(cells: Sequence[str], names: Sequence[str], kind: TargetKind, place: str) -> NDArray[np.float32]:
    try:
        values = np.array([cell or "nan" for cell in cells], dtype=np.float32)
    except ValueError:
        wrong = next(i for i, cell in enumerate(cells) if not _is_number(cell))
        raise InputFileError(
            f"{place}: {cells[wrong]!r} in column {names[wrong]!r} is not a number. Leave a missing value empty, or "
            "name the columns that are targets."
        ) from None
    if kind == "multi-label":
        bad = ~(np.isnan(values) | (values == 0) | (values == 1))
        expected = "0 or 1"
    else:
        bad = np.isinf(values)
        expected = "a finite number"
    if bad.any():
        wrong = int(bad.argmax())
        raise InputFileError(
            f"{place}: {cells[wrong]!r} in column {names[wrong]!r} should be {expected} for a {kind} task."
        )
    return values


def _is_number(cell: str) -> bool:
    try:
        float(cell or "nan")
    except ValueError:
        return False
    return True


def _interval(cells: Sequence[str], place: str) -> Interval:
    chrom, start, end = cells[:3]
    strand = cells[3] if len(cells) > 3 and cells[3] else "."
    if not (start.isdecimal() and end.isdecimal() and chrom and int(start) < int(end)):
        raise InputFileError(
            f"{place}: {chrom!r} start={start!r} end={end!r} is not an interval; coordinates are whole numbers, "
            "0-based and half-open, with start < end."
        )
    if strand not in ("+", "-", "."):
        raise InputFileError(f"{place}: strand {strand!r} is not one of '+', '-', '.' or empty.")
    return Interval(chrom, int(start), int(end), "-" if strand == "-" else "+" if strand == "+" else ".")


def _cutter(genome: Genome | None, seqlen: int | None) -> Callable[[Interval], str]:
    assert genome is not None, "checked by the caller"

    def cut(interval: Interval) -> str:
        if seqlen is None:
            return genome.fetch_interval(interval).decode()
        first = interval.center - seqlen // 2
        bases = genome.fetch_window(interval.chrom, first, first + seqlen)
        return (reverse_complement(bases) if interval.strand == "-" else bases).decode()

    return cut


def _locations(intervals: Sequence[Interval]) -> Locations:
    return locations_from(
        [interval.chrom for interval in intervals],
        [(interval.start, interval.end) for interval in intervals],
        [interval.strand == "-" for interval in intervals],
    )
