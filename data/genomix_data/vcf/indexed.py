"""Records of regions only, found through the index of a VCF.gz or BCF; each comes once, in file order.

As with ``bcftools -r``, a record belongs to a region when any base from POS to its end lies in it; the end is that of
REF, or of INFO/END or SVLEN where they reach further.
"""

import io
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from genomix_data.bgzf import iter_blocks
from genomix_data.contigs import ContigNames
from genomix_data.errors import InputFileError
from genomix_data.interval import is_position
from genomix_data.regions import Regions
from genomix_data.vcf.bcf import BcfRecord, bcf_header_bytes, read_bcf_records
from genomix_data.vcf.bin_index import BinIndex, Chunk, find_index, read_bin_index
from genomix_data.vcf.reader import VcfReader
from genomix_data.vcf.record import VcfRecord
from genomix_data.vcf.streams import PieceStream

_LENGTHENED = ("<DEL", "<DUP", "<INV", "<CNV")


class IndexedVcfReader(VcfReader):
    """A `VcfReader` that reads the records of ``regions`` and no others.

    Args:
        stream: The file, at its beginning.
        path: The same file.
        regions: What is wanted.
        index: That of the file.

    Raises:
        InputFileError: as `VcfReader`.
        ReferenceMismatchError: if a contig of the regions is not in the file.
    """

    def __init__(self, stream: BinaryIO, path: Path, regions: Regions, index: BinIndex) -> None:
        super().__init__(stream, str(path), keep_bcf=True)
        self._path = path
        self._index = index
        self._contigs = self._numbered_contigs()
        names = ContigNames(dict.fromkeys((*self._contigs, *self.contigs)))
        self._spans = regions.merged(names)

    def _numbered_contigs(self) -> dict[str, int]:
        """Return the number in the index of each contig, in file order."""
        if self.dictionary is None:
            return {name: number for number, name in enumerate(self._index.names)}
        return {name: number for number, name in sorted(self.dictionary.contigs.items())}

    def _records(self) -> Iterator[VcfRecord | BcfRecord]:
        number = 0
        for chrom, contig in self._contigs.items():
            spans = self._spans.get(chrom)
            for chunk in self._index.chunks(contig, spans) if spans else ():
                for record in self._records_of(chunk, number):
                    number += 1
                    start = record.pos - 1
                    end = start + max(record_length(record), 1)
                    if record.chrom == chrom and any(a < end and start < b for a, b in spans or ()):
                        yield record

    def _records_of(self, chunk: Chunk, number: int) -> Iterator[VcfRecord | BcfRecord]:
        stream = io.BufferedReader(PieceStream(_text_between(self._path, chunk, self._index.path)), 1 << 18)
        if self.dictionary is not None:
            yield from read_bcf_records(stream, self.dictionary, self.name)
            return
        n_samples = len(self.samples)
        for raw in stream:
            number += 1
            line = raw.rstrip(b"\r\n")
            if line and not line.startswith(b"#"):
                yield VcfRecord.from_line(line, f"{self.name}, record {number} of the regions", n_samples)

    def _check_end(self) -> None:
        """Only parts were read; `open_regions` has looked at the end of the file."""


def open_regions(path: Path, regions: Regions, *, keep_bcf: bool) -> VcfReader:
    """Return a reader of the records of ``regions``.

    Args:
        path: VCF.gz (BGZF) or BCF with a ``.csi`` or ``.tbi`` beside it.
        regions: What is wanted.
        keep_bcf: As in `genomix_data.vcf.open_vcf`.

    Raises:
        InputFileError: if there is no index, or it is damaged or of another file; with the command that makes one.
        ReferenceMismatchError: if a contig of the regions is not in the file.
    """
    if regions.is_excluded:
        raise InputFileError(
            f"regions {regions.source!r} begin with ^, which an index cannot serve; give them as targets (-t, -T)."
        )
    found = find_index(path)
    if found is None:
        raise InputFileError(
            f"{str(path)!r} has no index (.csi or .tbi), which regions need. {_how_to_index(path)} "
            "Or give the regions as targets (-t, -T), for which the whole file is read."
        )
    stream = path.open("rb")
    try:
        reader = IndexedVcfReader(stream, path, regions, read_bin_index(found))
        if reader.dictionary is None or keep_bcf:
            return reader
        return _as_text(reader)
    except BaseException:
        stream.close()
        raise


def _as_text(reader: IndexedVcfReader) -> VcfReader:
    """Return a reader that gives the records of a BCF as htslib prints them."""
    spool = tempfile.TemporaryFile()  # noqa: SIM115 - the new reader closes it
    with reader:
        assert reader.dictionary is not None
        spool.write(bcf_header_bytes(reader.dictionary.extended(reader.header)[1]))
        for record in reader:
            spool.write(record.annotated({}))
    spool.seek(0)
    return VcfReader(spool, reader.name)


def _how_to_index(path: Path) -> str:
    with path.open("rb") as stream:
        is_plain = stream.read(1) == b"#"
    if is_plain:
        return f"Make them with `bgzip {path.name} && bcftools index {path.name}.gz`."
    return f"Make one with `bcftools index {path.name}`."


def record_length(record: VcfRecord | BcfRecord) -> int:
    """Return the bases of the genome that a record spans, in bp."""
    if isinstance(record, BcfRecord):
        return record.reference_length
    length = len(record.ref)
    info = record.columns[7]
    if b"END=" not in info and b"SVLEN=" not in info:
        return length
    values = record.info
    end = values.get("END")
    if end and is_position(end):
        length = max(length, int(end) - record.pos + 1)
    for alt, size in zip(record.alts, (values.get("SVLEN") or "").split(","), strict=False):
        bare = size.removeprefix("-")
        if alt.startswith(_LENGTHENED) and is_position(bare):
            length = max(length, int(bare) + 1)
    return length


def _text_between(path: Path, chunk: Chunk, index: Path) -> Iterator[bytes]:
    """Yield the text between two virtual offsets of a BGZF file."""
    (first, skip), (last, stop) = (divmod(offset, 1 << 16) for offset in chunk)
    misfit = InputFileError(
        f"the index {str(index)!r} does not fit {str(path)!r}. Make it again: `bcftools index -f {path.name}`."
    )
    if last < first or last > path.stat().st_size:
        raise misfit
    for offset, text in iter_blocks(path, first):
        if offset > last:
            raise misfit
        begin = skip if offset == first else 0
        yield text[begin:stop] if offset == last else text[begin:]
        if offset == last:
            return
