"""Scores as Parquet: one row an ALT allele, typed columns, the provenance in the metadata of the file."""

import importlib
import os
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

from genomix.variant_effect.columns import STATUS_KEY, Column
from genomix.variant_effect.contract import VariantScore
from genomix_data.atomic import atomic_file
from genomix_data.errors import ConfigError, GenomixError
from genomix_data.vcf.bcf import BcfRecord
from genomix_data.vcf.record import VcfRecord
from genomix_data.vcf.sink import is_stdout

GROUP_ROWS = 1 << 16
"""Rows of a row group; so many are held in memory."""
METADATA_KEY = b"genomix"


class ParquetWriter:
    """Writes scores to a Parquet file, which appears whole; use as a context manager.

    Columns: ``chrom``, ``pos`` (1-based, int64), ``id``, ``ref``, ``alt``, the scores (float64), ``GMX_STATUS``. The
    ``##`` lines of a VCF stand in the metadata of the schema under ``genomix``.

    Args:
        out: Path.
        meta: ``##`` lines.
        columns: What of the scores is written.

    Raises:
        ConfigError: for standard output.
        GenomixError: if pyarrow is not installed.
    """

    def __init__(
        self, out: str | os.PathLike[str] | None, meta: Iterable[str], columns: Sequence[Column]
    ) -> None:
        if out is None or is_stdout(out):
            raise ConfigError("Parquet cannot go to standard output; give -o NAME.parquet.")
        try:
            # Imported by name, so that type checking needs no pyarrow.
            self._arrow: Any = importlib.import_module("pyarrow")
            self._parquet: Any = importlib.import_module("pyarrow.parquet")
        except ModuleNotFoundError as error:
            raise GenomixError(
                f"{str(out)!r} would be a Parquet file, and pyarrow is not installed. Install the extra: "
                "pip install 'genomix-fm[parquet]', or write a .tsv.gz."
            ) from error
        text, number = self._arrow.string(), self._arrow.float64()
        fields = [("chrom", text), ("pos", self._arrow.int64()), ("id", text), ("ref", text), ("alt", text)]
        fields += [(column.key, number) for column in columns] + [(STATUS_KEY, text)]
        lines = "\n".join(meta).encode("utf-8", "surrogateescape")
        self._schema = self._arrow.schema(fields, metadata={METADATA_KEY: lines})
        self._columns = tuple(columns)
        self._out = out
        self._rows: list[tuple[Any, ...]] = []
        self._stack = ExitStack()
        self._writer: Any = None

    def __enter__(self) -> Self:
        path = self._stack.enter_context(atomic_file(self._out))
        self._writer = self._parquet.ParquetWriter(path, self._schema)
        return self

    def write(self, record: VcfRecord | BcfRecord, scores: Sequence[VariantScore]) -> None:
        """Add one row for each ALT of ``record``; one without an ALT has one row."""
        identifier = None if record.id == "." else record.id
        site = (record.chrom, record.pos, identifier, record.ref)
        for alt, score in zip(record.alts, scores, strict=True):
            values = (column.value(score) for column in self._columns)
            self._rows.append((*site, alt, *values, score.status.value))
        if not scores:
            self._rows.append((*site, *(None for _ in range(len(self._columns) + 2))))
        if len(self._rows) >= GROUP_ROWS:
            self._flush()

    def _flush(self) -> None:
        if self._rows:
            arrays = [
                self._arrow.array(values, field.type)
                for values, field in zip(zip(*self._rows, strict=True), self._schema, strict=True)
            ]
            self._writer.write_table(self._arrow.Table.from_arrays(arrays, schema=self._schema))
            self._rows.clear()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self._flush()
        finally:
            self._writer.close()
            self._stack.__exit__(kind, error, trace)
