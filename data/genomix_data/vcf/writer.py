"""Writing annotated VCF, VCF.gz and BCF: whole under the final name, or not at all.

Text records are written with the bytes that came, and INFO alone changes. To BCF there are two ways: records that came
from BCF stay binary; text is spooled and turned into BCF at the end by htslib, because BCF must declare each name in
the header before the first record, and only the end of the input tells which names the records use.
"""

import os
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import pysam.bcftools
from pysam.utils import SamtoolsError

from genomix_data.errors import ConfigError, InputFileError
from genomix_data.journal import Journal
from genomix_data.vcf.bcf import BcfDictionary, BcfRecord, bcf_header_bytes
from genomix_data.vcf.header import UsedNames, VcfHeader, repair_header
from genomix_data.vcf.record import InfoValues, VcfRecord
from genomix_data.vcf.sink import FileSink, IndexFormat, is_stdout

OutputType = Literal["v", "z", "b", "u"]
SUFFIXES: dict[str, OutputType] = {".vcf": "v", ".vcf.gz": "z", ".vcf.bgz": "z", ".bcf": "b"}


def output_type_of(out: str | os.PathLike[str] | None, default: OutputType = "v") -> OutputType:
    """Return v, z or b by the suffix of ``out``; ``default`` for standard output and for any other suffix."""
    name = str(out or "").lower()
    return next((kind for suffix, kind in SUFFIXES.items() if name.endswith(suffix)), default)


class VcfWriter:
    """Writes records to a file or standard output; use as a context manager.

    The file takes its name when the block ends without an error.

    Args:
        out: Path, or ``-`` or None for standard output.
        header: Header to write.
        output_type: ``v`` VCF, ``z`` VCF.gz (BGZF), ``b`` BCF, ``u`` uncompressed BCF; None: by the suffix.
        write_index: Write a ``.csi`` or ``.tbi`` beside the file; the records must be sorted.
        index_format: Which of the two; BCF has ``csi`` only.
        drop_prefix: INFO keys with this prefix in the input are replaced.
        dictionary: That of a BCF reader whose records stay binary (`VcfReader.dictionary`).
        contig_length: Gives the length in bp of a contig that the header lacks, by the name that the VCF uses.
        journal: Keeps the records until the end, so that a broken run can go on.

    Raises:
        ConfigError: if an index is wanted where there can be none, or a journal for text that is to become BCF.
        InputFileError: if records are not sorted and an index is wanted, or htslib cannot turn them into BCF.
    """

    def __init__(
        self,
        out: str | os.PathLike[str] | None,
        header: VcfHeader,
        *,
        output_type: OutputType | None = None,
        write_index: bool = False,
        index_format: IndexFormat = "csi",
        drop_prefix: str = "",
        dictionary: BcfDictionary | None = None,
        contig_length: Callable[[str], int | None] | None = None,
        journal: Journal | None = None,
    ) -> None:
        self.output_type: OutputType = output_type or output_type_of(out)
        is_bcf = self.output_type in ("b", "u")
        if write_index and (is_stdout(out) or self.output_type in ("v", "u")):
            raise ConfigError(
                "an index can be written for a .vcf.gz or .bcf file only; give -o NAME.vcf.gz (or -O z with a file)."
            )
        if write_index and is_bcf and index_format == "tbi":
            raise ConfigError("BCF takes a .csi index, not .tbi; use --index-format csi.")
        self._header = header
        self._drop_prefix = drop_prefix
        self._contig_length = contig_length
        self._used = UsedNames.none()
        self._dictionary: BcfDictionary | None = None
        if is_bcf and dictionary is not None:
            self._dictionary, self._header = dictionary.extended(header)
        self._spools = is_bcf and self._dictionary is None
        if self._spools and journal is not None:
            raise ConfigError(
                "text that becomes BCF cannot be resumed; write VCF.gz (-O z), and `bcftools view -Ob` of that."
            )
        self._sink = FileSink(
            out,
            compress=self.output_type in ("z", "b") and not self._spools,
            index=index_format if write_index else None,
            preset="bcf" if is_bcf else "vcf",
            spool=self._spools,
            journal=journal,
        )

    def __enter__(self) -> Self:
        self._sink.__enter__()
        if self._dictionary is not None:
            self._sink.write_header(bcf_header_bytes(self._header))
        elif not self._spools:
            self._sink.write_header(self._header.to_bytes())
        return self

    def write(self, record: VcfRecord | BcfRecord, values: InfoValues) -> None:
        """Write ``record`` with ``values`` added to its INFO."""
        self._sink.check_order(record.chrom, record.pos, record.where)
        if self._dictionary is not None:
            assert isinstance(record, BcfRecord), "a writer of binary records takes records of a BCF reader"
            record.dictionary = self._dictionary
        elif self._spools:
            assert isinstance(record, VcfRecord), "text records are spooled for BCF"
            self._used.add(record.columns)
            self._used.info.update(dict.fromkeys(values, True))
        self._sink.write(record.annotated(values, self._drop_prefix))

    def copy(self, line: bytes) -> None:
        """Write a line of text as it is, to a text file that gets no index."""
        self._sink.write(line)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None and self._spools:
            self._sink.convert(self._convert)
        self._sink.__exit__(kind, error, trace)

    def _convert(self, spool: Path, target: Path) -> None:
        """Turn the spooled record lines into BCF under a header that declares all that they use."""
        whole = spool.with_suffix(".vcf")
        with whole.open("wb") as handle, spool.open("rb") as lines:
            handle.write(repair_header(self._header, self._used, self._contig_length).to_bytes())
            while chunk := lines.read(1 << 20):
                handle.write(chunk)
        spool.unlink()
        try:
            pysam.bcftools.view(
                "--no-version", f"-O{self.output_type}", "-o", str(target), str(whole), catch_stdout=False
            )
        except (SamtoolsError, UnicodeDecodeError) as error:
            raise InputFileError(
                f"the records cannot be written as BCF: {_reason(error, whole, target)}. "
                "Write VCF.gz instead (-O z), which keeps the text as it came."
            ) from error
        whole.unlink()


def _reason(error: SamtoolsError | UnicodeDecodeError, *scratch: Path) -> str:
    """Return what htslib said, without the names of scratch files that nobody knows."""
    if isinstance(error, UnicodeDecodeError):
        return "htslib warned of text that is not UTF-8"  # pysam cannot give the warning itself
    text = str(error).rpartition("stderr=")[2].strip(" '\"").replace("\\n", " ")
    for path in scratch:
        text = text.replace(str(path), "the records")
    return (
        " ".join(text.split()).removeprefix("[main_vcfview] ").removeprefix("Error: ")
        or "htslib gave no reason"
    )
