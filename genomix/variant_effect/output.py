"""Scores into VCF, BCF or TSV, by one interface."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Self

from genomix.variant_effect.assembly import Assembly
from genomix.variant_effect.contract import VariantScore
from genomix.variant_effect.tsv import TsvWriter
from genomix_data.genome import Genome
from genomix_data.vcf import InfoValues, VcfReader, VcfRecord, VcfWriter, output_type_of
from genomix_data.vcf.bcf import BcfRecord
from genomix_data.vcf.sink import IndexFormat

OutputType = Literal["v", "z", "b", "u", "t"]
PREFIX = "GMX_"


@dataclass(frozen=True, kw_only=True, slots=True)
class OutputOptions:
    """What is written.

    Args:
        output_type: ``v`` VCF, ``z`` VCF.gz, ``b`` BCF, ``u`` uncompressed BCF, ``t`` TSV; None: by the suffix.
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
        """Return the output type for a path; VCF where the suffix does not tell."""
        if self.output_type:
            return self.output_type
        name = str(out or "").lower()
        return "t" if name.endswith((".tsv", ".tsv.gz", ".tsv.bgz")) else output_type_of(out)


class ScoreWriter:
    """Writes records with their scores; use as a context manager.

    Args:
        out: Path, or ``-`` or None for standard output.
        options: What is written.
        reader: Where the records come from.
        assembly: Resolves the contigs that a BCF header must declare.
        genome: Knows their lengths.
        run_lines: ``##`` lines on how the scores were made.
        info_lines: Declarations of the INFO keys.
    """

    def __init__(
        self,
        out: str | os.PathLike[str] | None,
        options: OutputOptions,
        reader: VcfReader,
        assembly: Assembly,
        genome: Genome,
        run_lines: Sequence[str],
        info_lines: Sequence[str],
    ) -> None:
        self._per_strand = options.per_strand
        self._tsv: TsvWriter | None = None
        self._vcf: VcfWriter | None = None
        kind = options.type_for(out)
        if kind == "t":
            self._tsv = TsvWriter(
                out,
                run_lines,
                per_strand=options.per_strand,
                write_index=options.write_index,
                index_format=options.index_format,
            )
            return

        def contig_length(name: str) -> int | None:
            resolved = assembly.resolve(name)
            return None if resolved is None else genome.contigs[resolved]

        self._vcf = VcfWriter(
            out,
            reader.header.annotated([*run_lines, *info_lines], replace_info=PREFIX, replace_meta="genomix"),
            output_type=kind,
            write_index=options.write_index,
            index_format=options.index_format,
            drop_prefix=PREFIX,
            dictionary=reader.dictionary,
            contig_length=contig_length,
        )

    def __enter__(self) -> Self:
        (self._tsv or self._vcf).__enter__()  # type: ignore[union-attr]
        return self

    def write(self, record: VcfRecord | BcfRecord, scores: Sequence[VariantScore]) -> None:
        """Write a record with the score of each of its ALT alleles."""
        if self._tsv is not None:
            assert isinstance(record, VcfRecord), "a TSV is made of text records"
            self._tsv.write(record, scores)
            return
        assert self._vcf is not None
        values: dict[str, list[float | str | None]] = {"GMX_LLR": [score.llr for score in scores] or [None]}
        if self._per_strand:
            values["GMX_LLR_FWD"] = [score.llr_fwd for score in scores] or [None]
            values["GMX_LLR_RC"] = [score.llr_rc for score in scores] or [None]
        values["GMX_STATUS"] = [score.status.value for score in scores] or [None]
        annotation: InfoValues = values
        self._vcf.write(record, annotation)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        (self._tsv or self._vcf).__exit__(kind, error, trace)  # type: ignore[union-attr]
