"""Variants as a table: TSV, CSV or Parquet with the columns chrom, pos, ref, alt and, where there is one, id.

``pos`` is 1-based, as in VCF. Column names are recognised in any case and with ``#`` in front; lines that begin with
``##`` are passed over, so what `genomix score` writes as TSV can be read back. Other columns are looked at by
`variant_rows` only.
"""

import csv
import importlib
import io
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from genomix_data.atomic import atomic_file
from genomix_data.errors import GenomixError, InputFileError, preview
from genomix_data.interval import is_position
from genomix_data.tables.parquet import is_parquet, parquet_columns, read_parquet
from genomix_data.text_input import open_text
from genomix_data.variant import Variant
from genomix_data.vcf.sink import FileSink

_NAMES = {
    "chrom": ("chrom", "chr", "chromosome", "contig"),
    "pos": ("pos", "position"),
    "ref": ("ref", "reference"),
    "alt": ("alt", "alternate"),
    "id": ("id", "rsid"),
}
_FIELDS = ("chrom", "pos", "id", "ref", "alt")
_VCF_HEADER = "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"

Cells = tuple[str, ...]
"""Contig, position, id, REF, ALT, and further columns that were asked for."""


def read_variants(path: str | os.PathLike[str]) -> list[Variant]:
    """Return the variants of a table, in file order; several ALT alleles in a cell become as many variants.

    Raises:
        InputFileError: if the file cannot be read or a column is missing; with the place, where a position is not a
            whole number or an allele is not made of letters.
    """
    variants: list[Variant] = []
    for place, (chrom, pos, identifier, ref, alts, *_) in _rows(Path(path)):
        if not is_position(pos):
            raise InputFileError(f"{place}: position {pos!r} is not a whole number, 1 for the first base.")
        for alt in alts.split(","):
            try:
                variants.append(Variant(chrom, int(pos), ref, alt, None if identifier == "." else identifier))
            except GenomixError as error:
                raise InputFileError(f"{place}: {error}") from error
    return variants


def variant_rows(path: str | os.PathLike[str], columns: Sequence[str]) -> Iterator[tuple[str, Cells]]:
    """Yield the place of each row, and its contig, position, id, REF, ALT and the cells of ``columns``, as text.

    Raises:
        InputFileError: if the file cannot be read, or a column is missing or double.
    """
    return _rows(Path(path), columns)


def write_variants(
    path: str | os.PathLike[str],
    variants: Sequence[Variant],
    columns: Mapping[str, Sequence[float | int | str | None]] | None = None,
) -> None:
    """Write variants, and a value of each for further columns, as TSV (``.gz`` is bgzipped) or ``.parquet``.

    In Parquet positions are int64 and further columns have the type of their values; in TSV floats have all their
    digits and ``.`` stands for None.

    Raises:
        GenomixError: if a further column has another number of values, or pyarrow is needed and not installed.
    """
    more = dict(columns or {})
    for name, values in more.items():
        if len(values) != len(variants):
            raise GenomixError(f"column {name!r} has {len(values)} values for {len(variants)} variants.")
    if str(path).lower().endswith(".parquet"):
        _write_parquet(path, variants, more)
        return
    with FileSink(path, compress=str(path).lower().endswith((".gz", ".bgz"))) as sink:
        sink.write_header("\t".join(("#CHROM", "POS", "ID", "REF", "ALT", *more)).encode() + b"\n")
        for i, variant in enumerate(variants):
            site = (variant.chrom, str(variant.pos), variant.id or ".", variant.ref, variant.alt)
            sink.write("\t".join((*site, *(_text(values[i]) for values in more.values()))).encode() + b"\n")


class TableAsVcf(io.RawIOBase):
    """The rows of a table of variants as the text of a VCF, a row at a time.

    Cells are carried as they are, so that a row which is not a variant meets the same fate as in a VCF.

    Attributes:
        first_row: 1-based line of the first row in the table, for messages.
    """

    def __init__(self, path: Path) -> None:
        self._rows = _rows(path)
        self._waiting = next(self._rows)
        self.first_row = int(self._waiting[0].rpartition(":")[2])
        self._line = self.first_row
        self._text = _VCF_HEADER.encode()
        self._ended = False

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: "bytearray | memoryview") -> int:  # type: ignore[override]
        """Fill ``buffer`` and return how many bytes came; 0 at the end."""
        if not self._text and not self._ended:
            place, cells = self._waiting
            line = int(place.rpartition(":")[2])
            row = "\t".join((*cells, ".", ".", "."))
            # Empty lines keep the numbers of lines those of the table.
            self._text = ("\n" * (line - self._line) + row + "\n").encode("utf-8", "surrogateescape")
            self._line = line + 1
            following = next(self._rows, None)
            self._ended = following is None
            self._waiting = following or self._waiting
        n = min(len(buffer), len(self._text))
        buffer[:n], self._text = self._text[:n], self._text[n:]
        return n


