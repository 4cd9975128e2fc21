"""One door to VCF, VCF.gz and BCF, whole or in part."""

import io
import os
import sys
from collections.abc import Iterable
from pathlib import Path

from genomix_data.bgzf import require_end_marker
from genomix_data.errors import InputFileError
from genomix_data.interval import Interval
from genomix_data.regions import Regions, TargetFilter
from genomix_data.vcf.indexed import open_regions
from genomix_data.vcf.reader import VcfReader

TABLE_SUFFIXES = (".tsv", ".tsv.gz", ".tsv.bgz", ".csv", ".csv.gz", ".parquet")

RegionsLike = Regions | str | Iterable[Interval]


def open_vcf(
    path: str | os.PathLike[str],
    *,
    keep_bcf: bool = False,
    regions: RegionsLike | None = None,
    targets: RegionsLike | None = None,
) -> VcfReader:
    """Return a reader of a VCF, bgzipped or gzipped VCF, or BCF; ``-`` is standard input.

    What the file is comes from its first bytes, not its name; but a name that ends in ``.tsv``, ``.csv`` (``.gz``) or
    ``.parquet`` is a table of variants (see `genomix_data.variant_table`), whose rows come as records.

    Args:
        path: File, named pipe, or ``-``.
        keep_bcf: Leave the records of a BCF binary, to be written to BCF with every number bit for bit.
        regions: Read only records that overlap these, through the index of the file, as ``bcftools -r`` does. A string
            such as ``"chr1:100-200,chr2"``, intervals, or `Regions.read` of a file.
        targets: Pass over records whose POS is outside these, as ``bcftools -t`` does; the whole file is read.

    Raises:
        InputFileError: if the input is missing, a folder, empty, not a VCF, or truncated; or has no index for
            ``regions``.
        ReferenceMismatchError: if ``regions`` or ``targets`` name a contig that is not in the file.
    """
    reader = _open(path, keep_bcf, None if regions is None else Regions.of(regions))
    if targets is not None:
        try:
            reader.targets = TargetFilter(Regions.of(targets), reader.contigs)
        except ValueError:
            reader.close()
            raise
    return reader


def _open(path: str | os.PathLike[str], keep_bcf: bool, regions: Regions | None) -> VcfReader:
    if str(path) == "-":
        if regions is not None:
            raise InputFileError(
                "standard input has no index, which regions need; give the regions as targets (-t, -T)."
            )
        return VcfReader(sys.stdin.buffer, "standard input", keep_bcf=keep_bcf)
    source = Path(path)
    if not source.exists():
        raise InputFileError(f"VCF {str(source)!r} does not exist. Check the path.")
    if source.is_dir():
        raise InputFileError(f"{str(source)!r} is a folder; give a VCF, VCF.gz or BCF file.")
    if source.name.lower().endswith(TABLE_SUFFIXES):
        # Here, because tables of variants are made of what this package gives.
        from genomix_data.variant_table import TableAsVcf

        if regions is not None:
            raise InputFileError(f"{str(source)!r} is a table, which has no index; give targets (-t, -T).")
        table = TableAsVcf(source)
        return VcfReader(io.BufferedReader(table), str(source), first_row=table.first_row)
    try:
        stream = source.open("rb")
    except OSError as error:
        raise InputFileError(f"VCF {str(source)!r} cannot be read: {error.strerror}.") from error
    try:
        reader = VcfReader(stream, str(source), keep_bcf=keep_bcf or regions is not None)
        if source.is_file() and reader.compression == "bgzf":
            require_end_marker(source)
    except InputFileError:
        stream.close()
        raise
    if regions is None:
        return reader
    reader.close()
    return open_regions(source, regions, keep_bcf=keep_bcf)
