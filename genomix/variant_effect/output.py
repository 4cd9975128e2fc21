"""Scores into VCF, BCF, TSV or Parquet, by one interface."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Self

from genomix.variant_effect.columns import PREFIX, STATUS_KEY, Column
from genomix.variant_effect.contract import VariantScore
from genomix.variant_effect.parquet import ParquetWriter
from genomix.variant_effect.provenance import info_lines
from genomix.variant_effect.tsv import TsvWriter
from genomix_data.errors import ConfigError
from genomix_data.journal import Journal
from genomix_data.vcf import InfoValues, VcfReader, VcfRecord, VcfWriter, output_type_of
from genomix_data.vcf.bcf import BcfRecord
from genomix_data.vcf.sink import IndexFormat

OutputType = Literal["v", "z", "b", "u", "t", "p"]
_TABLES: dict[OutputType, tuple[str, ...]] = {"t": (".tsv", ".tsv.gz", ".tsv.bgz"), "p": (".parquet",)}
_OF_OTHERS = (
    ".csv",
    ".csv.gz",
    ".xls",
    ".xlsx",
    ".json",
    ".html",
    ".bed",
    ".bed.gz",
    ".bw",
    ".fa",
    ".fa.gz",
    ".fasta",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class OutputOptions:
    """What is written.

    Args:
        output_type: ``v`` VCF, ``z`` VCF.gz, ``b`` BCF, ``u`` uncompressed BCF, ``t`` TSV, ``p`` Parquet; None: by the
            suffix.
        write_index: Write an index beside the file.
        index_format: ``csi`` or ``tbi``.
        per_strand: Add GMX_LLR_FWD and GMX_LLR_RC.
        command: What the header says that was run.
    """

    output_type: OutputType | None = None
    write_index: bool = False
    index_format: IndexFormat = "csi"
    per_strand: bool = False
    command: str | None = None

    def type_for(self, out: str | os.PathLike[str] | None) -> OutputType:
        """Return the output type for a path; VCF where the suffix does not tell.

        Raises:
            ConfigError: if the suffix is that of another format, and no type was asked for.
        """
        if self.output_type:
            return self.output_type
        name = str(out or "").lower()
        if name.endswith(_OF_OTHERS):
            raise ConfigError(
                f"the output {str(out)!r} has the suffix of a format that is not written here. Name it .vcf, .vcf.gz, "
                ".bcf, .tsv, .tsv.gz or .parquet, or say what it is to be (-O v is VCF text)."
            )
        for kind, suffixes in _TABLES.items():
            if name.endswith(suffixes):
                return kind
        return output_type_of(out)


class ScoreWriter:
    """Writes records with their scores; use as a context manager.

    Args:
        out: Path, or ``-`` or None for standard output.
        options: What is written.
        reader: Where the records come from.
        contig_length: Gives the length in bp of a contig that the header lacks, by the name that the VCF uses.
        run_lines: ``##`` lines on how the scores were made.
        columns: What of the scores is written.
        journal: Where records are kept until the end, so that a broken run can go on.
    """

    def __init__(
        self,
        out: str | os.PathLike[str] | None,
        options: OutputOptions,
        reader: VcfReader,
        contig_length: Callable[[str], int | None],
        run_lines: Sequence[str],
        columns: Sequence[Column],
        journal: Journal | None = None,
    ) -> None:
        self._columns = tuple(columns)
        self._writer: TsvWriter | ParquetWriter | VcfWriter
        kind = options.type_for(out)
        if kind == "t":
            self._writer = TsvWriter(
                out,
                run_lines,
                columns,
                write_index=options.write_index,
                index_format=options.index_format,
                journal=journal,
            )
        elif kind == "p":
            if options.write_index:
                raise ConfigError("a Parquet file takes no index; leave out -W/--write-index.")
            self._writer = ParquetWriter(out, run_lines, columns)
        else:
            lines = [*run_lines, *info_lines(columns)]
            self._writer = VcfWriter(
                out,
                reader.header.annotated(lines, replace_info=PREFIX, replace_meta="genomix"),
                output_type=kind,
                write_index=options.write_index,
                index_format=options.index_format,
                drop_prefix=PREFIX,
                dictionary=reader.dictionary,
                contig_length=contig_length,
                journal=journal,
            )

    def __enter__(self) -> Self:
        self._writer.__enter__()
        return self

    def write(self, record: VcfRecord | BcfRecord, scores: Sequence[VariantScore]) -> None:
        """Write a record with the score of each of its ALT alleles."""
        if not isinstance(self._writer, VcfWriter):
            self._writer.write(record, scores)
            return
        values: dict[str, list[float | str | None]] = {
            column.key: [column.value(score) for score in scores] or [None] for column in self._columns
        }
        values[STATUS_KEY] = [score.status.value for score in scores] or [None]
        annotation: InfoValues = values
        self._writer.write(record, annotation)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.__exit__(kind, error, trace)
