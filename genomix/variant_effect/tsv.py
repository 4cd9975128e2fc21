"""Scores as a table: one row an ALT allele, full precision, ready for tabix."""

import os
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Self

from genomix.variant_effect.contract import VariantScore
from genomix_data.errors import ConfigError
from genomix_data.vcf.record import VcfRecord
from genomix_data.vcf.sink import FileSink, IndexFormat, is_stdout

COLUMNS = ("#CHROM", "POS", "ID", "REF", "ALT", "GMX_LLR", "GMX_STATUS")
STRAND_COLUMNS = ("GMX_LLR_FWD", "GMX_LLR_RC")


class TsvWriter:
    """Writes scores to a TSV; use as a context manager. A name that ends in ``.gz`` is bgzipped.

    ``POS`` is 1-based, ``.`` stands for a missing value, lines that begin with ``##`` tell the provenance. A record
    whose ALT is ``.`` has one row.

    Args:
        out: Path, or ``-`` or None for standard output.
        meta: ``##`` lines.
        per_strand: Add a column for each strand.
        write_index: Write a ``.csi`` or ``.tbi`` (``tabix -s1 -b2 -e2``); the records must be sorted.
        index_format: Which of the two.

    Raises:
        ConfigError: if an index is wanted where there can be none.
    """

    def __init__(
        self,
        out: str | os.PathLike[str] | None,
        meta: Iterable[str],
        *,
        per_strand: bool = False,
        write_index: bool = False,
        index_format: IndexFormat = "csi",
    ) -> None:
        compress = str(out or "").endswith((".gz", ".bgz"))
        if write_index and (is_stdout(out) or not compress):
            raise ConfigError("an index can be written for a .tsv.gz file only; give -o NAME.tsv.gz.")
        self._meta = tuple(meta)
        self._per_strand = per_strand
        self._sink = FileSink(
            out, compress=compress, index=index_format if write_index else None, preset="tsv"
        )

    def __enter__(self) -> Self:
        self._sink.__enter__()
        columns = (*COLUMNS, *STRAND_COLUMNS) if self._per_strand else COLUMNS
        self._sink.write_header(
            "\n".join((*self._meta, "\t".join(columns), "")).encode("utf-8", "surrogateescape")
        )
        return self

    def write(self, record: VcfRecord, scores: Sequence[VariantScore]) -> None:
        """Write one row for each ALT of ``record``."""
        self._sink.check_order(record.chrom, record.pos, record.where)
        site = (record.chrom, str(record.pos), record.id, record.ref)
        for alt, score in zip(record.alts or (".",), scores or (None,), strict=True):
            fields = [*site, alt, _number(score.llr) if score else ".", score.status.value if score else "."]
            if self._per_strand:
                fields += [_number(score.llr_fwd), _number(score.llr_rc)] if score else [".", "."]
            self._sink.write(("\t".join(fields) + "\n").encode("utf-8", "surrogateescape"))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._sink.__exit__(kind, error, trace)


def _number(value: float | None) -> str:
    return "." if value is None else repr(value + 0.0)
