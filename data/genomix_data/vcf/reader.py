"""Reading VCF, VCF.gz and BCF, from a file or a pipe."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import pysam

from genomix_data.errors import InputFileError
from genomix_data.regions import TargetFilter
from genomix_data.vcf.bcf import (
    BCF_MAGIC,
    BcfDictionary,
    BcfRecord,
    bcf_header_bytes,
    read_bcf_header,
    read_bcf_records,
)
from genomix_data.vcf.header import VcfHeader
from genomix_data.vcf.record import VcfRecord
from genomix_data.vcf.streams import READ_FAILURES, ByteSource, truncated

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class VcfReader:
    """The header of a VCF or BCF, and its records one after the other.

    Use as a context manager; iterate once. Line ends may be LF or CRLF, the last may be missing, empty lines are
    passed over. Make it with `open_vcf`.

    Args:
        stream: The bytes, from their beginning.
        name: What messages call them.
        keep_bcf: See `open_vcf`.
        first_row: Number of the line of the first record, where that is not its place in ``stream``.

    Attributes:
        header: The header as text, whatever the file is.
        name: The path, or ``standard input``.
        compression: ``none``, ``gzip`` or ``bgzf``.
        dictionary: Of a BCF whose records stay binary, what `VcfWriter` needs to write them; else None.
        lacks_line_end: Whether the text ended without a line end, once that is known; a cut file does.
        targets: Records outside them are passed over; None: all records come.
    """

    def __init__(
        self, stream: BinaryIO, name: str, *, keep_bcf: bool = False, first_row: int | None = None
    ) -> None:
        self.name = name
        self._source = ByteSource(stream, name)
        self.compression = self._source.compression
        self._line_number = 0
        self._spool: tempfile.TemporaryDirectory[str] | None = None
        self._bcf: pysam.VariantFile | None = None
        self.dictionary: BcfDictionary | None = None
        self.targets: TargetFilter | None = None
        self.lacks_line_end = False
        try:
            head = self._source.plain.peek(8)[:8]
            if head[:3] == BCF_MAGIC[:3] and keep_bcf:
                self.header, self.dictionary = read_bcf_header(self._source.plain, name)
            elif head[:3] == BCF_MAGIC[:3]:
                self.header = self._open_bcf_as_text()
            else:
                self.header = self._read_text_header(head)
        except READ_FAILURES as error:
            raise truncated(name, str(error)) from error
        if first_row is not None:
            self._line_number = first_row - 1

    @property
    def contigs(self) -> dict[str, int | None]:
        """Contigs that the header declares, with their length in bp where it gives it."""
        return self.header.contigs

    @property
    def samples(self) -> tuple[str, ...]:
        """Sample names, in column order."""
        return self.header.samples

    def _read_text_header(self, head: bytes) -> VcfHeader:
        if not head:
            raise InputFileError(
                f"{self.name} is empty; expected a VCF that begins with '##fileformat=VCFv4.x'."
            )
        if head.removeprefix(_BYTE_ORDER_MARK)[:1] != b"#":
            kind = " (it looks like FASTA)" if head[:1] == b">" else ""
            raise InputFileError(
                f"{self.name} is not a VCF{kind}: it begins with {head.decode('utf-8', 'replace')!r}; "
                "expected '##fileformat=VCFv4.x'."
            )
        lines: list[str] = []
        while self._source.plain.peek(1)[:1] == b"#" or not lines:
            raw = self._source.plain.readline()
            self._line_number += 1
            if not lines:
                raw = raw.removeprefix(_BYTE_ORDER_MARK)
            lines.append(raw.rstrip(b"\r\n").decode("utf-8", "surrogateescape"))
            if lines[-1].startswith("#CHROM"):
                break
        self.lacks_line_end = not raw.endswith(b"\n")
        return VcfHeader.from_lines(lines, self.name)

    def _open_bcf_as_text(self) -> VcfHeader:
        # htslib reads files, not Python streams, and the first bytes of a pipe are already taken: so spool it.
        self._spool = tempfile.TemporaryDirectory()
        path = Path(self._spool.name) / "input.bcf"
        with path.open("wb") as handle:
            if self._source.plain.peek(5)[:5] != BCF_MAGIC:
                # htslib reads BCF 2.2 only; 2.1 differs in that its header does not number the keys.
                header, dictionary = read_bcf_header(self._source.plain, self.name)
                handle.write(bcf_header_bytes(dictionary.extended(header)[1]))
            shutil.copyfileobj(self._source.plain, handle)
        self._source.check_end()
        verbosity = pysam.set_verbosity(0)
        try:
            self._bcf = pysam.VariantFile(str(path))
            text = str(self._bcf.header)
        except UnicodeDecodeError as error:
            raise self._not_utf8("the header", error) from error
        except (OSError, ValueError) as error:
            raise truncated(self.name, str(error)) from error
        finally:
            pysam.set_verbosity(verbosity)
        return VcfHeader.from_lines(text.rstrip("\n").split("\n"), self.name)

    def _not_utf8(self, what: str, error: UnicodeDecodeError) -> InputFileError:
        return InputFileError(
            f"{self.name}: {what} is not UTF-8 text ({error.reason}). The file may be damaged; if it is not, "
            "convert it to text first: `bcftools view -Oz`."
        )

    def __iter__(self) -> Iterator[VcfRecord | BcfRecord]:
        """Yield the records in file order.

        Records of a BCF opened with ``keep_bcf`` stay binary; otherwise they become text, as htslib prints it.

        Raises:
            InputFileError: at a damaged record (with its line), or where the file is cut.
        """
        try:
            if self.targets is None:
                yield from self._records()
            else:
                accepts = self.targets.accepts
                yield from (record for record in self._records() if accepts(record.chrom, record.pos))
                self.targets.check_at_end()
        except READ_FAILURES as error:
            raise truncated(self.name, str(error)) from error
        self._check_end()

    @property
    def is_text(self) -> bool:
        """Whether the file is text; BCF is not."""
        return self.dictionary is None and self._bcf is None

    def lines(self) -> Iterator[bytes]:
        """Yield the lines of the records of a text file, each closed by a line feed; nothing in them is looked at.

        Raises:
            InputFileError: where the file is cut.
        """
        assert self.is_text, "BCF has no lines"
        assert self.targets is None, "targets would have to be looked for"
        raw = b"\n"
        try:
            for raw in self._source.plain:
                line = raw.rstrip(b"\r\n")
                if line:
                    yield line + b"\n"
        except READ_FAILURES as error:
            raise truncated(self.name, str(error)) from error
        self.lacks_line_end = self.lacks_line_end or not raw.endswith(b"\n")
        self._check_end()

    def _records(self) -> Iterator[VcfRecord | BcfRecord]:
        if self.dictionary is not None:
            return read_bcf_records(self._source.plain, self.dictionary, self.name)
        return self._text_records() if self._bcf is None else self._printed_records(self._bcf)

    def _check_end(self) -> None:
        self._source.check_end()

    def _printed_records(self, records: pysam.VariantFile) -> Iterator[VcfRecord]:
        n_samples = len(self.header.samples)
        try:
            for number, record in enumerate(records, start=1):
                line = str(record).rstrip("\n").encode("utf-8", "surrogateescape")
                yield VcfRecord.from_line(line, f"{self.name}, record {number}", n_samples)
        except UnicodeDecodeError as error:
            raise self._not_utf8("a record", error) from error
        except OSError as error:
            raise truncated(self.name, str(error)) from error

    def _text_records(self) -> Iterator[VcfRecord]:
        n_samples = len(self.header.samples)
        raw = b"\n"
        for raw in self._source.plain:
            self._line_number += 1
            line = raw.rstrip(b"\r\n")
            if line:
                yield VcfRecord.from_line(line, f"{self.name}:{self._line_number}", n_samples)
        self.lacks_line_end = self.lacks_line_end or not raw.endswith(b"\n")

    def close(self) -> None:
        """Close the input."""
        self._source.close()
        if self._bcf is not None:
            self._bcf.close()
        if self._spool is not None:
            self._spool.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
