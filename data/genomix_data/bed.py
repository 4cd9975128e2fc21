"""BED files: 0-based, half-open intervals, with the split in column 4 where a training set has it.

Source: the BED format of the UCSC genome browser; splits as in the Basenji/Enformer intervals that HyenaDNA trains on.
"""

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

from genomix_data.errors import GenomixError, InputFileError, ReferenceMismatchError
from genomix_data.genome import Genome
from genomix_data.interval import Interval, Strand, is_position
from genomix_data.text_input import open_text

Split = Literal["train", "valid", "test"]

_SPLITS: dict[str, Split] = {
    "train": "train",
    "valid": "valid",
    "val": "valid",
    "validation": "valid",
    "test": "test",
}
_HEADERS = ("#", "track", "browser")


@dataclass(frozen=True, slots=True)
class BedRecord:
    """One line of a BED file.

    Args:
        interval: Coordinates, strand (column 6) and name (column 4, unless that is a split).
        name: The same name.
        score: Column 5, or None where it is absent or ``.``.
        split: Column 4 where it says train, valid or test.
        line: 1-based line number in the file.
    """

    interval: Interval
    name: str | None = None
    score: float | None = None
    split: Split | None = None
    line: int = 0


def read_bed(path: str | os.PathLike[str], genome: Genome | None = None) -> list[BedRecord]:
    """Return the records of a BED file (3 to 12 columns, gzip ok) in file order.

    Lines that begin with ``#``, ``track`` or ``browser`` and one row of column names are passed over.

    Args:
        path: The file.
        genome: Check the intervals against these contigs, and call each contig by the name that the FASTA has.

    Raises:
        InputFileError: naming file and line, for a malformed line, an unknown contig, or an interval that reaches
            beyond its contig; and for a file without intervals.
    """
    source = Path(path)
    records: list[BedRecord] = []
    with open_text(source, "BED file") as text:
        for number, line in enumerate(text, start=1):
            stripped = line.rstrip("\r\n")
            if not stripped.strip() or stripped.startswith(_HEADERS):
                continue
            fields = stripped.split("\t") if "\t" in stripped else stripped.split()
            if not records and len(fields) >= 3 and fields[1].strip().lower() in ("start", "chromstart"):
                continue
            record = _record(source, number, fields)
            records.append(record if genome is None else _on_genome(source, record, genome))
    if not records:
        raise InputFileError(f"BED file {str(source)!r} has no interval in it. Check the file.")
    return records


def _record(source: Path, number: int, fields: list[str]) -> BedRecord:
    where = f"{source}:{number}"
    fields = [field.strip() for field in fields]
    if len(fields) < 3:
        raise InputFileError(
            f"{where}: a BED line has at least three columns, chrom, start and end, split by tabs; got {len(fields)}."
        )
    chrom, start, end = fields[:3]
    if not (is_position(start) and is_position(end)):
        raise InputFileError(
            f"{where}: start {start!r} and end {end!r} must be whole numbers, 0-based and half-open."
        )
    column4 = fields[3] if len(fields) > 3 and fields[3] not in ("", ".") else None
    split = _SPLITS.get(column4.lower()) if column4 is not None else None
    name = None if split is not None else column4
    strand = fields[5] if len(fields) > 5 and fields[5] else "."
    try:
        interval = Interval(chrom, int(start), int(end), cast(Strand, strand), name)
    except GenomixError as error:
        raise InputFileError(f"{where}: {error}") from error
    return BedRecord(interval, name, _score(where, fields), split, number)


def _score(where: str, fields: list[str]) -> float | None:
    if len(fields) < 5 or fields[4] in ("", "."):
        return None
    try:
        score = float(fields[4])
    except ValueError as error:
        raise InputFileError(
            f"{where}: score {fields[4]!r} in column 5 is not a number; write . for none."
        ) from error
    return None if math.isnan(score) else score


def _on_genome(source: Path, record: BedRecord, genome: Genome) -> BedRecord:
    interval, where = record.interval, f"{source}:{record.line}"
    try:
        chrom = genome.resolve(interval.chrom)
    except ReferenceMismatchError as error:
        raise InputFileError(f"{where}: {error}") from error
    length = genome.contigs[chrom]
    if interval.end > length:
        raise InputFileError(
            f"{where}: interval {interval.chrom} start={interval.start} end={interval.end} reaches beyond the contig, "
            f"which has {length:,} bp in {genome.path.name}. Check that both are of the same assembly, or cut the "
            "intervals, for example with `bedtools intersect`."
        )
    placed = Interval(chrom, interval.start, interval.end, interval.strand, interval.name)
    return BedRecord(placed, record.name, record.score, record.split, record.line)
