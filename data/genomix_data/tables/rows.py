"""The cells of a table, whatever the file is: CSV or TSV (gzip ok), Parquet, or FASTA with labels in its headers."""

import csv
import difflib
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TextIO

from genomix_data.alphabet import find_non_iupac
from genomix_data.errors import InputFileError, preview
from genomix_data.tables.labelled_fasta import FASTA_COLUMNS, read_labelled_fasta
from genomix_data.tables.parquet import is_parquet, parquet_columns, read_parquet
from genomix_data.text_input import open_text, require_file

Row = tuple[str, list[str]]
"""Where a row stands, ``file:line``, for errors; and its cells, blanks at their ends removed."""


def read_rows(path: str | os.PathLike[str], columns: Sequence[str]) -> Iterator[Row]:
    """Yield the place and the cells of the wanted columns, of every row that is not blank.

    The separator of a text table is what its header has most of: tab, comma or semicolon. A FASTA has the columns
    ``name``, ``sequence`` and ``label`` (see `read_labelled_fasta`).

    Raises:
        InputFileError: if the file cannot be read, a column is missing or double, a row has another number of cells
            than the header, or there are no rows.
    """
    source = Path(path)
    if is_parquet(source):
        wanted = [_column(source, parquet_columns(source), name) for name in columns]
        yield from read_parquet(source, wanted)
        return
    with open_text(source, "table") as text:
        first = text.readline()
        if first.startswith(">"):
            places = [_column(source, list(FASTA_COLUMNS), name) for name in columns]
            for place, cells in read_labelled_fasta(source, first, text, want_label="label" in columns):
                yield place, [cells[i] for i in places]
            return
        yield from _text_rows(source, first, text, columns)


def table_columns(path: str | os.PathLike[str]) -> list[str]:
    """Return the names of the columns."""
    source = Path(path)
    if is_parquet(source):
        return parquet_columns(source)
    require_file(source, "table")
    with open_text(source, "table") as text:
        first = text.readline()
    return list(FASTA_COLUMNS) if first.startswith(">") else _header(first)[0]


def _header(line: str) -> tuple[list[str], str]:
    separator = max("\t,;", key=line.count)
    return [cell.strip() for cell in next(csv.reader([line], delimiter=separator), [])], separator


def _text_rows(source: Path, first: str, text: TextIO, columns: Sequence[str]) -> Iterator[Row]:
    # The csv module refuses cells over 128 KiB unless told; a sequence can be a megabase.
    csv.field_size_limit(sys.maxsize)
    n_rows = 0
    header, separator = _header(first)
    wanted = [_column(source, header, name) for name in columns]
    reader = csv.reader(text, delimiter=separator)
    try:
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            place = f"{source}:{reader.line_num + 1}"
            if len(cells) != len(header):
                raise InputFileError(
                    f"{place}: {len(cells)} cells, but the header has {len(header)} columns."
                )
            n_rows += 1
            yield place, [cells[i].strip() for i in wanted]
    except csv.Error as error:
        raise InputFileError(f"{source}:{reader.line_num + 1}: not a row of a table: {error}.") from error
    if n_rows == 0:
        raise InputFileError(f"table {str(source)!r} has a header and no rows. Check the file.")


def _column(source: Path, header: list[str], name: str) -> int:
    if header.count(name) == 1:
        return header.index(name)
    if header.count(name) > 1:
        raise InputFileError(
            f"table {str(source)!r} has column {name!r} {header.count(name)} times; rename one."
        )
    if any(len(cell) >= 10 and cell.isascii() and find_non_iupac(cell.encode()) is None for cell in header):
        raise InputFileError(
            f"{source}:1: the table has no header: its first line holds a sequence. Put the names of the columns "
            "on the first line, for example sequence,label."
        )
    folded = {cell.lower(): cell for cell in reversed(header)}
    close = difflib.get_close_matches(name.lower(), folded, n=1)
    hint = f"Did you mean {folded[close[0]]!r}? " if close else ""
    raise InputFileError(
        f"table {str(source)!r} has no column {name!r}; it has {preview(header, 12)}. {hint}"
        "Name the column that holds it (data.sequence_column, data.label_column; --sequence-column, --label-column), "
        "or rename the column."
    )
