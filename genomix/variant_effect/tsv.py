"""Scores as a table: one row an ALT allele, full precision, ready for tabix."""

import os
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Self

from genomix.variant_effect.columns import STATUS_KEY, Column
from genomix.variant_effect.contract import VariantScore
from genomix_data.errors import ConfigError
from genomix_data.journal import Journal
from genomix_data.vcf.bcf import BcfRecord
from genomix_data.vcf.record import VcfRecord
from genomix_data.vcf.sink import FileSink, IndexFormat, is_stdout

SITE_COLUMNS = ("#CHROM", "POS", "ID", "REF", "ALT")


class TsvWriter:
    """Writes scores to a TSV; use as a context manager. A name that ends in ``.gz`` is bgzipped.

    ``POS`` is 1-based, ``.`` stands for a missing value, lines that begin with ``##`` tell the provenance. A record
    whose ALT is ``.`` has one row. The first score stands before the status, the others behind it.

    Args:
        out: Path, or ``-`` or None for standard output.
        meta: ``##`` lines.
        columns: What of the scores is written.
        write_index: Write a ``.csi`` or ``.tbi`` (``tabix -s1 -b2 -e2``); the records must be sorted.
        index_format: Which of the two.
        journal: Where rows are kept until the end, so that a broken run can go on.

    Raises:
        ConfigError: if an index is wanted where there can be none.
    """

    def __init__(
        self,
        out: str | os.PathLike[str] | None,
        meta: Iterable[str],
        columns: Sequence[Column],
        *,
        write_index: bool = False,
        index_format: IndexFormat = "csi",
        journal: Journal | None = None,
    ) -> None:
        compress = str(out or "").lower().endswith((".gz", ".bgz"))
        if write_index and (is_stdout(out) or not compress):
            raise ConfigError("an index can be written for a .tsv.gz file only; give -o NAME.tsv.gz.")
        self._meta = tuple(meta)
        self._first, *self._more = columns
        self._sink = FileSink(
            out,
            compress=compress,
            index=index_format if write_index else None,
            preset="tsv",
            journal=journal,
        )

    def __enter__(self) -> Self:
        self._sink.__enter__()
        names = (*SITE_COLUMNS, self._first.key, STATUS_KEY, *(column.key for column in self._more))
        self._sink.write_header(
            "\n".join((*self._meta, "\t".join(names), "")).encode("utf-8", "surrogateescape")
        )
        return self

    def write(self, record: VcfRecord | BcfRecord, scores: Sequence[VariantScore]) -> None:
        """Write one row for each ALT of ``record``."""
        self._sink.check_order(record.chrom, record.pos, record.where)
        site = f"{record.chrom}\t{record.pos}\t{record.id}\t{record.ref}"
        rows = []
        for alt, score in zip(record.alts, scores, strict=True):
            row = f"{site}\t{alt}\t{_number(self._first.value(score))}\t{score.status.value}"
            for column in self._more:
                row += f"\t{_number(column.value(score))}"
            rows.append(row + "\n")
        if not rows:
            missing = "\t".join("." * (len(self._more) + 3))
            rows.append(f"{site}\t{missing}\n")
        self._sink.write("".join(rows).encode("utf-8", "surrogateescape"))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._sink.__exit__(kind, error, trace)


def _number(value: float | None) -> str:
    return "." if value is None else repr(value + 0.0)