def _rows(source: Path, more: Sequence[str] = ()) -> Iterator[tuple[str, Cells]]:
    """Yield the place and the cells of each row, in the order of `_FIELDS` and ``more``; ``.`` where there is no id."""
    rows: Iterator[tuple[str, list[str]]]
    if is_parquet(source):
        names = parquet_columns(source)
        places = _places(source, names)
        extra = [_column(source, names, name) for name in more]
        fields = [name for name in _FIELDS if name in places]
        rows = read_parquet(source, [*(places[name] for name in fields), *extra])
        order = {name: i for i, name in enumerate(fields)}
        extra = list(range(len(fields), len(fields) + len(more)))
    else:
        rows, order, extra = _text_table(source, more)
    for place, cells in rows:
        found = [cells[order[name]] if name in order else "." for name in _FIELDS]
        # A column of numbers with a gap in it is written as 7.0 by pandas.
        site = (found[0], found[1].removesuffix(".0"), found[2] or ".", found[3] or ".", found[4] or ".")
        yield place, (*site, *(cells[column] for column in extra))


def _text_table(
    source: Path, more: Sequence[str]
) -> tuple[Iterator[tuple[str, list[str]]], dict[str, int], list[int]]:
    lines = _text_lines(source)
    _, header = next(lines)
    separator = max("\t,;", key=header.count)
    names = next(csv.reader([header], delimiter=separator), [])
    order = _places(source, names)
    extra = [_column(source, names, name) for name in more]
    csv.field_size_limit(sys.maxsize)  # an allele may be longer than csv takes by itself

    def rows() -> Iterator[tuple[str, list[str]]]:
        for number, line in lines:
            cells = [cell.strip() for cell in next(csv.reader([line], delimiter=separator), [])]
            if len(cells) != len(names):
                raise InputFileError(
                    f"{source}:{number}: {len(cells)} cells, but the header has {len(names)} columns."
                )
            yield f"{source}:{number}", cells

    return rows(), order, extra


def _column(source: Path, names: Sequence[str], wanted: str) -> int:
    """Return where a further column stands; its name must be there as it is given, and once."""
    plain = [name.strip().lstrip("#") for name in names]
    if plain.count(wanted) == 1:
        return plain.index(wanted)
    if wanted in plain:
        raise InputFileError(
            f"table of variants {str(source)!r} has column {wanted!r} {plain.count(wanted)} times; rename one."
        )
    close = get_close_matches(wanted.lower(), {name.lower(): name for name in plain}, n=1)
    meant = next((name for name in plain if close and name.lower() == close[0]), None)
    hint = f" Did you mean {meant!r}?" if meant else ""
    raise InputFileError(
        f"table of variants {str(source)!r} has no column {wanted!r}; it has {preview(names, 20)}.{hint}"
    )


def _text_lines(source: Path) -> Iterator[tuple[int, str]]:
    """Yield number and text of each line that holds something; the first is the header."""
    n_lines = 0
    with open_text(source, "table of variants") as text:
        for number, line in enumerate(text, start=1):
            if line.strip() and not line.startswith("##"):
                n_lines += 1
                yield number, line.rstrip("\r\n")
    if n_lines < 2:
        raise InputFileError(f"table of variants {str(source)!r} has no rows. Check the file.")


def _places(source: Path, names: Sequence[str]) -> dict[str, int]:
    """Return where each known column stands; all but ``id`` must be there, and once."""
    plain = [name.strip().lstrip("#").lower() for name in names]
    found: dict[str, int] = {}
    for field, spellings in _NAMES.items():
        places = [i for i, name in enumerate(plain) if name in spellings]
        if len(places) > 1:
            raise InputFileError(
                f"table of variants {str(source)!r} has more than one column for {field}: "
                f"{preview(names[i] for i in places)}. Keep one."
            )
        if places:
            found[field] = places[0]
    missing = [field for field in _NAMES if field != "id" and field not in found]
    if missing:
        raise InputFileError(
            f"table of variants {str(source)!r} has no column {preview(missing)}; it has {preview(names, 12)}. "
            "Needed are chrom, pos (1-based), ref and alt; id may be there."
        )
    return found


def _write_parquet(
    path: str | os.PathLike[str], variants: Sequence[Variant], more: Mapping[str, Sequence[Any]]
) -> None:
    try:
        # Imported by name, so that type checking needs no pyarrow.
        pyarrow = importlib.import_module("pyarrow")
        parquet = importlib.import_module("pyarrow.parquet")
    except ModuleNotFoundError as error:
        raise GenomixError(
            f"{str(path)!r} would be a Parquet file, and pyarrow is not installed. Install the extra: "
            "pip install 'genomix-fm[parquet]', or write a .tsv."
        ) from error
    text = pyarrow.string()
    arrays: dict[str, Any] = {
        "chrom": pyarrow.array([variant.chrom for variant in variants], text),
        "pos": pyarrow.array([variant.pos for variant in variants], pyarrow.int64()),
        "id": pyarrow.array([variant.id for variant in variants], text),
        "ref": pyarrow.array([variant.ref for variant in variants], text),
        "alt": pyarrow.array([variant.alt for variant in variants], text),
    }
    arrays |= {name: pyarrow.array(list(values)) for name, values in more.items()}
    with atomic_file(path) as temporary:
        parquet.write_table(pyarrow.table(arrays), temporary)


def _text(value: float | int | str | None) -> str:
    return "." if value is None else value if isinstance(value, str) else repr(value)
