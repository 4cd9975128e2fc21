"""Variants with a class and scores, one row an ALT allele: from INFO of a VCF or BCF, or columns of a table."""

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from genomix_data.errors import InputFileError, preview
from genomix_data.interval import is_position
from genomix_data.variant_table import variant_rows
from genomix_data.vcf import VcfRecord, open_vcf
from genomix_data.vcf.opening import TABLE_SUFFIXES

MISSING = frozenset(("", ".", "NA", "nan", "NaN"))
"""What stands for no value in a table or in INFO."""


class Allele(NamedTuple):
    """One ALT allele: ``pos`` is 1-based."""

    chrom: str
    pos: int
    ref: str
    alt: str


@dataclass(kw_only=True)
class LabelledVariants:
    """Alleles in file order; nothing is dropped.

    Attributes:
        source: Name of the file.
        alleles: All ALT alleles.
        labels: Class of each; None where the file has none.
        scores: By field, one number an allele; NaN where the file has none.
        groups: What else each belongs to, such as its consequence; None where nothing was asked for.
    """

    source: str
    alleles: list[Allele] = field(default_factory=list)
    labels: list[str | None] = field(default_factory=list)
    scores: dict[str, Float64[np.ndarray, " n"]] = field(default_factory=dict)
    groups: list[str | None] | None = None

    def __len__(self) -> int:
        return len(self.alleles)


def read_labelled_variants(
    path: str | os.PathLike[str],
    *,
    label: str,
    score_fields: Sequence[str] = (),
    group: str | None = None,
) -> LabelledVariants:
    """Return the alleles of a file with their classes and scores.

    A value of INFO with as many parts, split at commas, as the record has ALT alleles is one an allele (``Number=A``);
    else it belongs to all of them. The same holds for the cells of a table whose ALT cell names several alleles.

    Args:
        path: VCF, VCF.gz, BCF, or a table (``.tsv``, ``.csv``, ``.parquet``) with chrom, pos, ref and alt.
        label: INFO key or column of the class.
        score_fields: INFO keys or columns of numbers.
        group: INFO key or column of something else.

    Raises:
        InputFileError: if the file cannot be read, a key or column is nowhere in it, or a score is not a number.
    """
    source = str(path)
    wanted = [label, *score_fields, *([group] if group else [])]
    is_table = source.lower().endswith(TABLE_SUFFIXES)
    rows = _table_rows(path, wanted) if is_table else _vcf_rows(path, wanted)
    found = LabelledVariants(source=Path(source).name, groups=[] if group else None)
    columns: list[list[float]] = [[] for _ in score_fields]
    for place, chrom, pos, ref, alts, values in rows:
        parts = [_per_allele(value, len(alts)) for value in values]
        for index, alt in enumerate(alts):
            cells = [part[index] for part in parts]
            found.alleles.append(Allele(chrom, pos, ref, alt))
            found.labels.append(cells[0])
            for column, name, cell in zip(columns, score_fields, cells[1:], strict=False):
                column.append(_number(cell, name, place))
            if found.groups is not None:
                found.groups.append(cells[-1])
    found.scores = {
        name: np.array(column, dtype=np.float64) for name, column in zip(score_fields, columns, strict=True)
    }
    return found


Row = tuple[str, str, int, str, tuple[str, ...], list[str | None]]
"""Place, contig, position, REF, ALTs, and the wanted values."""


def _vcf_rows(path: str | os.PathLike[str], wanted: Sequence[str]) -> Iterator[Row]:
    seen: dict[str, None] = {}
    n_records = 0
    with open_vcf(path) as reader:
        for record in reader:
            assert isinstance(record, VcfRecord), "a BCF is read as text"
            info = record.info
            n_records += 1
            seen.update(dict.fromkeys(info))
            values = [info[key] or "" if key in info else None for key in wanted]
            yield record.where, record.chrom, record.pos, record.ref, record.alts, values
    if not n_records:
        raise InputFileError(f"{str(path)!r} has no records. Check the file.")
    for key in wanted:
        if key not in seen:
            close = get_close_matches(key, list(seen), n=1) or get_close_matches(key.upper(), list(seen), n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            if key.startswith("GMX_") and not any(name.startswith("GMX_") for name in seen):
                hint = " Score it first (`genomix score`), or here with -f ref.fa, or name another --score-field."
            raise InputFileError(
                f"no record of {str(path)!r} has the INFO key {key!r}; there are {preview(seen, 20)}.{hint}"
            )


def _table_rows(path: str | os.PathLike[str], wanted: Sequence[str]) -> Iterator[Row]:
    for place, (chrom, pos, _, ref, alt, *values) in variant_rows(path, wanted):
        if not is_position(pos):
            raise InputFileError(f"{place}: position {pos!r} is not a whole number, 1 for the first base.")
        yield place, chrom, int(pos), ref, () if alt == "." else tuple(alt.split(",")), list(values)


def _per_allele(value: str | None, n_alts: int) -> list[str | None]:
    """Return the value of each allele; None for one that is missing."""
    if value is None:
        return [None] * n_alts
    parts = value.split(",") if n_alts > 1 else [value]
    each = parts if len(parts) == n_alts else [value] * n_alts
    return [None if part in MISSING else part for part in each]


def _number(cell: str | None, name: str, place: str) -> float:
    if cell is None:
        return math.nan
    try:
        return float(cell)
    except ValueError as error:
        raise InputFileError(
            f"{place}: {name} is {cell!r}, which is not a number. Name the field that holds scores with --score-field."
        ) from error
